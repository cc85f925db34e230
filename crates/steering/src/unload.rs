//! Gives the host back whatever state it is in: without an agent, without its configuration, without its maps.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::{bpffs, kernel};

/// Depth of folders below the root. We make one level; what is deeper is not ours and stays.
const DEPTH_MAX: u32 = 3;

/// What was found and removed.
#[derive(Debug, Default)]
pub struct Report {
    /// Links that were detached: as many network namespaces have their own socket lookup back.
    pub detached: Vec<PathBuf>,
    /// Pins that were removed, links among them.
    pub removed: u32,
    /// What could not be removed, and why.
    pub failed: Vec<(PathBuf, io::Error)>,
}

/// Detaches every link below `root` and removes every pin, complete or half-written, and `root` itself.
///
/// A running agent notices it (`Status::attached`); it is not stopped.
#[must_use]
pub fn unload(root: &Path) -> Report {
    let mut report = Report::default();
    if bpffs::is_bpf(root) {
        clear(root, 0, &mut report);
    }
    report
}

fn clear(folder: &Path, depth: u32, report: &mut Report) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return report.failed.push((folder.to_owned(), error)),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => clear(&path, depth + 1, report),
            Ok(_) => remove_pin(path, report),
            Err(error) => report.failed.push((path, error)),
        }
    }
    if let Err(error) = std::fs::remove_dir(folder) {
        report.failed.push((folder.to_owned(), error));
    }
}

/// A link is detached first: unpinning alone would leave it to whoever holds a descriptor.
fn remove_pin(path: PathBuf, report: &mut Report) {
    if let Ok(object) = kernel::pinned(&path)
        && let Ok(Some(_)) = kernel::link_info(object.as_fd())
    {
        match kernel::detach(object.as_fd()) {
            Ok(()) => report.detached.push(path.clone()),
            Err(error) => return report.failed.push((path, error)),
        }
    }
    match std::fs::remove_file(&path) {
        Ok(()) => report.removed += 1,
        Err(error) => report.failed.push((path, error)),
    }
}
