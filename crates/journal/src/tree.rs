//! The Merkle tree of a segment (RFC 9162, 2.1), grown leaf by leaf, and the path from one leaf to its root.

use crate::hash::{Hash, node, plain};

/// A tree of which only the roots of its complete subtrees are kept: at most 64, however many leaves there are.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    leaves: u64,
    /// One root for every bit that is set in `leaves`, largest subtree first.
    peaks: Vec<Hash>,
}

impl Tree {
    /// A tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self { leaves: 0, peaks: Vec::with_capacity(64) }
    }

    /// Adds a leaf on the right.
    pub fn push(&mut self, leaf: Hash) {
        let mut right = leaf;
        // A complete subtree of the same size on the left makes one of twice the size.
        for _ in 0..self.leaves.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            right = node(&left, &right);
        }
        self.peaks.push(right);
        self.leaves = self.leaves.saturating_add(1);
    }

    /// Number of leaves.
    #[must_use]
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// Root over all leaves so far; of no leaf, the digest of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(smallest) = peaks.next() else { return plain(b"") };
        peaks.fold(*smallest, |right, left| node(left, &right))
    }
}

/// The path of the leaf at `index` to the root over `leaves`, nearest first. `None`: there is no such leaf.
#[must_use]
pub fn path(leaves: &[Hash], index: u64) -> Option<Vec<Hash>> {
    let mut index = usize::try_from(index).ok()?;
    let mut leaves = leaves;
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    while leaves.len() > 1 {
        // The largest power of two that is smaller than the number of leaves.
        let (left, right) = leaves.split_at_checked(leaves.len().next_power_of_two() / 2)?;
        let sibling;
        match index.checked_sub(left.len()) {
            None => (leaves, sibling) = (left, right),
            Some(rest) => (leaves, sibling, index) = (right, left, rest),
        }
        path.push(root(sibling));
    }
    path.reverse();
    Some(path)
}

fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Tree::new();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

/// The root that a path leads to (RFC 9162, 2.1.3.2). `None`: such a tree has no such path.
#[must_use]
pub fn root_of_path(leaf: Hash, index: u64, leaves: u64, path: &[Hash]) -> Option<Hash> {
    let mut at = index;
    let mut last = leaves.checked_sub(1).filter(|last| index <= *last)?;
    let mut root = leaf;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            root = node(sibling, &root);
            let alone = if at & 1 == 1 { 0 } else { at.trailing_zeros().min(63) };
            (at, last) = (at >> alone, last >> alone);
        } else {
            root = node(&root, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|number| leaf(&number.to_be_bytes())).collect()
    }

    /// The definition of RFC 9162, 2.1.1, as it stands there.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => plain(b""),
            [only] => *only,
            _ => {
                let half = leaves.len().next_power_of_two() / 2;
                let (left, right) = leaves.split_at(half);
                node(&defined(left), &defined(right))
            }
        }
    }

    #[test]
    fn the_tree_is_that_of_rfc_9162() {
        for count in 0..70 {
            assert_eq!(root(&leaves(count)), defined(&leaves(count)), "{count}");
        }
    }

    #[test]
    fn every_leaf_has_a_path_and_no_other_place_accepts_it() {
        for count in 1..40 {
            let leaves = leaves(count);
            let root = root(&leaves);
            for (index, leaf) in (0..).zip(&leaves) {
                let mut found = path(&leaves, index).unwrap();
                for (claimed, size) in [(index, count), (index + 1, count), (index ^ 1, count), (index, count + 1)] {
                    let same = (claimed, size) == (index, count);
                    // A larger tree can have the same path for a leaf (RFC 9162 says so): the size is signed.
                    if same || size == count {
                        assert_eq!(
                            root_of_path(*leaf, claimed, size, &found) == Some(root),
                            same,
                            "{index} of {count}"
                        );
                    }
                }
                found.push(root);
                assert_ne!(root_of_path(*leaf, index, count, &found), Some(root));
            }
            assert_eq!(path(&leaves, count), None);
        }
    }
}
