//! Roles of PostgreSQL that live as long as one session: their names, passwords, comments, and every statement about
//! them.
//!
//! Pure: time and randomness are arguments, and statements are texts. Whoever has a connection sends them, each text as
//! *one* message: a Query with several statements is one transaction, so a role is there with its comment or not at all.
//! Not here: connections, retries, and when an access ends (the agent's core).
//!
//! The server is the truth about which roles there are: the [comment](note::Note) of a role says all that is needed to
//! take it away, also for an agent that remembers nothing.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod failure;
pub mod name;
pub mod note;
pub mod password;
pub mod statements;
pub mod sweep;
