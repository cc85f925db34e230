//! Keyed tokens: HMAC-SHA256 (RFC 2104) of a value. Equal values have equal tokens, in every column and session.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes that a key has at least.
pub(crate) const KEY_BYTES_MIN: usize = 32;

/// The key of the tokens. Whoever has it can test guesses.
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// `None`: it is shorter than 32 bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Zeroizing::new(bytes);
        (bytes.len() >= KEY_BYTES_MIN).then_some(Self(bytes))
    }

    /// 16 bytes for a value; `None`: the key cannot be used.
    pub(crate) fn token(&self, value: &[u8]) -> Option<[u8; 16]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(value);
        mac.finalize().into_bytes().first_chunk().copied()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key(..)")
    }
}
