//! Keyed fingerprints: what stands in the place of a value when configuration wants it out of the records.
//!
//! HMAC-SHA-256, cut to 8 bytes. Whoever lacks the key can tell whether two values are equal and nothing else; whoever
//! has it can test guesses, so the key is worth as much as the values that can be guessed.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Length of a key in bytes.
pub const KEY_BYTES: usize = 32;

/// What a fingerprint begins with, in every place.
pub(crate) const PREFIX: &str = "fp:";

const FINGERPRINT_BYTES: usize = 8;

/// What is fingerprinted. Each has a key of its own, so that fingerprints of different things never compare.
#[derive(Clone, Copy)]
pub(crate) enum Domain {
    /// A literal or a parameter.
    Value,
    /// A text that was withheld as a whole.
    Text,
    /// A message of the server.
    Message,
}

/// The key of fingerprints. It is overwritten when dropped, and `Debug` does not show it.
pub struct Key {
    values: Hmac<Sha256>,
    texts: Hmac<Sha256>,
    messages: Hmac<Sha256>,
}

impl Key {
    /// A key from random bytes. The caller overwrites its own copy of them.
    #[must_use]
    pub fn new(secret: &[u8; KEY_BYTES]) -> Self {
        let root = keyed(secret);
        Self {
            values: derived(&root, "warder-redaction/1 value"),
            texts: derived(&root, "warder-redaction/1 text"),
            messages: derived(&root, "warder-redaction/1 message"),
        }
    }

    /// The fingerprint that a literal or parameter of this value has in the records, to look for it there.
    ///
    /// A number is given as PostgreSQL prints it and without sign (`42`, `0.10`).
    #[must_use]
    pub fn fingerprint(&self, value: &str) -> Fingerprint {
        self.of(Domain::Value, &[value.as_bytes()])
    }

    /// The fingerprint of the parts, one behind the other.
    pub(crate) fn of(&self, domain: Domain, parts: &[&[u8]]) -> Fingerprint {
        let mut mac = match domain {
            Domain::Value => &self.values,
            Domain::Text => &self.texts,
            Domain::Message => &self.messages,
        }
        .clone();
        for part in parts {
            mac.update(part);
        }
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(mac.finalize().into_bytes());
        Fingerprint([a, b, c, d, e, f, g, h])
    }
}

fn keyed(secret: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes keys of any length")
}

fn derived(root: &Hmac<Sha256>, name: &str) -> Hmac<Sha256> {
    let mut secret = zeroize::Zeroizing::new([0; KEY_BYTES]);
    let mut mac = root.clone();
    mac.update(name.as_bytes());
    secret.copy_from_slice(zeroize::Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes())).as_slice());
    keyed(&secret)
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(..)")
    }
}

/// A fingerprint; printed as `fp:` and 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

impl Fingerprint {
    /// Appends the printed form.
    pub(crate) fn push_to(self, out: &mut String) {
        out.push_str(PREFIX);
        for byte in self.0 {
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = String::with_capacity(PREFIX.len() + 2 * FINGERPRINT_BYTES);
        self.push_to(&mut printed);
        formatter.write_str(&printed)
    }
}

/// Whether the value is a printed fingerprint: then it is kept, so that redacting twice is redacting once.
pub(crate) fn is_printed(value: &[u8]) -> bool {
    value.strip_prefix(PREFIX.as_bytes()).is_some_and(|digits| {
        digits.len() == 2 * FINGERPRINT_BYTES && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_a_truncated_hmac_of_a_derived_key() {
        // Computed with another implementation: key = 00 01 .. 1f,
        // HMAC(HMAC(key, "warder-redaction/1 value"), "alice").
        let key = Key::new(&std::array::from_fn(|index| u8::try_from(index).unwrap()));
        assert_eq!(key.fingerprint("alice").to_string(), "fp:5900d2476a13fca8");
    }

    #[test]
    fn domains_and_keys_do_not_compare() {
        let (key, other) = (Key::new(&[1; KEY_BYTES]), Key::new(&[2; KEY_BYTES]));
        let value = key.of(Domain::Value, &[b"a", b"b"]);
        assert_eq!(value, key.fingerprint("ab"));
        assert_ne!(value, key.of(Domain::Text, &[b"ab"]));
        assert_ne!(value, key.of(Domain::Message, &[b"ab"]));
        assert_ne!(value, other.fingerprint("ab"));
        assert!(is_printed(value.to_string().as_bytes()));
        assert!(!is_printed(b"fp:9F86d081884c7d65"));
        assert!(!is_printed(b"fp:9f86d081884c7d655"));
    }

    #[test]
    fn a_key_is_overwritten_when_dropped() {
        fn check<T: zeroize::ZeroizeOnDrop>() {}
        // An HMAC is two states of its hash; the type itself lacks the marker, its parts have it.
        check::<Sha256>();
    }

    #[test]
    fn a_key_does_not_print() {
        assert_eq!(format!("{:?}", Key::new(&[1; KEY_BYTES])), "Key(..)");
    }
}
