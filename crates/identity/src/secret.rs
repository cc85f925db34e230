//! Bytes that must not be seen.

use zeroize::Zeroizing;

/// A token, as it came. It has no `Debug` and no `Display`, and is overwritten when it is dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes; what the caller copied before is the caller's to overwrite.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Grep for this word to find every place that looks at a secret.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}
