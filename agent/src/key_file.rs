//! The key of the fingerprints: 32 random bytes as 64 hexadecimal digits in a file that only the core may read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::{Gid, Uid};
use redact::fingerprint::{KEY_BYTES, Key};
use zeroize::Zeroizing;

/// Digits and a newline, and room for one more mistake.
const FILE_BYTES_MAX: u64 = 128;

/// Makes the key if there is none, and gives the file to the core's account. Runs with privileges.
pub(crate) fn prepare(path: &Path, user: Uid, group: Gid) -> Result<()> {
    let text = || format!("the key of fingerprints {} could not be prepared", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(text)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW);
    let file = match options.clone().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let written = write_new(&mut file);
            if written.is_err() {
                // Half a key would be refused at every later start.
                let _ = fs::remove_file(path);
            }
            written.with_context(text)?;
            file
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path).with_context(text)?,
        Err(error) => return Err(error).with_context(text),
    };
    let metadata = file.metadata().with_context(text)?;
    // Who may write to the folder must not be given another file through a link.
    ensure!(metadata.is_file() && metadata.nlink() == 1, "{} is not a file of its own: remove it", path.display());
    file.set_permissions(fs::Permissions::from_mode(0o600)).with_context(text)?;
    fchown(&file, Some(user.as_raw()), Some(group.as_raw())).with_context(text)
}

fn write_new(file: &mut File) -> io::Result<()> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    File::open("/dev/urandom")?.read_exact(&mut *bytes)?;
    let mut digits = Zeroizing::new(String::with_capacity(KEY_BYTES * 2 + 1));
    for byte in *bytes {
        for digit in [byte >> 4, byte & 15] {
            digits.extend(char::from_digit(digit.into(), 16));
        }
    }
    digits.push('\n');
    file.write_all(digits.as_bytes())?;
    file.sync_all()
}

/// Reads the key.
pub(crate) fn read(path: &Path) -> Result<Key> {
    let mut digits = Zeroizing::new(String::new());
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut digits))
        .with_context(|| format!("the key of fingerprints {} cannot be read", path.display()))?;
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    let digits = digits.trim_end().as_bytes();
    let mut pairs = digits.chunks_exact(2);
    for (byte, pair) in bytes.iter_mut().zip(&mut pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => *byte = high << 4 | low,
            _ => {
                bail!("{} is not a key: 64 hexadecimal digits are expected; remove it to get a new one", path.display())
            }
        }
    }
    if digits.len() != KEY_BYTES * 2 {
        bail!("{} is not a key: 64 hexadecimal digits are expected; remove it to get a new one", path.display());
    }
    Ok(Key::new(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_gives_the_same_fingerprints() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("redaction.key");
        let (user, group) = (Uid::current(), Gid::current());
        prepare(&path, user, group).expect("made");
        let first = read(&path).expect("a key").fingerprint("alice").to_string();
        prepare(&path, user, group).expect("kept");
        assert_eq!(read(&path).expect("a key").fingerprint("alice").to_string(), first);
        fs::remove_file(&path).expect("removed");
        prepare(&path, user, group).expect("made again");
        assert_ne!(read(&path).expect("a key").fingerprint("alice").to_string(), first);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("redaction.key");
        for text in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
            fs::write(&path, text).expect("written");
            assert!(read(&path).is_err(), "{text:?}");
        }
    }
}
