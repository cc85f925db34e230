//! The folder of the journal: names, order, opening.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// The file whose modification time says when the agent was last alive.
pub const ALIVE: &str = "alive";
/// The folder of the search index.
pub const INDEX: &str = "index";
/// The folder of the positions of exports.
pub const CURSORS: &str = "cursors";

const PREFIX: &str = "segment-";
const PLAIN: &str = ".jsonl";
const SEALED: &str = ".jsonl.zst";
const UNFINISHED: &str = ".jsonl.zst.tmp";
const REPLACEMENT: &str = ".jsonl.tmp";
const DAMAGED_PREFIX: &str = "damaged-";

const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

/// How a segment is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As lines: it is being written, or waits to be sealed.
    Plain,
    /// As compressed blocks with a footer.
    Sealed,
}

/// One segment of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Number of its first record.
    pub first_seq: u64,
    /// How it is stored.
    pub form: Form,
    /// Its file.
    pub path: PathBuf,
}

/// Path of a segment in this form.
#[must_use]
pub fn segment_path(directory: &Path, first_seq: u64, form: Form) -> PathBuf {
    let ending = match form {
        Form::Plain => PLAIN,
        Form::Sealed => SEALED,
    };
    directory.join(format!("{PREFIX}{first_seq:020}{ending}"))
}

/// Path under which a segment is sealed before it has its name.
pub(crate) fn unfinished_path(directory: &Path, first_seq: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{first_seq:020}{UNFINISHED}"))
}

/// Path under which a segment is written again after its file failed, before that has its name.
pub(crate) fn replacement_path(directory: &Path, first_seq: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{first_seq:020}{REPLACEMENT}"))
}

/// Name of the file that keeps what was removed from the end of a segment.
pub(crate) fn damaged_name(first_seq: u64, offset: u64) -> String {
    format!("{DAMAGED_PREFIX}{first_seq:020}-{offset}")
}

/// The number in a segment's name, and what follows it.
fn parse_name(name: &str) -> Option<(u64, &str)> {
    let (digits, ending) = name.strip_prefix(PREFIX)?.split_at_checked(20)?;
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten().map(|seq| (seq, ending))
}

/// Whether the agent gives files such names.
#[must_use]
pub fn is_own_name(name: &std::ffi::OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let segment =
        parse_name(name).is_some_and(|(_, ending)| [PLAIN, SEALED, UNFINISHED, REPLACEMENT].contains(&ending));
    segment || [ALIVE, INDEX, CURSORS].contains(&name) || name.starts_with(DAMAGED_PREFIX)
}

/// All segments in order, oldest first. One that is there in both forms (the agent was killed between sealing it and
/// removing the lines) counts as sealed.
///
/// A folder is not read in one moment. A segment that is sealed meanwhile can be missed under both of its names; it is
/// then there under its new one, so a second look finds it. What was removed since is still listed: opening it says so.
pub fn segments(directory: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut found = BTreeMap::new();
    look(directory, &mut found)?;
    look(directory, &mut found)?;
    Ok(found.into_values().collect())
}

fn look(directory: &Path, found: &mut BTreeMap<u64, SegmentFile>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let form = match name.to_str().and_then(parse_name) {
            Some((first_seq, PLAIN)) => (first_seq, Form::Plain),
            Some((first_seq, SEALED)) => (first_seq, Form::Sealed),
            _ => continue,
        };
        let (first_seq, form) = form;
        if form == Form::Sealed || !found.contains_key(&first_seq) {
            found.insert(first_seq, SegmentFile { first_seq, form, path: entry.path() });
        }
    }
    Ok(())
}

/// Removes what a killed agent left: segments half sealed or half written again, and lines of segments that are sealed.
pub(crate) fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let superfluous = match name.to_str().and_then(parse_name) {
            Some((_, UNFINISHED | REPLACEMENT)) => true,
            Some((first_seq, PLAIN)) => segment_path(directory, first_seq, Form::Sealed).exists(),
            _ => false,
        };
        if superfluous {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Creates the folder with mode 0750 if it is not there. Parents are not created: `/var/lib/warder` is the
/// installation's.
pub fn create_directory(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Opens a segment for reading. What is no regular file is refused: nothing ever comes out of a pipe that nobody writes
/// to, and no verdict about the folder either.
pub(crate) fn open_segment(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// Opens a file for reading and writing, never through a symbolic link, and creates it with mode 0640 whatever the
/// umask.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    // Close-on-exec is the standard library's default.
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(FILE_MODE).custom_flags(OFlag::O_NOFOLLOW.bits());
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            file.set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_have_a_number() {
        let directory = Path::new("");
        for form in [Form::Plain, Form::Sealed] {
            let path = segment_path(directory, 17, form);
            assert_eq!(parse_name(path.to_str().unwrap()).unwrap().0, 17);
            assert!(is_own_name(path.as_os_str()));
        }
        for name in
            ["segment-17.jsonl", "segment-99999999999999999999.jsonl", "segment-0000000000000000017x.jsonl", "x"]
        {
            assert_eq!(parse_name(name), None, "{name}");
            assert!(!is_own_name(name.as_ref()));
        }
        assert!(!is_own_name("segment-00000000000000000017.jsonl.gz".as_ref()));
    }
}
