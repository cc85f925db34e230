//! The events file: what the agent observed, as JSON lines on disk (`docs/events.md`).
//!
//! [`writer::Writer`] appends, rotates, and recovers after a crash; [`reader::Reader`] streams records back over
//! all files, for the command line. [`form`] is the written form of every record, used by both.
//!
//! Not here: what is a record (`model::record`), and any clock: times come in as arguments.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod alive;
pub mod files;
pub mod form;
pub mod line;
pub mod reader;
pub mod recovery;
pub mod select;
pub mod writer;

/// The written form of times.
pub use journal::time;
