//! The key of the fingerprints: 32 random bytes as 64 hexadecimal digits, in a file like the journal's own key.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, ensure};
use redact::fingerprint::{KEY_BYTES, Key};
use store::keys::{random_secret, read_secret, write_secret};
use zeroize::Zeroizing;

/// Reads the key, or makes one where there is none.
pub(crate) fn load_or_create(path: &Path) -> Result<Key> {
    if let Some(text) = read_secret(path)? {
        return parse(path, text.trim_end());
    }
    let bytes = random_secret(path)?;
    let mut text = Zeroizing::new(String::with_capacity(KEY_BYTES * 2 + 1));
    for byte in *bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    write_secret(path, &text)?;
    Ok(Key::new(&bytes))
}

fn parse(path: &Path, digits: &str) -> Result<Key> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut valid = digits.len() == KEY_BYTES * 2;
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => *byte = high << 4 | low,
            _ => valid = false,
        }
    }
    ensure!(valid, "{} is not a key: 64 hexadecimal digits are expected; remove it to get a new one", path.display());
    Ok(Key::new(&bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_gives_the_same_fingerprints() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("redaction.key");
        let fingerprint = || load_or_create(&path).expect("a key").fingerprint("alice").to_string();
        let first = fingerprint();
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(fingerprint(), first);
        fs::remove_file(&path).expect("removed");
        assert_ne!(fingerprint(), first);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("redaction.key");
        for text in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
            assert!(load_or_create(&path).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("redaction.key");
        load_or_create(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("opened");
        assert!(load_or_create(&path).is_err());
    }
}
