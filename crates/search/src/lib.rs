//! Finds records in a journal: a small filter grammar, an index of blocks, and exact evaluation of what the index
//! leaves over (`docs/search.md`).
//!
//! [`query::Query`] searches, page by page; [`index::indexer::Indexer`] keeps the index up with the journal;
//! [`transcript::Transcript`] plays one session. The index only ever narrows: it decides which blocks are read, and the
//! lines in them decide what is found. Without an index everything is found as well, later.
//!
//! Not here: any clock (`now` is an argument), and how results look.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod aspect;
pub mod attribute;
mod fields;
pub mod filter;
pub mod index;
mod matching;
mod plan;
pub mod query;
pub mod source;
pub mod token;
pub mod transcript;
