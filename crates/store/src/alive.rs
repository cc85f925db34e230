//! A heartbeat in the folder: how long nothing was observed after a crash is known from its modification time.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use model::time::WallTime;

use crate::files;

/// The `alive` file, held open.
#[derive(Debug)]
pub struct Alive {
    file: File,
}

impl Alive {
    /// Opens or creates the file. Does not touch it: read [`crate::recovery::Recovery::last_alive`] first.
    pub fn open(directory: &Path) -> io::Result<Self> {
        files::open_or_create(&directory.join(files::ALIVE)).map(|file| Self { file })
    }

    /// Says that the agent observed until `now`. To be called every second.
    pub fn touch(&self, now: WallTime) -> io::Result<()> {
        self.file.set_modified(UNIX_EPOCH + Duration::from_nanos(now.0))
    }
}

/// When the agent was last alive; `None` where it never ran.
pub(crate) fn last_alive(directory: &Path) -> io::Result<Option<WallTime>> {
    let modified = match directory.join(files::ALIVE).symlink_metadata() {
        Ok(metadata) => metadata.modified()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let since_epoch = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(since_epoch.as_nanos()).ok().map(WallTime))
}
