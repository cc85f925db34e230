//! The journal's proof: hashes, chain, tree, signatures, sealed segments, and the check of all of them.
//!
//! Everything here is a function of bytes. There is no file, no clock and no random number: times and entropy come in
//! as arguments, and `store` reads and writes the files. The format is `docs/journal-format.md`; its test vectors are
//! in `tests/vectors.rs`.
//!
//! [`author::Author`] writes history: it gives every line its place and adds the journal's own records.
//! [`check::SegmentCheck`] reads one segment back and believes nothing; [`verify::Verifier`] joins segments to a
//! [`verify::Report`]. [`sealed`] is the compressed form, [`proof`] one record without the rest.

#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod author;
pub mod block;
pub mod check;
pub mod footer;
pub mod hash;
pub mod head;
pub mod key;
pub mod proof;
pub mod record;
pub mod sealed;
pub mod time;
pub mod tree;
pub mod verify;
pub mod witness;
