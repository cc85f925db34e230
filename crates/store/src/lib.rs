//! The journal on disk: what the agent observed, as JSON lines in segments (`docs/events.md`, `docs/journal-format.md`).
//!
//! [`writer::Writer`] appends, signs, seals, removes, and recovers after a crash; [`reader::Reader`] streams records
//! back over all segments; [`blocks`] hands them out in pieces that never change; [`verify`] and [`prove`] check and
//! hand out evidence. [`form`] is the written form of every record.
//!
//! Not here: what is a record (`model::record`), what makes it evidence (`journal`), and any clock: times come in as
//! arguments.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod alive;
pub mod blocks;
pub mod files;
pub mod form;
pub mod keys;
pub mod line;
pub mod numbers;
pub mod prove;
pub mod reader;
pub mod recovery;
pub mod segment;
pub mod select;
pub mod verify;
pub mod writer;

/// The written form of times.
pub use journal::time;
