//! A file, or standard output: one record a line.
//!
//! A batch counts as delivered when it is on the disk. A batch of which only a part was written is cut off again, so
//! that the file holds whole lines and no part of a batch twice.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Accepted;
use crate::failure::Failure;
use crate::item::Item;

/// Read at once while the end of the last whole line is looked for.
const TAIL_BYTES: u64 = 64 * 1024;
/// Records may carry personal data.
const MODE: u32 = 0o640;

#[derive(Debug)]
pub(crate) enum FileSink {
    StandardOutput,
    Rotated(RotatedFile),
}

#[derive(Debug)]
pub(crate) struct RotatedFile {
    path: PathBuf,
    file_bytes_max: u64,
    files_max: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Whole batches end here.
    length: u64,
}

impl FileSink {
    pub(crate) const fn rotated(path: PathBuf, file_bytes_max: u64, files_max: u32) -> Self {
        Self::Rotated(RotatedFile { path, file_bytes_max, files_max, open: None })
    }

    pub(crate) fn deliver(&mut self, items: &[Item]) -> Result<Accepted, Failure> {
        let lines = lines(items);
        match self {
            Self::StandardOutput => {
                let mut output = io::stdout().lock();
                output.write_all(&lines).and_then(|()| output.flush())
            }
            Self::Rotated(file) => file.append(&lines),
        }
        .map_err(Failure::File)?;
        Ok(Accepted::default())
    }
}

fn lines(items: &[Item]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(items.iter().map(|item| item.bytes() + 1).sum());
    for item in items {
        lines.extend_from_slice(item.json());
        lines.push(b'\n');
    }
    lines
}

impl RotatedFile {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let result = self.try_append(lines);
        if result.is_err() {
            // Whatever went wrong, the next attempt begins with a look at the file as it is.
            self.open = None;
        }
        result
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        let length = self.open()?.length;
        if length > 0 && length.saturating_add(lines.len() as u64) > self.file_bytes_max {
            self.open = None;
            self.rotate()?;
        }
        let open = self.open()?;
        let written = open.file.write_all(lines).and_then(|()| open.file.sync_data());
        if written.is_err() {
            // Disk full: the part that went in would be a torn line. If this fails too, opening cuts the torn line.
            let _opening_repairs = open.file.set_len(open.length);
        }
        written?;
        open.length += lines.len() as u64;
        Ok(())
    }

    /// The open file, its end behind a whole line.
    fn open(&mut self) -> io::Result<&mut Open> {
        if self.open.as_ref().is_some_and(|open| !is_still_there(&self.path, &open.file)) {
            // Somebody else rotated it.
            self.open = None;
        }
        match &mut self.open {
            Some(open) => Ok(open),
            none => Ok(none.insert(open_file(&self.path)?)),
        }
    }

    /// `file` becomes `file.1`, that one `file.2`, and so on; the oldest goes.
    fn rotate(&self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut path = self.path.clone().into_os_string();
            path.push(format!(".{number}"));
            PathBuf::from(path)
        };
        let oldest = self.files_max - 1;
        if oldest == 0 {
            return std::fs::remove_file(&self.path);
        }
        for number in (1..oldest).rev() {
            match std::fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(1))
    }
}

fn is_still_there(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (path.metadata(), file.metadata()) {
        (Ok(named), Ok(open)) => identity(named) == identity(open),
        _ => false,
    }
}

fn open_file(path: &Path) -> io::Result<Open> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
    if !file.metadata()?.is_file() {
        let text = "not a regular file: a torn line could not be repaired there; use a file, or - for standard output";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let length = whole_lines(&mut file)?;
    file.set_len(length)?;
    // The name has to survive as well.
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(Open { file, length })
}

/// Where the last whole line ends.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut tail = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(begin))?;
        tail.clear();
        (&*file).take(end - begin).read_to_end(&mut tail)?;
        if let Some(newline) = tail.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + newline as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Content;
    use crate::severity::Severity;
    use model::time::WallTime;

    fn items(texts: &[&str]) -> Vec<Item> {
        let item = |text: &&str| Item {
            seq: Some(1),
            time: WallTime(0),
            type_word: "statement".into(),
            severity: Severity::Information,
            content: Content::Json(text.as_bytes().to_vec()),
        };
        texts.iter().map(item).collect()
    }

    #[test]
    fn a_torn_line_is_cut_before_the_next_batch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        for (found, kept) in [("", ""), ("half", ""), ("a\nhalf", "a\n"), ("a\nb\n", "a\nb\n")] {
            std::fs::write(&path, found).unwrap();
            FileSink::rotated(path.clone(), 1 << 20, 2).deliver(&items(&["c", "d"])).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{kept}c\nd\n"));
        }
        let long = format!("a\n{}", "x".repeat(200_000));
        std::fs::write(&path, long).unwrap();
        FileSink::rotated(path.clone(), 1 << 20, 2).deliver(&items(&["c"])).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nc\n");
    }

    #[test]
    fn files_rotate_at_their_bound_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut sink = FileSink::rotated(path.clone(), 10, 3);
        for text in ["1111", "2222", "3333", "4444", "5555", "6666", "7777"] {
            sink.deliver(&items(&[text])).unwrap();
        }
        let read = |end: &str| std::fs::read_to_string(format!("{}{end}", path.display())).ok();
        assert_eq!(read("").as_deref(), Some("7777\n"));
        assert_eq!(read(".1").as_deref(), Some("5555\n6666\n"));
        assert_eq!(read(".2").as_deref(), Some("3333\n4444\n"));
        assert_eq!(read(".3"), None);
    }

    #[test]
    fn a_file_that_somebody_else_moved_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut sink = FileSink::rotated(path.clone(), 1 << 20, 2);
        sink.deliver(&items(&["1"])).unwrap();
        std::fs::rename(&path, folder.path().join("moved")).unwrap();
        sink.deliver(&items(&["2"])).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "2\n");
    }

    #[test]
    fn what_cannot_be_written_is_not_delivered() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["/dev/full".into(), folder.path().to_owned(), folder.path().join("missing/out")] {
            let mut sink = FileSink::rotated(path, 1 << 20, 2);
            assert!(matches!(sink.deliver(&items(&["1"])), Err(Failure::File(_))));
        }
    }
}
