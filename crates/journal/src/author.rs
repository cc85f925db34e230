//! Where history stands, and how it goes on: gives every line its place in chain and tree, and writes the journal's
//! own records.

use model::time::WallTime;

use crate::hash::{Chain, Hash, JournalId, leaf, leaves};
use crate::key::{KeyId, SigningKey};
use crate::record::{self, Checkpoint, Handover, Recovered, Removed, Segment};
use crate::tree::Tree;

/// Longest line that waits for the next one: what is gained is less than a copy of a longer one costs.
pub(crate) const WAITING_BYTES_MAX: usize = 4096;

/// The end of a journal.
#[derive(Clone, Debug)]
pub struct Place {
    /// Which journal.
    pub journal: JournalId,
    /// Number of the next record.
    pub next_seq: u64,
    /// Chain through the last record.
    pub chain: Chain,
    /// Number of the first record of the last segment.
    pub segment: u64,
    /// Tree over the records of that segment.
    pub tree: Tree,
}

impl Place {
    /// Before the first record of a new journal.
    #[must_use]
    pub fn start(journal: JournalId) -> Self {
        Self { journal, next_seq: 1, chain: Chain::start(journal), segment: 1, tree: Tree::new() }
    }

    /// After one more line (without its newline).
    pub fn push(&mut self, line: &[u8]) {
        self.add(leaf(line));
    }

    /// After two more lines, which takes less time than one after the other.
    pub fn push_two(&mut self, first: &[u8], second: &[u8]) {
        leaves(first, second).into_iter().for_each(|leaf| self.add(leaf));
    }

    fn add(&mut self, leaf: Hash) {
        self.chain = self.chain.next(&leaf);
        self.tree.push(leaf);
        self.next_seq = self.next_seq.saturating_add(1);
    }
}

/// Writes history. Lines must be pushed in the order in which they are stored, whole, each with the number that
/// [`Author::next_seq`] said.
#[derive(Debug)]
pub struct Author {
    place: Place,
    key: SigningKey,
    /// Number of the last checkpoint, 0 before the first.
    checkpointed: u64,
    /// A line whose place is known and whose digest waits for the next one's; empty: none does.
    waiting: Vec<u8>,
}

impl Author {
    /// Goes on at a place, whose last checkpoint has the number `checkpointed` (0: none).
    #[must_use]
    pub fn new(place: Place, key: SigningKey, checkpointed: u64) -> Self {
        Self { place, key, checkpointed, waiting: Vec::new() }
    }

    /// Number of the next record.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.place.next_seq.saturating_add(u64::from(!self.waiting.is_empty()))
    }

    /// The key that signs.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Records since the last checkpoint: the tail that nobody has signed yet.
    #[must_use]
    pub fn unsigned(&self) -> u64 {
        self.next_seq().saturating_sub(1).saturating_sub(self.checkpointed)
    }

    /// A line (without its newline) that is stored next.
    pub fn push(&mut self, line: &[u8]) {
        if self.waiting.is_empty() && (1..=WAITING_BYTES_MAX).contains(&line.len()) {
            self.waiting.extend_from_slice(line);
        } else if self.waiting.is_empty() {
            self.place.push(line);
        } else {
            self.place.push_two(&self.waiting, line);
            self.waiting.clear();
        }
    }

    /// Everything so far has its place in chain and tree.
    fn settle(&mut self) {
        if !self.waiting.is_empty() {
            self.place.push(&self.waiting);
            self.waiting.clear();
        }
    }

    /// Begins a segment with its first record.
    pub fn segment(&mut self, out: &mut Vec<u8>, time: WallTime) {
        self.settle();
        let Place { journal, next_seq, chain, .. } = self.place;
        (self.place.segment, self.place.tree) = (next_seq, Tree::new());
        let public_key = self.key.public();
        self.own(out, |out, seq| {
            let fields = Segment { journal, chain, public_key, key: public_key.id() };
            record::write(out, seq, time, record::SEGMENT, &fields);
        });
    }

    /// Signs everything up to here.
    pub fn checkpoint(&mut self, out: &mut Vec<u8>, time: WallTime) {
        self.settle();
        let Self { place, key, .. } = self;
        let fields = Checkpoint {
            journal: place.journal,
            segment: place.segment,
            chain: place.chain,
            root: place.tree.root(),
            key: key.public().id(),
        };
        let start = out.len();
        record::write_checkpoint(out, place.next_seq, time, &fields, key);
        self.checkpointed = self.place.next_seq;
        self.push_last(out, start);
    }

    /// Goes on with another key, which the key until now signs.
    pub fn hand_over(&mut self, out: &mut Vec<u8>, time: WallTime, to: SigningKey) {
        let from = std::mem::replace(&mut self.key, to);
        let fields = self.handover(from.public().id());
        self.own(out, |out, seq| record::write_handover(out, seq, time, &fields, Some(&from)));
    }

    /// Says that the author's key follows another that is not at hand. The change is not signed then, and everybody
    /// who verifies the journal is told.
    pub fn replace_key(&mut self, out: &mut Vec<u8>, time: WallTime, from: KeyId) {
        let fields = self.handover(from);
        self.own(out, |out, seq| record::write_handover(out, seq, time, &fields, None));
    }

    fn handover(&self, from: KeyId) -> Handover {
        let public_key = self.key.public();
        Handover { journal: self.place.journal, from, to: public_key.id(), public_key }
    }

    /// Says which segments are about to be removed.
    pub fn removed(&mut self, out: &mut Vec<u8>, time: WallTime, fields: &Removed) {
        self.own(out, |out, seq| record::write(out, seq, time, record::REMOVED, fields));
    }

    /// Says what was repaired.
    pub fn recovered(&mut self, out: &mut Vec<u8>, time: WallTime, fields: &Recovered) {
        self.own(out, |out, seq| record::write(out, seq, time, record::RECOVERED, fields));
    }

    fn own(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>, u64)) {
        self.settle();
        let start = out.len();
        write(out, self.place.next_seq);
        self.push_last(out, start);
    }

    fn push_last(&mut self, out: &[u8], start: usize) {
        let line = out.get(start..).and_then(|line| line.strip_suffix(b"\n")).unwrap_or_default();
        self.place.push(line);
    }
}
