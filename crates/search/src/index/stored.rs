//! Parts where they lie: in the folder of the index, or in memory for the end of the journal that no file covers yet.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::part::{Body, Extent, HEADER_BYTES, Head, Header};

const PREFIX: &str = "part-";
const SUFFIX: &str = ".index";

/// Largest file that is read: far above what the bounds of a part allow.
const FILE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Why a part cannot be used. The part is made again from the journal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its checksum is wrong, it is cut off, or of another version.
    #[error("{} is damaged or of another version", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// A part whose header was read.
#[derive(Debug)]
pub(crate) struct StoredPart {
    header: Header,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A finished part is opened when it is read. The last one may be replaced, so it stays open.
    File {
        path: PathBuf,
        kept: Option<File>,
    },
    Memory(Vec<u8>),
}

impl StoredPart {
    /// Opens a file. The header is not verified before the head is read.
    pub(crate) fn open(path: PathBuf) -> Result<Self, PartError> {
        let read = |source| PartError::Read { path: path.clone(), source };
        let mut file = File::open(&path).map_err(read)?;
        let mut header = [0; HEADER_BYTES];
        match file.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(PartError::Damaged { path }),
            Err(source) => return Err(PartError::Read { path, source }),
        }
        let Some(header) = Header::decode(&header).filter(|header| header.body_range().end <= FILE_BYTES_MAX) else {
            return Err(PartError::Damaged { path });
        };
        Ok(Self { header, place: Place::File { path, kept: Some(file) } })
    }

    /// Closes the file: another part follows, so this one is not replaced any more.
    pub(crate) fn close(&mut self) {
        if let Place::File { kept, .. } = &mut self.place {
            *kept = None;
        }
    }

    /// A part that is not written. `None` if the bytes are none.
    pub(crate) fn in_memory(bytes: Vec<u8>) -> Option<Self> {
        Some(Self { header: Header::decode(&bytes)?, place: Place::Memory(bytes) })
    }

    pub(crate) fn extent(&self) -> &Extent {
        &self.header.extent
    }

    pub(crate) fn head(&self) -> Result<Head, PartError> {
        let bytes = self.bytes(0..HEADER_BYTES.saturating_add(self.header.head_bytes()))?;
        let head = bytes.split_at_checked(HEADER_BYTES);
        head.and_then(|(header, head)| self.header.decode_head(header, head)).ok_or_else(|| self.damaged())
    }

    pub(crate) fn body(&self) -> Result<Body, PartError> {
        let bytes = self.bytes(self.header.body_range())?;
        self.header.decode_body(&bytes).ok_or_else(|| self.damaged())
    }

    fn bytes(&self, range: std::ops::Range<usize>) -> Result<Vec<u8>, PartError> {
        match &self.place {
            Place::Memory(bytes) => bytes.get(range).map(<[u8]>::to_vec).ok_or_else(|| self.damaged()),
            Place::File { path, kept } => {
                let mut bytes = vec![0; range.len()];
                let read = match kept {
                    Some(file) => file.read_exact_at(&mut bytes, range.start as u64),
                    None => File::open(path).and_then(|file| file.read_exact_at(&mut bytes, range.start as u64)),
                };
                match read {
                    Ok(()) => Ok(bytes),
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged()),
                    Err(source) => Err(PartError::Read { path: path.clone(), source }),
                }
            }
        }
    }

    fn damaged(&self) -> PartError {
        let path = match &self.place {
            Place::File { path, .. } => path.clone(),
            Place::Memory(_) => PathBuf::new(),
        };
        PartError::Damaged { path }
    }
}

/// Where the part that begins with this record is written.
pub(crate) fn path(directory: &Path, first_seq: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{first_seq:020}{SUFFIX}"))
}

/// First records of the parts in a folder, ascending. A folder that is not there has none.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
        found.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}
