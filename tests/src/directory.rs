//! Private temporary directories and free ports.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::account::Account;

/// A new directory that other accounts can pass through; removed when the value is dropped.
/// Its path is short, because the path of a Unix socket in it has 107 bytes at most.
///
/// # Errors
/// When it can not be made.
pub fn private(noun: &str) -> Result<TempDir> {
    let directory = tempfile::Builder::new().prefix(&format!("warder-{noun}-")).tempdir()?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    Ok(directory)
}

/// A new folder `name` in `parent` that belongs to `owner`.
///
/// # Errors
/// When it can not be made.
pub fn owned(parent: &Path, name: &str, owner: &Account, mode: u32) -> Result<PathBuf> {
    let path = parent.join(name);
    fs::create_dir(&path).with_context(|| format!("{} could not be made", path.display()))?;
    chown(&path, Some(owner.uid), Some(owner.gid))?;
    fs::set_permissions(&path, Permissions::from_mode(mode))?;
    Ok(path)
}

/// Writes a file that belongs to `owner`.
///
/// # Errors
/// When it can not be written.
pub fn write_owned(path: &Path, content: &str, owner: &Account, mode: u32) -> Result<()> {
    fs::write(path, content).with_context(|| format!("{} could not be written", path.display()))?;
    chown(path, Some(owner.uid), Some(owner.gid))?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(())
}

/// A TCP port on loopback that nobody listens on now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
