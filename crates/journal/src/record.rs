//! The journal's own records: lines like all others, in the chain like all others.
//!
//! A signature covers its line up to `,"signature":"…"}`, byte for byte. So a signed line has one form, fields can be
//! added to it later, and anybody can check it without knowing them.

use model::time::WallTime;
use serde::{Deserialize, Serialize};

use crate::hash::{Chain, Hash, JournalId, from_hex, to_hex};
use crate::head;
use crate::key::{KeyId, PublicKey, Purpose, Signature, SigningKey};

/// Type word of the first record of a segment.
pub const SEGMENT: &str = "segment";
/// Type word of a checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
/// Type word of a change of keys.
pub const HANDOVER: &str = "key.handover";
/// Type word of a tombstone.
pub const REMOVED: &str = "segments.removed";
/// Type word of a repair.
pub const RECOVERED: &str = "journal.recovered";

/// Whether a type says nothing but how the journal is kept: nobody who reads about sessions or the host misses it.
#[must_use]
pub fn is_book_keeping(type_word: &str) -> bool {
    matches!(type_word, SEGMENT | CHECKPOINT)
}

/// No line of these types is longer.
pub const OWN_LINE_BYTES_MAX: usize = 768;

const BEFORE_SIGNATURE: &[u8] = br#","signature":""#;

/// `segment`: the first record of every segment says what it continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Which journal.
    pub journal: JournalId,
    /// Chain before this record.
    pub chain: Chain,
    /// Key that signs the checkpoints that follow.
    pub public_key: PublicKey,
    /// Its id.
    pub key: KeyId,
}

/// `checkpoint`: signs every record before it, and itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Which journal.
    pub journal: JournalId,
    /// Number of the first record of the segment.
    pub segment: u64,
    /// Chain through the record before this one.
    pub chain: Chain,
    /// Root of the tree over the records of the segment before this one.
    pub root: Hash,
    /// Key that signed it.
    pub key: KeyId,
}

/// `key.handover`: from here on another key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// Which journal.
    pub journal: JournalId,
    /// The key until now.
    pub from: KeyId,
    /// The key from here on.
    pub to: KeyId,
    /// That key.
    pub public_key: PublicKey,
}

/// `segments.removed`: what was removed by retention, all of it since the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Records up to this one are removed.
    pub through: u64,
    /// Chain after that record.
    pub chain: Chain,
    /// First record that was removed this time.
    pub first: u64,
    /// Records removed this time.
    pub records: u64,
    /// Bytes of the files removed this time.
    pub bytes: u64,
    /// Why.
    pub reason: Reason,
}

/// Why a segment was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// It was older than configured.
    Age,
    /// All segments together were larger than configured.
    Size,
}

/// `journal.recovered`: what the last writer left was repaired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Bytes after the last whole record that were taken away.
    pub torn_bytes: u64,
    /// The last whole record; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<u64>,
    /// File in the folder that keeps these bytes; absent if they were less than a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_as: Option<String>,
}

/// A line that is signed, taken apart.
#[derive(Debug)]
pub struct Signed<'a, T> {
    /// Its fields.
    pub fields: T,
    /// What is signed: the line up to the signature.
    text: &'a [u8],
    signature: Option<Signature>,
}

/// A line of one of these types is not as documented.
#[derive(Debug, thiserror::Error)]
#[error("this line is not a {0} record as documented")]
pub struct Malformed(pub(crate) &'static str);

/// Appends a line.
pub fn write(out: &mut Vec<u8>, seq: u64, time: WallTime, type_word: &str, fields: &impl Serialize) {
    head::write(out, seq, time, type_word);
    let comma = out.len();
    serde_json::to_writer(&mut *out, fields).expect("forms have text keys, and memory does not fail");
    // The fields' own opening brace becomes the comma between the two.
    if let Some(brace) = out.get_mut(comma) {
        *brace = b',';
    }
    out.push(b'\n');
}

/// Appends a checkpoint.
pub fn write_checkpoint(out: &mut Vec<u8>, seq: u64, time: WallTime, fields: &Checkpoint, key: &SigningKey) {
    write_signed(out, seq, time, (CHECKPOINT, Purpose::Checkpoint), fields, key);
}

/// Appends a hand-over, signed by the key until now; without it if that is not at hand.
pub fn write_handover(out: &mut Vec<u8>, seq: u64, time: WallTime, fields: &Handover, from: Option<&SigningKey>) {
    match from {
        Some(from) => write_signed(out, seq, time, (HANDOVER, Purpose::Handover), fields, from),
        None => write(out, seq, time, HANDOVER, fields),
    }
}

fn write_signed(
    out: &mut Vec<u8>,
    seq: u64,
    time: WallTime,
    (type_word, purpose): (&str, Purpose),
    fields: &impl Serialize,
    key: &SigningKey,
) {
    let start = out.len();
    write(out, seq, time, type_word, fields);
    // What is signed ends before the closing brace.
    out.truncate(out.len().saturating_sub(b"}\n".len()));
    let signature = key.sign(purpose, out.get(start..).unwrap_or_default());
    out.extend_from_slice(BEFORE_SIGNATURE);
    out.extend_from_slice(to_hex(&signature.0).as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// Reads the fields of an unsigned line.
pub fn read<'a, T: Deserialize<'a>>(line: &'a [u8], type_word: &'static str) -> Result<T, Malformed> {
    serde_json::from_slice(line).map_err(|_not_as_documented| Malformed(type_word))
}

impl<'a> Signed<'a, Checkpoint> {
    /// Reads a checkpoint.
    pub fn checkpoint(line: &'a [u8]) -> Result<Self, Malformed> {
        let signed = read_signed(line, CHECKPOINT)?;
        if signed.signature.is_some() { Ok(signed) } else { Err(Malformed(CHECKPOINT)) }
    }

    /// Whether this key signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.verifies(key, Purpose::Checkpoint)
    }
}

impl<'a> Signed<'a, Handover> {
    /// Reads a hand-over, which may have no signature.
    pub fn handover(line: &'a [u8]) -> Result<Self, Malformed> {
        read_signed(line, HANDOVER)
    }

    /// Whether this key signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.verifies(key, Purpose::Handover)
    }

    /// Whether somebody claims to have signed it.
    #[must_use]
    pub fn has_signature(&self) -> bool {
        self.signature.is_some()
    }
}

impl<T> Signed<'_, T> {
    fn verifies(&self, key: &PublicKey, purpose: Purpose) -> bool {
        self.signature.is_some_and(|signature| key.verifies(purpose, self.text, &signature))
    }
}

fn read_signed<'a, T: Deserialize<'a>>(line: &'a [u8], type_word: &'static str) -> Result<Signed<'a, T>, Malformed> {
    const SIGNATURE_DIGITS: usize = 128;
    let fields = read(line, type_word)?;
    let signature = line.strip_suffix(b"\"}").and_then(|line| line.split_last_chunk::<SIGNATURE_DIGITS>());
    let signed = signature.and_then(|(line, digits)| {
        let digits = from_hex(std::str::from_utf8(digits).ok()?)?;
        Some((line.strip_suffix(BEFORE_SIGNATURE)?, Signature(digits)))
    });
    Ok(match signed {
        Some((text, signature)) => Signed { fields, text, signature: Some(signature) },
        None => Signed { fields, text: line, signature: None },
    })
}
