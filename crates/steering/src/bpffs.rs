//! The file system that keeps steering alive without a process.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{FsType, statfs};

/// Where distributions mount it.
pub const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Where the agent keeps its pins.
pub const ROOT: &str = "/sys/fs/bpf/warder";

/// `BPF_FS_MAGIC` of `include/uapi/linux/magic.h`.
const MAGIC: FsType = FsType(0xcafe_4a11);

/// Why there is no place for pins.
#[derive(Debug, thiserror::Error)]
pub enum BpffsError {
    /// Not a BPF file system, and not the place where one belongs.
    #[error("{0} is not on a BPF file system; mount one there, or name a folder of {MOUNT_POINT}")]
    NotBpf(String),
    /// It could not be mounted.
    #[error("no BPF file system could be mounted at {MOUNT_POINT}")]
    Mount(#[source] io::Error),
    /// The folder could not be made.
    #[error("{path} could not be made")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes the folder of the pins, readable for root only; mounts the file system at its usual place if it is missing.
///
/// # Errors
/// See [`BpffsError`].
pub fn ensure(root: &Path) -> Result<(), BpffsError> {
    let below_usual = root.starts_with(MOUNT_POINT) && root != Path::new(MOUNT_POINT);
    if below_usual && !is_bpf(Path::new(MOUNT_POINT)) {
        mount(Some("bpf"), MOUNT_POINT, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .map_err(|errno| BpffsError::Mount(errno.into()))?;
    }
    if !root.parent().is_some_and(is_bpf) && !is_bpf(root) {
        return Err(BpffsError::NotBpf(root.display().to_string()));
    }
    match std::fs::DirBuilder::new().mode(0o700).create(root) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(BpffsError::Folder { path: root.display().to_string(), source: error })
        }
        _ => Ok(()),
    }
}

/// Whether a path is on a BPF file system.
#[must_use]
pub fn is_bpf(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == MAGIC)
}
