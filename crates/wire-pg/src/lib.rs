//! PostgreSQL wire protocol, versions 3.0 and 3.2, decoded from both directions of one connection.
//!
//! The decoder is a passive observer: bytes and their times go in, [`model::wire::WireEvent`]s come out. No
//! sockets, no clock, no threads. It never panics, keeps a bounded amount of memory, and prefers "not known" to a
//! guess: after a loss, statements whose responses cannot be told apart are marked
//! [`model::statement::Ending::Lost`].
//!
//! Life of a message: [`Connection::feed`] -> `frame` (bytes to messages) -> `session` (client messages
//! become requests in a queue; server messages are answers to the request at its front) -> `held` -> the sink.
//! Names of prepared statements and portals are resolved when the *answer* arrives: at that moment every
//! earlier request is answered, so the decoder's view of names is the server's own. On request (`ahead`) each message
//! that asks for something is also said when it is complete, with what its names mean as far as that is known then.
//!
//! What is not here: SQL (texts are opaque), results (rows are counted, never read), redaction.
//! Chapters refer to the PostgreSQL 18 manual, 55 "Frontend/Backend Protocol".

#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod ahead;
mod answer;
mod bound;
mod catalogue;
mod connection;
mod copy;
mod extended;
mod failure;
mod fields;
mod frame;
mod limits;
mod names;
mod opening;
mod progress;
mod queue;
mod reader;
mod recovery;
mod resolve;
mod seek;
mod session;
mod simple;
mod text;
mod value;

pub use connection::{Connection, InProgress};
pub use limits::{Limits, Start};
