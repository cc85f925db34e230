//! Says of most terms that a part does not have them, without reading the part.

/// Bits for each term: about one in a hundred absent terms is taken for present.
const BITS_PER_TERM: usize = 10;
const PROBES: u64 = 6;

/// FNV-1a with a final mix: stable across versions and machines, as a file format needs it.
pub(crate) fn hash(kind: u8, value: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let start = (0xcbf2_9ce4_8422_2325 ^ u64::from(kind)).wrapping_mul(PRIME);
    let mut sum = value.iter().fold(start, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(PRIME));
    sum ^= sum >> 32;
    sum = sum.wrapping_mul(0xd6e8_feb8_6659_fd93);
    sum ^ sum >> 32
}

/// A Bloom filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bloom(Vec<u8>);

impl Bloom {
    /// An empty filter for this many terms.
    pub(crate) fn for_terms(terms: usize) -> Self {
        Self(vec![0; (terms * BITS_PER_TERM).div_ceil(8).max(8)])
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn insert(&mut self, hash: u64) {
        for bit in probes(hash, self.0.len()) {
            if let Some(byte) = self.0.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    }

    /// False: certainly not inserted.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        probes(hash, self.0.len()).all(|bit| self.0.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1))
    }
}

/// The bits of a term: six numbers from two halves of its hash, spread over the filter.
fn probes(hash: u64, bytes: usize) -> impl Iterator<Item = usize> {
    let (first, second) = (hash & 0xffff_ffff, hash >> 32 | 1);
    let bits = bytes as u64 * 8;
    (0..PROBES).map(move |probe| {
        let spread = first.wrapping_add(probe.wrapping_mul(second)) & 0xffff_ffff;
        usize::try_from((spread * bits) >> 32).unwrap_or(usize::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_there_and_most_other_terms_are_not() {
        let mut bloom = Bloom::for_terms(1000);
        (0..1000u32).for_each(|n| bloom.insert(hash(1, &n.to_le_bytes())));
        assert!((0..1000u32).all(|n| bloom.may_contain(hash(1, &n.to_le_bytes()))));
        let wrong = (1000..21_000u32).filter(|n| bloom.may_contain(hash(1, &n.to_le_bytes()))).count();
        assert!(wrong < 600, "{wrong} of 20000 absent terms taken for present");
    }
}
