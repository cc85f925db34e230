//! SHA-256 with a first byte that says what is hashed, so that no digest can be taken for another's.

use std::fmt;
use std::slice;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

/// Bytes of a digest.
pub const HASH_BYTES: usize = 32;

const LEAF: u8 = 0x00;
const NODE: u8 = 0x01;
const LINK: u8 = 0x02;

/// Initial state of SHA-256 (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// A digest. Its text is 64 lower-case hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; HASH_BYTES]);

/// Digest of a record: its line without the newline. The blocks are handed over from where they stand; the general form
/// copies every record once more, because its first byte moves all others.
#[must_use]
pub fn leaf(line: &[u8]) -> Hash {
    let Some(message) = Message::leaf(line) else { return short_leaf(line) };
    let mut state = INITIAL;
    compress256(&mut state, slice::from_ref(&message.head));
    compress256(&mut state, message.middle);
    compress256(&mut state, message.tail());
    to_bytes(state)
}

/// Digests of two records. Their blocks take turns: one is as slow as its steps, which wait for each other, and the
/// processor works at the other meanwhile. Together they take three quarters of the time.
#[must_use]
pub fn leaves(first: &[u8], second: &[u8]) -> [Hash; 2] {
    let (Some(left), Some(right)) = (Message::leaf(first), Message::leaf(second)) else {
        return [leaf(first), leaf(second)];
    };
    let mut states = [INITIAL; 2];
    let [left_state, right_state] = &mut states;
    let (mut left, mut right) = (left.blocks(), right.blocks());
    loop {
        let blocks = (left.next(), right.next());
        if let (Some(block), _) = blocks {
            compress256(left_state, slice::from_ref(block));
        }
        if let (_, Some(block)) = blocks {
            compress256(right_state, slice::from_ref(block));
        }
        if blocks == (None, None) {
            return states.map(to_bytes);
        }
    }
}

/// A record that does not fill the first block.
fn short_leaf(line: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([LEAF]).chain_update(line).finalize().into())
}

/// A record behind its first byte, as blocks.
struct Message<'a> {
    head: [u8; 64],
    middle: &'a [[u8; 64]],
    tail: [[u8; 64]; 2],
    /// The tail has one block only.
    fits: bool,
}

impl<'a> Message<'a> {
    /// `None`: it is too short.
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "what is left is shorter than a block, and the message ends 8 bytes before the end of the last one"
    )]
    #[inline]
    fn leaf(line: &'a [u8]) -> Option<Self> {
        let (first, rest) = line.split_first_chunk::<63>()?;
        let mut head = [LEAF; 64];
        head[1..].copy_from_slice(first);
        let (middle, rest) = rest.as_chunks();
        // What is left, a one bit, zeros, and the length of the message in bits.
        let mut tail = [[0; 64]; 2];
        let bytes = tail.as_flattened_mut();
        let (message, padding) = bytes.split_at_mut(rest.len());
        message.copy_from_slice(rest);
        padding[0] = 0x80;
        let message_bits = (line.len() as u64).saturating_add(1).saturating_mul(8).to_be_bytes();
        let fits = rest.len() < 64 - 8;
        let end = if fits { 64 } else { 128 };
        bytes[end - 8..end].copy_from_slice(&message_bits);
        Some(Self { head, middle, tail, fits })
    }

    fn tail(&self) -> &[[u8; 64]] {
        let [first, _] = &self.tail;
        if self.fits { slice::from_ref(first) } else { &self.tail }
    }

    fn blocks(&self) -> impl Iterator<Item = &[u8; 64]> {
        slice::from_ref(&self.head).iter().chain(self.middle).chain(self.tail())
    }
}

/// Digest of two neighbours in the tree.
#[must_use]
pub fn node(left: &Hash, right: &Hash) -> Hash {
    pair(NODE, left, right)
}

/// Digest of bytes as they are stored, without a first byte: `sha256sum` says the same.
#[must_use]
pub fn plain(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// The digest over all records up to one of them, and over their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Chain(pub Hash);

impl Chain {
    /// Before the first record of a journal.
    #[must_use]
    pub fn start(journal: JournalId) -> Self {
        Self(Hash(Sha256::new().chain_update(b"warder-journal/1").chain_update(journal.0).finalize().into()))
    }

    /// After one more record.
    #[must_use]
    pub fn next(self, leaf: &Hash) -> Self {
        Self(pair(LINK, &self.0, leaf))
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which journal: a random number, chosen when it begins. Its text is 32 lower-case hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct JournalId(pub [u8; 16]);

/// `SHA-256(first || left || right)`. These 65 bytes are two blocks of SHA-256 whose padding is known, which saves a
/// third of what the general form costs; two of these are computed for every record.
fn pair(first: u8, left: &Hash, right: &Hash) -> Hash {
    const MESSAGE_BITS: u16 = 65 * 8;
    let [mut head, mut tail] = [[0; 64]; 2];
    let (Hash(left), Hash([middle @ .., last])) = (left, right);
    head[0] = first;
    head[1..33].copy_from_slice(left);
    head[33..].copy_from_slice(middle);
    tail[0] = *last;
    tail[1] = 0x80;
    tail[62..].copy_from_slice(&MESSAGE_BITS.to_be_bytes());
    let mut state = INITIAL;
    compress256(&mut state, &[head, tail]);
    to_bytes(state)
}

fn to_bytes(state: [u32; 8]) -> Hash {
    let mut out = [0; HASH_BYTES];
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    Hash(out)
}

/// Lower-case hex digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(if value < 10 { b'0' | value } else { (b'a' - 10).wrapping_add(value) });
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads exactly as many lower-case hex digits as fill the array; one text for one value.
#[must_use]
pub fn from_hex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte & 15),
        b'a'..=b'f' => Some((byte & 15).wrapping_add(9)),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != BYTES || !rest.is_empty() {
        return None;
    }
    let mut out = [0; BYTES];
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(out)
}

/// Text forms of a type that is an array of bytes.
macro_rules! hex_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&to_hex(&self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $crate::hash::from_hex(&text)
                    .map(Self)
                    .ok_or_else(|| D::Error::custom("not lower-case hex of this length"))
            }
        }
    };
}
pub(crate) use hex_text;

hex_text!(Hash);
hex_text!(JournalId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_is_sha_256() {
        let (left, right) = (leaf(b"left"), leaf(b"right"));
        for first in [NODE, LINK] {
            let whole: Vec<u8> = [&[first][..], &left.0, &right.0].concat();
            assert_eq!(pair(first, &left, &right), plain(&whole));
        }
        for length in 0..300 {
            let line = vec![b'x'; length];
            assert_eq!(leaf(&line), plain(&[&[LEAF][..], &line].concat()), "{length}");
            for other in [0, 62, 63, 64, 119, 120, 200, 299 - length] {
                let other = vec![b'y'; other];
                assert_eq!(leaves(&line, &other), [leaf(&line), leaf(&other)], "{length} and {}", other.len());
                assert_eq!(leaves(&other, &line), [leaf(&other), leaf(&line)], "{} and {length}", other.len());
            }
        }
    }

    #[test]
    fn hex_has_one_form() {
        assert_eq!(from_hex::<2>(&to_hex(&[0x0f, 0xa9])), Some([0x0f, 0xa9]));
        for text in ["", "0", "0fa", "0fa9a", "0fa9aa", "0FA9", "0fg9", "0f:9", "0f 9"] {
            assert_eq!(from_hex::<2>(text), None, "{text}");
        }
    }
}
