//! The directory of one steering's pins, and how it comes into place.
//!
//! It is built under a name that begins with `~` and renamed: any other name is always complete. (bpffs refuses names with
//! a dot.) What a killed agent left half-written is swept by the next install and by [`crate::unload`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use agent_common::steering::STEERING_ABI;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::kernel;

/// Name of a pinned link.
pub(crate) const LINK: &str = "link";

/// Name of the pinned program; says which maps it has.
pub(crate) fn program_name() -> String {
    format!("program-{STEERING_ABI}")
}

/// A directory that is being built; removed with its pins unless it is put into place.
#[derive(Debug)]
pub(crate) struct Building {
    path: PathBuf,
}

impl Building {
    /// Makes an empty directory for pins of this name.
    pub(crate) fn create(root: &Path, name: &str) -> io::Result<Self> {
        /// Makes the names of one process different.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("{}{}-{number}", prefix(name), std::process::id()));
        discard(&path, None)?;
        std::fs::create_dir(&path)?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the directory into place in one step. What was there before is afterwards where this one was built, and goes.
    pub(crate) fn finish(self, place: &Path) -> io::Result<()> {
        if place.exists() { exchange(&self.path, place) } else { std::fs::rename(&self.path, place) }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // After `finish` nothing or the old directory is here. What cannot be removed now is swept by the next install.
        let _ = remove(&self.path);
    }
}

fn prefix(name: &str) -> String {
    format!("~{name}~")
}

/// Since 5.16 on bpffs. Before that there is a moment without the directory; steering itself goes on.
fn exchange(new: &Path, place: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, new, AT_FDCWD, place, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => return Ok(()),
        Err(nix::errno::Errno::EINVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut aside = new.as_os_str().to_owned();
    aside.push("~old");
    std::fs::rename(place, &aside)?;
    std::fs::rename(new, place)?;
    std::fs::rename(&aside, new)
}

/// Directories of this name that a dead agent left half-written.
pub(crate) fn leftovers(root: &Path, name: &str, except: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let begins = prefix(name);
    let found = entries.flatten().map(|entry| entry.path()).filter(|path| path != except);
    found.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begins))).collect()
}

/// Removes a directory of pins without detaching: a link that is pinned elsewhere goes on.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Detaches the link of a directory, if there is one and it is not `keep`, and removes the directory.
pub(crate) fn discard(path: &Path, keep: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let id = |link: BorrowedFd<'_>| kernel::link_info(link).map(|info| info.map(|info| info.id));
    let kept = keep.map(id).transpose()?.flatten();
    match link(path) {
        Ok(Some(link)) if kept.is_some() && id(link.as_fd())? == kept => {}
        Ok(Some(link)) => kernel::detach(link.as_fd())?,
        Ok(None) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    remove(path)
}

/// The link of a directory.
pub(crate) fn link(directory: &Path) -> io::Result<Option<OwnedFd>> {
    match kernel::pinned(&directory.join(LINK)) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
