//! A small journal in memory, made by a script, so that the same history can be written again with a change.
#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses its own part")]
#![allow(unreachable_pub, reason = "a module of test binaries")]

use journal::author::{Author, Place};
use journal::block;
use journal::check::{Fault, SegmentCheck, Why};
use journal::footer::{self, Footer, TRAILER_BYTES};
use journal::hash::JournalId;
use journal::key::{PublicKey, Secret, SigningKey};
use journal::record::{Reason, Removed};
use journal::sealed::{SealedCheck, Sealer};
use journal::verify::{Report, Verifier};
use journal::witness::Witness;
use model::time::WallTime;

pub const JOURNAL: JournalId = JournalId([0x0a; 16]);
/// 2026-11-22T09:30:00Z
pub const NINE_THIRTY: u64 = 1_795_339_800_000_000_000;

pub fn key(byte: u8) -> SigningKey {
    SigningKey::new(&Secret::take(&mut [byte; 32]))
}

/// One step of a history.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A statement with this text.
    Statement(String),
    /// A recorded loss.
    Loss,
    Checkpoint,
    Segment,
    HandOver(u8),
}

/// A history and the key that signs it.
#[derive(Clone, Debug)]
pub struct Script {
    pub key: u8,
    pub steps: Vec<Step>,
}

impl Script {
    /// The lines of each segment.
    pub fn write(&self) -> Vec<Vec<Vec<u8>>> {
        let mut author = Author::new(Place::start(JOURNAL), key(self.key), 0);
        let mut segments: Vec<Vec<u8>> = Vec::new();
        let mut out = Vec::new();
        for (step, micros) in [Step::Segment].iter().chain(&self.steps).zip(0..) {
            let time = WallTime(NINE_THIRTY + micros * 1000);
            match step {
                Step::Statement(text) => statement(&mut author, &mut out, time, "statement", text),
                Step::Loss => statement(&mut author, &mut out, time, "loss", "lost"),
                Step::Checkpoint => author.checkpoint(&mut out, time),
                Step::HandOver(byte) => author.hand_over(&mut out, time, key(*byte)),
                Step::Segment => {
                    segments.push(std::mem::take(&mut out));
                    author.segment(&mut out, time);
                }
            }
        }
        segments.push(out);
        segments.iter().skip(1).map(|bytes| block::lines(bytes).map(<[u8]>::to_vec).collect()).collect()
    }
}

pub fn statement(author: &mut Author, out: &mut Vec<u8>, time: WallTime, type_word: &str, text: &str) {
    let start = out.len();
    journal::record::write(out, author.next_seq(), time, type_word, &serde_json::json!({ "text": text }));
    author.push(&out[start..out.len() - 1]);
}

/// A segment as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The number in its name.
    pub first_seq: u64,
    pub bytes: Vec<u8>,
    pub sealed: bool,
}

pub fn plain(lines: &[Vec<u8>]) -> Stored {
    let bytes = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
    let first_seq = lines.first().and_then(|line| journal::head::parse(line)).map_or(1, |head| head.seq);
    Stored { first_seq, bytes, sealed: false }
}

pub fn sealed(lines: &[Vec<u8>]) -> Stored {
    let Stored { first_seq, .. } = plain(lines);
    let mut sealer = Sealer::new(first_seq).unwrap();
    let mut bytes = Vec::new();
    lines.iter().for_each(|line| sealer.line(line, &mut bytes).unwrap());
    sealer.finish(&mut bytes).unwrap();
    Stored { first_seq, bytes, sealed: true }
}

pub fn footer(bytes: &[u8]) -> Result<Footer, footer::FooterError> {
    let trailer = bytes.last_chunk::<TRAILER_BYTES>().ok_or(footer::FooterError::Absent)?;
    let start = bytes.len().checked_sub(usize::try_from(footer::frame_bytes(trailer)?).unwrap());
    let start = start.ok_or(footer::FooterError::Contradictory)?;
    Footer::decode(&bytes[start..], start as u64)
}

/// What the driver over files does, over memory.
pub fn verify(segments: &[Stored], keys: &[PublicKey], witness: &Witness) -> Report {
    let mut verifier = Verifier::new(keys, witness);
    for (segment, at) in segments.iter().zip(1..) {
        let is_last = at == segments.len();
        let mut check = SegmentCheck::new(segment.first_seq, witness);
        if segment.sealed {
            match footer(&segment.bytes) {
                Ok(footer) if footer.first_seq == segment.first_seq => {
                    let blocks = footer.blocks.clone();
                    let mut check = SealedCheck::new(footer, witness).unwrap();
                    for block in &blocks {
                        let start = usize::try_from(block.offset).unwrap();
                        if check.block(block, &segment.bytes[start..start + block.stored_bytes as usize]).is_err() {
                            break;
                        }
                    }
                    verifier.segment(check.finish());
                    continue;
                }
                _ => {
                    check.fail(Fault {
                        first: segment.first_seq,
                        last: segment.first_seq,
                        why: Why::Sealed("".into()),
                    });
                }
            }
        } else {
            let whole = block::lines(&segment.bytes).all(|line| check.line(line).is_ok());
            let torn = segment.bytes.iter().rev().take_while(|&&byte| byte != b'\n').count();
            match (whole, is_last) {
                (true, true) => verifier.torn(torn as u64),
                (true, false) if torn > 0 => {
                    let seq = check.next_seq();
                    check.fail(Fault { first: seq, last: seq, why: Why::NotARecord });
                }
                _ => {}
            }
        }
        verifier.segment(check.finish());
    }
    verifier.finish()
}

pub fn removed(through: u64, chain: journal::hash::Chain) -> Removed {
    Removed { through, chain, first: 1, records: through, bytes: 1000, reason: Reason::Size }
}
