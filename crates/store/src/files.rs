//! The folder of the events file: names, opening, order.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// The file that is being written.
pub const CURRENT: &str = "events.jsonl";
/// The file whose modification time says when the agent was last alive.
pub const ALIVE: &str = "alive";

const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

/// Name of the rotated file whose first record has this number.
#[must_use]
pub fn rotated_name(first_seq: u64) -> String {
    format!("events-{first_seq:020}.jsonl")
}

/// The number in a rotated file's name; `None` for any other file.
fn rotated_seq(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("events-")?.strip_suffix(".jsonl")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Whether the agent gives files such names.
#[must_use]
pub fn is_own_name(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name == CURRENT || name == ALIVE || rotated_seq(name).is_some())
}

/// Rotated files in order, oldest first.
pub fn rotated(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(seq) = entry.file_name().to_str().and_then(rotated_seq) {
            files.push((seq, entry.path()));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Creates the folder with mode 0750 if it is not there. Parents are not created: `/var/lib/warder` is the
/// installation's.
pub fn create_directory(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Opens a file for appending, never through a symbolic link, and creates it with mode 0640 whatever the umask.
pub fn open_append(path: &Path) -> io::Result<File> {
    // Close-on-exec is the standard library's default.
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(FILE_MODE).custom_flags(OFlag::O_NOFOLLOW.bits());
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
    fn only_rotated_files_have_a_number() {
        assert_eq!(rotated_seq(&rotated_name(17)), Some(17));
        for name in [
            CURRENT,
            ALIVE,
            "events-17.jsonl",
            "events-0000000000000000017x.jsonl",
            "events-99999999999999999999.jsonl",
        ] {
            assert_eq!(rotated_seq(name), None, "{name}");
        }
    }
}
