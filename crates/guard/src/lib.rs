//! Stands between a client and its server: every message that asks for something is understood and decided about before
//! a byte of it is forwarded.
//!
//! Refusing is left to the server. In place of what is refused it gets a Bind of a statement that does not exist; its
//! error becomes the refusal, and everything else (what is skipped, what is rolled back, the one ReadyForQuery with its
//! status) is the server's own doing. So a refused statement leaves a session exactly as a failed one would.
//!
//! A message is judged when everything before it that may change its meaning is answered. Where the guard cannot follow
//! what a statement did to the session, it asks the server, in a batch of its own whose answer the client never sees.
//!
//! A statement that must not run unattended waits at its message (`hold`) until somebody has decided about it.
//!
//! Pure: bytes, times and identities come in; bytes and judgements come out. Not here: sockets, TLS, records, what the
//! text means (`sql`), what is allowed (`policy`).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod board;
mod bounds;
mod client;
mod cursors;
mod cycle;
mod following;
mod given;
mod guard;
mod hold;
mod judge;
mod masking;
mod message;
mod names;
mod neighbours;
mod rate;
mod server;
mod startup;

pub use board::Board;
pub use guard::{Book, Broken, Cleared, Guard, Passed};
pub use hold::{Announcement, Answer, Denied, Question};
pub use judge::{Judge, Snapshot};
pub use masking::Cells;
pub use neighbours::Neighbours;
pub use rate::Rates;
