//! What the roles are called.

use std::fmt;

/// What all names begin with, and the name of nobody else's role should.
pub const PREFIX: &str = "warder_s_";
/// Random bytes of a name.
pub const ENTROPY_BYTES: usize = 10;
/// Without `i`, `l`, `o` and `u`: nobody takes one letter for another.
const ALPHABET: [u8; 32] = *b"0123456789abcdefghjkmnpqrstvwxyz";
/// Letters behind the prefix: five bits each.
const LETTERS: usize = 16;

/// The name of a role that was made for one session: it needs no quotes anywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(String);

impl RoleName {
    /// The name with these random bytes.
    #[must_use]
    pub fn new(entropy: [u8; ENTROPY_BYTES]) -> Self {
        let mut name = String::with_capacity(PREFIX.len() + LETTERS);
        name.push_str(PREFIX);
        let mut bits = entropy.iter().fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
        for _ in 0..LETTERS {
            let index = usize::try_from(bits & 31).unwrap_or_default();
            name.push(ALPHABET.get(index).copied().map_or('0', char::from));
            bits >>= 5;
        }
        Self(name)
    }

    /// A name that a server has; `None`: it is not one of these.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let letters = text.strip_prefix(PREFIX)?.as_bytes();
        let is_name = letters.len() == LETTERS && letters.iter().all(|letter| ALPHABET.contains(letter));
        is_name.then(|| Self(text.to_owned()))
    }

    /// It.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
