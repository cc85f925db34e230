//! One record that can be proved without the others.

use serde::{Deserialize, Serialize};

use crate::hash::{Hash, JournalId, leaf};
use crate::head::{self, TimeText};
use crate::key::{KeyId, PublicKey};
use crate::record::{self, Signed};
use crate::tree;

/// Longest proof file that is read.
pub const PROOF_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// A record, and the way from it to a signed root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Version of this form, 1.
    pub warder_proof: u32,
    /// The record: its line.
    pub record: String,
    /// A checkpoint that signed it: its line.
    pub checkpoint: String,
    /// Number of records before it in its segment.
    pub index: u64,
    /// Digests that lead from the record to the root in the checkpoint, nearest first.
    pub path: Vec<Hash>,
}

/// What a proof proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved {
    /// Which journal: a key may sign several.
    pub journal: JournalId,
    /// Number of the record.
    pub seq: u64,
    /// Time of the record.
    pub time: TimeText,
    /// Number of the checkpoint that signed it.
    pub checkpoint: u64,
    /// Time of the checkpoint.
    pub signed: TimeText,
    /// Who signed it.
    pub key: KeyId,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// A newer form.
    #[error("this proof has a form that this version does not know")]
    Version,
    /// A line in it is not what it should be.
    #[error("the proof's {0} is not a line of a journal")]
    Malformed(&'static str),
    /// Signed by another key.
    #[error("the checkpoint was signed by key {found}, not by {given}")]
    OtherKey {
        /// The key in the checkpoint.
        found: KeyId,
        /// The key to check with.
        given: KeyId,
    },
    /// The signature is wrong.
    #[error("the signature of the checkpoint is not valid")]
    Signature,
    /// The record is not under the signed root.
    #[error("the record is not the one that the checkpoint signed")]
    NotIncluded,
}

impl Proof {
    /// Makes the proof of a record. `leaves` are the digests of all records of the segment before the checkpoint.
    /// `None`: the record is not among them.
    #[must_use]
    pub fn new(record: &str, checkpoint: &str, leaves: &[Hash], index: u64) -> Option<Self> {
        let path = tree::path(leaves, index)?;
        Some(Self { warder_proof: 1, record: record.to_owned(), checkpoint: checkpoint.to_owned(), index, path })
    }

    /// Checks the proof with nothing but a key.
    pub fn check(&self, key: &PublicKey) -> Result<Proved, ProofError> {
        if self.warder_proof != 1 {
            return Err(ProofError::Version);
        }
        let (record, checkpoint) = (self.record.as_bytes(), self.checkpoint.as_bytes());
        let one_line = |line: &[u8]| !line.contains(&b'\n');
        let parse = |line| head::parse(line).filter(|_| one_line(line));
        let head = parse(record).ok_or(ProofError::Malformed("record"))?;
        let malformed = ProofError::Malformed("checkpoint");
        let end = parse(checkpoint).filter(|end| end.type_word == record::CHECKPOINT).ok_or(malformed)?;
        let signed = Signed::checkpoint(checkpoint).map_err(|_not_as_documented| malformed)?;
        let (found, given) = (signed.fields.key, key.id());
        if found != given {
            return Err(ProofError::OtherKey { found, given });
        }
        if !signed.is_signed_by(key) {
            return Err(ProofError::Signature);
        }
        let segment = signed.fields.segment;
        let leaves = end.seq.checked_sub(segment).ok_or(malformed)?;
        let at_its_place = head.seq.checked_sub(segment) == Some(self.index);
        let root = tree::root_of_path(leaf(record), self.index, leaves, &self.path);
        if !at_its_place || root != Some(signed.fields.root) {
            return Err(ProofError::NotIncluded);
        }
        Ok(Proved {
            journal: signed.fields.journal,
            seq: head.seq,
            time: *head.time,
            checkpoint: end.seq,
            signed: *end.time,
            key: given,
        })
    }
}
