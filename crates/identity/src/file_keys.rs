//! An issuer's keys in a file on this host. It is looked at for every token and read again when it is another one.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::key_set::{BYTES_MAX, KeySet, KeySetError};
use crate::mistake::Mistake;
use crate::stamp::Stamp;

const OTHERS_WRITE: u32 = 0o002;

/// A file and what it last said.
#[derive(Debug)]
pub(crate) struct FileKeys {
    path: PathBuf,
    read: Mutex<Read>,
}

#[derive(Debug)]
struct Read {
    /// Stamp of what was last looked at, whether it could be used or not; `None`: it was not there.
    seen: Option<Stamp>,
    keys: Arc<KeySet>,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("it cannot be read: {0}")]
    Io(io::Error),
    #[error("others can write to it, so anybody could sign; chmod o-w it")]
    Exposed,
    #[error("{0}")]
    Content(KeySetError),
}

impl FileKeys {
    pub(crate) fn new(path: &Path) -> Result<Self, Mistake> {
        let unusable = |error| Mistake::new("jwks_file", format!("cannot use {}: {error}", path.display()));
        let (stamp, keys) = read(path).map_err(unusable)?;
        let read = Mutex::new(Read { seen: Some(stamp), keys: Arc::new(keys) });
        Ok(Self { path: path.to_owned(), read })
    }

    /// The keys of the file as it is now; while it cannot be used, those before.
    pub(crate) fn current(&self) -> Arc<KeySet> {
        // Nothing inside panics; what a poisoned lock guards is whole.
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.path.metadata().ok().map(|file| Stamp::of(&file));
        if found != known.seen {
            known.seen = found;
            match read(&self.path) {
                Ok((stamp, keys)) => {
                    tracing::info!(file = %self.path.display(), keys = keys.len(), "an issuer's keys have changed");
                    *known = Read { seen: Some(stamp), keys: Arc::new(keys) };
                }
                Err(error) => tracing::warn!(
                    file = %self.path.display(),
                    "an issuer's keys have changed and cannot be used, those before stay in use: {error}"
                ),
            }
        }
        Arc::clone(&known.keys)
    }
}

fn read(path: &Path) -> Result<(Stamp, KeySet), ReadError> {
    let file = File::open(path).map_err(ReadError::Io)?;
    // Before its content: what changes meanwhile is read again.
    let metadata = file.metadata().map_err(ReadError::Io)?;
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err(ReadError::Exposed);
    }
    let stamp = Stamp::of(&metadata);
    let mut bytes = Vec::new();
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    Ok((stamp, KeySet::parse(&bytes).map_err(ReadError::Content)?))
}
