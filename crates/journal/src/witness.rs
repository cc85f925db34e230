//! Checkpoints that somebody else kept: what the holder of the host and of the key cannot take back.

use crate::hash::JournalId;
use crate::head;
use crate::record::{CHECKPOINT, Signed};

/// Checkpoint lines as they once stood in the journal, by number.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// In order, without repetition.
    lines: Vec<(u64, Box<[u8]>)>,
}

/// Why a witness's file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// A line is something else.
    #[error("line {line} is not a checkpoint; keep the lines as they were sent")]
    NotACheckpoint {
        /// Its number, from 1.
        line: usize,
    },
    /// Two lines have one number and differ: there were two histories.
    #[error("there are two different checkpoints with the number {seq}: the witness was shown two histories")]
    TwoHistories {
        /// That number.
        seq: u64,
    },
}

impl Witness {
    /// Nobody kept anything.
    #[must_use]
    pub const fn none() -> Self {
        Self { lines: Vec::new() }
    }

    /// Reads checkpoint lines, in any order, repeated or not. Empty lines are ignored, and so are records of other types:
    /// a witness is sent the journal's other records about keys and segments as well.
    pub fn parse(bytes: &[u8]) -> Result<Self, WitnessError> {
        let mut lines = Vec::new();
        for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1..) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let head = head::parse(line).filter(|head| head.type_word == CHECKPOINT);
            match (head, Signed::checkpoint(line)) {
                (Some(head), Ok(_)) => lines.push((head.seq, line.into())),
                _ if is_another_type(line) => {}
                _ => return Err(WitnessError::NotACheckpoint { line: number }),
            }
        }
        lines.sort_unstable();
        lines.dedup();
        match lines.array_windows().find(|[(first, _), (second, _)]| first == second) {
            Some([(seq, _), _]) => Err(WitnessError::TwoHistories { seq: *seq }),
            None => Ok(Self { lines }),
        }
    }

    /// The line of the checkpoint with this number.
    #[must_use]
    pub fn line(&self, seq: u64) -> Option<&[u8]> {
        let at = self.lines.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        self.lines.get(at).map(|(_, line)| &**line)
    }

    /// The journal that the checkpoint with this number is of.
    #[must_use]
    pub fn journal(&self, seq: u64) -> Option<JournalId> {
        Signed::checkpoint(self.line(seq)?).ok().map(|signed| signed.fields.journal)
    }

    /// Number of the first checkpoint after `seq`.
    #[must_use]
    pub fn next_after(&self, seq: u64) -> Option<u64> {
        let at = self.lines.partition_point(|(number, _)| *number <= seq);
        self.lines.get(at).map(|(number, _)| *number)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Number of the last one.
    #[must_use]
    pub fn last_seq(&self) -> Option<u64> {
        self.lines.last().map(|(seq, _)| *seq)
    }
}

/// Whether a line is a whole record that does not even claim to be a checkpoint.
fn is_another_type(line: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Typed<'a> {
        #[serde(rename = "type", borrow)]
        type_word: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Typed<'_>>(line).is_ok_and(|typed| typed.type_word != CHECKPOINT)
}
