//! `pg_hba.conf` as PostgreSQL 13 to 18 reads it: which line decides about a connection, and whether the same
//! connection through a hop of ours would be decided in the same way.
//!
//! The server sees the hop and not the client. Without this crate a remote client under a `scram-sha-256` line could
//! reach `trust` for loopback. Two questions are answered: [`Rules::hop`] for one connection that is about to be
//! forwarded, [`Rules::survey`] for all connections that there can be, before anything is steered.
//!
//! When in doubt the answer is not *the same*: what only the server knows (role membership, the name of an address) is a
//! [`Fact`](facts::Fact) that both outcomes are tried for. A wrong *the same* lets somebody in whom the server would
//! have refused; a wrong doubt refuses somebody and says why.
//!
//! Not here: reading files (the caller resolves [`Include`](include::Include)s), name lookups, the password itself, and
//! **whether the server has loaded what is on disk**. It reads the file at start and on reload, and keeps its old rules
//! when the file has a mistake: who calls this crate does the same.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::indexing_slicing)]

pub mod address;
pub mod attempt;
pub mod decision;
pub mod facts;
pub mod hop;
pub mod include;
mod line;
pub mod major;
pub mod method;
pub mod mistake;
mod name;
mod options;
mod parse;
pub mod refusal;
pub mod rule;
pub mod rules;
pub mod survey;
mod token;

pub use rules::Rules;
