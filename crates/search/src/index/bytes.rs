//! Numbers and texts in a part: variable-length numbers, texts with their length, block sets.

use super::block_set::{BLOCKS, BlockSet};

/// Marks a block set that is written as bits, not as a list.
const AS_BITS: u8 = 255;
/// A list that is not longer than the bits.
const LISTED_MAX: usize = BLOCKS / 8;

/// Appends a number, seven bits a byte.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        let [low, ..] = number.to_le_bytes();
        out.push(low | 0x80);
        number >>= 7;
    }
    let [low, ..] = number.to_le_bytes();
    out.push(low);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_blocks(out: &mut Vec<u8>, blocks: BlockSet) {
    let byte = |number: usize| u8::try_from(number).unwrap_or(AS_BITS);
    if blocks.len() < LISTED_MAX {
        out.push(byte(blocks.len()));
        out.extend(blocks.iter().map(byte));
        return;
    }
    out.push(AS_BITS);
    for byte in 0..BLOCKS / 8 {
        out.push((0..8).fold(0, |bits, bit| bits | u8::from(blocks.contains(byte * 8 + bit)) << bit));
    }
}

/// Takes from the front. `None` at the end and for what no writer writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A number of things that each take a byte at least, so that it can be trusted as a capacity.
    pub(super) fn count(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|count| *count <= self.0.len())
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.count()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    pub(super) fn blocks(&mut self) -> Option<BlockSet> {
        let mut set = BlockSet::default();
        match self.byte()? {
            AS_BITS => {
                let bytes = self.take(BLOCKS / 8)?;
                let bits = bytes
                    .iter()
                    .enumerate()
                    .flat_map(|(at, byte)| (0..8).map(move |bit| (at * 8 + bit, byte >> bit & 1)));
                bits.filter(|(_, bit)| *bit == 1).for_each(|(block, _)| set.insert(block));
            }
            listed => self.take(usize::from(listed))?.iter().for_each(|block| set.insert(usize::from(*block))),
        }
        Some(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sets_of_every_size_survive() {
        for size in 0..=BLOCKS {
            let mut set = BlockSet::default();
            (0..size).for_each(|n| set.insert(n * 7 % BLOCKS));
            let mut out = Vec::new();
            put_blocks(&mut out, set);
            assert_eq!(Cursor(&out).blocks(), Some(set));
        }
    }

    #[test]
    fn numbers_survive_and_endless_ones_are_refused() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(Cursor(&out).number(), Some(number));
        }
        assert_eq!(Cursor(&[0xff; 20]).number(), None);
    }
}
