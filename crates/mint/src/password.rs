//! The password of a role: the session's worker has it, and the server has what checks it.

use postgres_protocol::password::scram_sha_256;
use zeroize::Zeroizing;

/// Random bytes of a password.
pub const ENTROPY_BYTES: usize = 32;

/// A password with its verifier. Without `Debug`: neither is for anybody's eyes.
pub struct Password {
    text: Zeroizing<String>,
    verifier: Zeroizing<String>,
}

impl Password {
    /// The password with these random bytes. Takes the time of 4096 rounds of SHA-256: whoever can makes it ahead.
    #[must_use]
    pub fn new(entropy: &[u8; ENTROPY_BYTES]) -> Self {
        // Its whole room at once: a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(2 * ENTROPY_BYTES));
        for byte in entropy {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        let verifier = Zeroizing::new(scram_sha_256(text.as_bytes()));
        Self { text, verifier }
    }

    /// What its holder sends. Grep for this word to find every place that looks at it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// `SCRAM-SHA-256$...`: all that the server gets of it (RFC 5803).
    pub(crate) fn verifier(&self) -> &str {
        &self.verifier
    }
}
