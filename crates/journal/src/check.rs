//! Reads one segment line by line and believes nothing.
//!
//! A segment can be checked without those before it: its first record says what it continues, and
//! [`crate::verify::Verifier`] compares that with the end of the one before.

use crate::author::WAITING_BYTES_MAX;
use crate::hash::{Chain, Hash, JournalId, leaf, leaves};
use crate::head::{self, Head, TimeText};
use crate::key::{KeyId, PublicKey};
use crate::record::{self, Checkpoint, Handover, Removed, Segment, Signed};
use crate::tree::Tree;
use crate::witness::Witness;

/// Losses that are listed; more are counted.
pub const LOSSES_LISTED_MAX: usize = 1000;
/// Bytes of a loss that are listed. Those that the agent writes are shorter; a line may be as long as a block.
pub const LOSS_BYTES_MAX: usize = 4096;

/// The first thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// First record that may be the bad one.
    pub first: u64,
    /// Last record that may be.
    pub last: u64,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a record, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Not the beginning of a record.
    #[error("this line is not a record")]
    NotARecord,
    /// Another number was due.
    #[error("the record here has the number {found}: records are missing, repeated or in another order")]
    Number {
        /// The number it has.
        found: u64,
    },
    /// One of the journal's own records is not as documented.
    #[error("{0}")]
    Malformed(String),
    /// The first record is not `segment`, or another one is.
    #[error("a segment begins with a segment record, and has no other")]
    SegmentRecord,
    /// A record of another journal, segment or key.
    #[error("this record belongs to another {0}")]
    Foreign(&'static str),
    /// The records are not those that were signed.
    #[error("the records do not give the digest that the checkpoint signed: one of them was changed")]
    Changed,
    /// The checkpoint's own signature is wrong.
    #[error("the signature of this checkpoint is not valid")]
    Signature,
    /// The hand-over has a signature, and it is wrong.
    #[error("the signature of this hand-over is not valid")]
    HandoverSignature,
    /// The witness has another line.
    #[error("the witness saw another checkpoint with this number: history was rewritten")]
    Rewritten,
    /// The witness has a line of another journal.
    #[error(
        "the witness saw a checkpoint of another journal with this number: this journal took its place, or the \
         checkpoints are not its own"
    )]
    OtherJournal,
    /// The witness saw later records.
    #[error(
        "the witness saw a checkpoint with the number {witnessed}, and the journal ends before it: the end was cut off"
    )]
    CutOff {
        /// Number of that checkpoint.
        witnessed: u64,
    },
    /// A sealed segment was changed.
    #[error("the sealed segment was changed: {0}")]
    Sealed(String),
    /// A segment does not continue the one before.
    #[error("this segment does not continue the one before: {0}")]
    Discontinued(&'static str),
    /// Nothing accounts for the records before the first one.
    #[error("the records before this one are gone, and no signed record says that they were removed")]
    Unaccounted,
}

/// Something that changes or uses a key, in the order of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// The last valid checkpoint under this key.
    Signed {
        /// Its number.
        seq: u64,
        /// Its time.
        time: TimeText,
        /// The key.
        by: PublicKey,
    },
    /// The key changed.
    HandedOver {
        /// Number of the record.
        seq: u64,
        /// The key until then.
        from: PublicKey,
        /// The key from then on.
        to: PublicKey,
        /// The key until then signed that.
        signed: bool,
    },
}

/// A recorded loss: part of history that was not observed or not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Number of the record.
    pub seq: u64,
    /// Its line, of a longer one the first [`LOSS_BYTES_MAX`] bytes.
    pub line: String,
}

/// What one segment turned out to be.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Which journal it says.
    pub journal: JournalId,
    /// Number of the first record.
    pub first_seq: u64,
    /// Records that are all right.
    pub records: u64,
    /// Chain before the first record, as the segment says.
    pub chain_before: Chain,
    /// Chain through the last record.
    pub chain_after: Chain,
    /// Root of the tree over all records.
    pub root: Hash,
    /// Key at the beginning; `None` if not even the first record is all right.
    pub key: Option<PublicKey>,
    /// What happened to keys.
    pub key_events: Vec<KeyEvent>,
    /// The last tombstone and its number.
    pub removed: Option<(u64, Removed)>,
    /// The last witnessed checkpoint that is the same here.
    pub witnessed: Option<u64>,
    /// Recorded losses, the first [`LOSSES_LISTED_MAX`].
    pub losses: Vec<Loss>,
    /// Recorded losses.
    pub losses_count: u64,
    /// Bytes of lines, newlines included.
    pub bytes: u64,
    /// The first thing that is wrong. Nothing after it was looked at.
    pub fault: Option<Fault>,
}

impl Checked {
    /// Number of the last record that is all right.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.first_seq.saturating_add(self.records).saturating_sub(1)
    }
}

/// The check of a segment under way.
#[derive(Debug)]
pub struct SegmentCheck<'w> {
    witness: &'w Witness,
    /// Next number that the witness knows.
    next_witnessed: Option<u64>,
    tree: Tree,
    /// Key in force.
    key: Option<PublicKey>,
    /// First record that no valid checkpoint of this segment has proved yet.
    proved: u64,
    /// A line whose digest waits for the next one's; empty: none does.
    waiting: Vec<u8>,
    checked: Checked,
}

impl<'w> SegmentCheck<'w> {
    /// Before the first line of the segment whose name has this number.
    #[must_use]
    pub fn new(first_seq: u64, witness: &'w Witness) -> Self {
        let (chain_before, chain_after) = (Chain::default(), Chain::default());
        let checked = Checked {
            journal: JournalId::default(),
            first_seq,
            records: 0,
            chain_before,
            chain_after,
            root: Hash::default(),
            key: None,
            key_events: Vec::new(),
            removed: None,
            witnessed: None,
            losses: Vec::new(),
            losses_count: 0,
            bytes: 0,
            fault: None,
        };
        let next_witnessed = witness.next_after(first_seq.saturating_sub(1));
        Self { witness, next_witnessed, tree: Tree::new(), key: None, proved: first_seq, waiting: Vec::new(), checked }
    }

    /// Which journal the segment says it belongs to.
    #[must_use]
    pub fn journal(&self) -> JournalId {
        self.checked.journal
    }

    /// Number of the first record.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.checked.first_seq
    }

    /// Number that is due next.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.checked.first_seq.saturating_add(self.checked.records)
    }

    /// Chain through the lines so far.
    #[must_use]
    pub fn chain(&mut self) -> Chain {
        self.settle();
        self.checked.chain_after
    }

    /// The key in force after the lines so far.
    #[must_use]
    pub fn key(&self) -> Option<PublicKey> {
        self.key
    }

    /// The tree over the lines so far.
    #[must_use]
    pub fn tree(&mut self) -> &Tree {
        self.settle();
        &self.tree
    }

    /// Takes a line, without its newline. After an error nothing more may be given.
    pub fn line<'a>(&mut self, line: &'a [u8]) -> Result<Head<'a>, Fault> {
        match self.examine(line) {
            Ok(head) => {
                self.push(line);
                self.checked.records = self.checked.records.saturating_add(1);
                self.checked.bytes = self.checked.bytes.saturating_add(line.len() as u64).saturating_add(1);
                Ok(head)
            }
            Err(why) => {
                let last = self.next_seq();
                // These do not say which record since the last good checkpoint is wrong.
                let first =
                    if matches!(why, Why::Changed | Why::Signature | Why::Foreign(_)) { self.proved } else { last };
                Err(self.fail(Fault { first, last, why }))
            }
        }
    }

    /// Remembers a fault that was found elsewhere in the segment.
    pub fn fail(&mut self, fault: Fault) -> Fault {
        self.checked.fault.get_or_insert(fault).clone()
    }

    /// What the segment turned out to be.
    #[must_use]
    pub fn finish(mut self) -> Checked {
        self.settle();
        self.checked.root = self.tree.root();
        self.checked
    }

    /// Gives a line its place in chain and tree, or lets it wait for the next one.
    fn push(&mut self, line: &[u8]) {
        if self.waiting.is_empty() && (1..=WAITING_BYTES_MAX).contains(&line.len()) {
            self.waiting.extend_from_slice(line);
        } else if self.waiting.is_empty() {
            self.add(leaf(line));
        } else {
            leaves(&self.waiting, line).into_iter().for_each(|leaf| self.add(leaf));
            self.waiting.clear();
        }
    }

    /// All lines so far have their places.
    fn settle(&mut self) {
        if !self.waiting.is_empty() {
            self.add(leaf(&self.waiting));
            self.waiting.clear();
        }
    }

    fn add(&mut self, leaf: Hash) {
        self.checked.chain_after = self.checked.chain_after.next(&leaf);
        self.tree.push(leaf);
    }

    fn examine<'a>(&mut self, line: &'a [u8]) -> Result<Head<'a>, Why> {
        let head = head::parse(line).ok_or(Why::NotARecord)?;
        if head.seq != self.next_seq() {
            return Err(Why::Number { found: head.seq });
        }
        if (self.checked.records == 0) != (head.type_word == record::SEGMENT) {
            return Err(Why::SegmentRecord);
        }
        let is_witnessed = self.next_witnessed == Some(head.seq);
        if is_witnessed && self.witness.line(head.seq) != Some(line) {
            let is_own = self.witness.journal(head.seq) == Some(self.checked.journal);
            return Err(if is_own { Why::Rewritten } else { Why::OtherJournal });
        }
        match head.type_word {
            record::SEGMENT => self.segment(line)?,
            record::CHECKPOINT => self.checkpoint(&head, line)?,
            record::HANDOVER => self.handover(&head, line)?,
            record::REMOVED => self.checked.removed = Some((head.seq, read(line, record::REMOVED)?)),
            "loss" | "gap" | "session.gap" | record::RECOVERED => self.loss(head.seq, line),
            _ => {}
        }
        if is_witnessed {
            self.checked.witnessed = Some(head.seq);
            self.next_witnessed = self.witness.next_after(head.seq);
        }
        Ok(head)
    }

    fn segment(&mut self, line: &[u8]) -> Result<(), Why> {
        let Segment { journal, chain, public_key, key } = read(line, record::SEGMENT)?;
        if public_key.id() != key {
            return Err(Why::Foreign("key"));
        }
        if self.checked.first_seq == 1 && chain != Chain::start(journal) {
            return Err(Why::Foreign("journal"));
        }
        (self.checked.journal, self.checked.chain_before, self.checked.chain_after) = (journal, chain, chain);
        (self.checked.key, self.key) = (Some(public_key), Some(public_key));
        Ok(())
    }

    fn checkpoint(&mut self, head: &Head<'_>, line: &[u8]) -> Result<(), Why> {
        let signed = Signed::checkpoint(line).map_err(|error| Why::Malformed(error.to_string()))?;
        let Checkpoint { journal, segment, chain, root, key } = signed.fields;
        let by = self.in_force(key)?;
        if journal != self.checked.journal {
            return Err(Why::Foreign("journal"));
        }
        if segment != self.checked.first_seq {
            return Err(Why::Foreign("segment"));
        }
        self.settle();
        if chain != self.checked.chain_after || root != self.tree.root() {
            return Err(Why::Changed);
        }
        if !signed.is_signed_by(&by) {
            return Err(Why::Signature);
        }
        // Only the last one under a key matters.
        self.checked.key_events.pop_if(|event| matches!(event, KeyEvent::Signed { by: before, .. } if *before == by));
        self.checked.key_events.push(KeyEvent::Signed { seq: head.seq, time: *head.time, by });
        self.proved = head.seq.saturating_add(1);
        Ok(())
    }

    fn handover(&mut self, head: &Head<'_>, line: &[u8]) -> Result<(), Why> {
        let signed = Signed::handover(line).map_err(|error| Why::Malformed(error.to_string()))?;
        let Handover { journal, from, to, public_key } = signed.fields;
        let before = self.in_force(from)?;
        if journal != self.checked.journal {
            return Err(Why::Foreign("journal"));
        }
        if to != public_key.id() {
            return Err(Why::Foreign("key"));
        }
        if signed.has_signature() && !signed.is_signed_by(&before) {
            return Err(Why::HandoverSignature);
        }
        let signed = signed.has_signature();
        self.checked.key_events.push(KeyEvent::HandedOver { seq: head.seq, from: before, to: public_key, signed });
        self.key = Some(public_key);
        Ok(())
    }

    fn in_force(&self, id: KeyId) -> Result<PublicKey, Why> {
        self.key.filter(|key| key.id() == id).ok_or(Why::Foreign("key"))
    }

    fn loss(&mut self, seq: u64, line: &[u8]) {
        self.checked.losses_count = self.checked.losses_count.saturating_add(1);
        if self.checked.losses.len() < LOSSES_LISTED_MAX {
            let beginning = line.get(..LOSS_BYTES_MAX).unwrap_or(line);
            self.checked.losses.push(Loss { seq, line: String::from_utf8_lossy(beginning).into_owned() });
        }
    }
}

fn read<'a, T: serde::Deserialize<'a>>(line: &'a [u8], type_word: &'static str) -> Result<T, Why> {
    record::read(line, type_word).map_err(|error| Why::Malformed(error.to_string()))
}
