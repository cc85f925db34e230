//! Joins what the kernel, the wire and the processes say into sessions, and sessions into records.
//!
//! One [`Sessions`] is fed with every [`model::kernel::KernelEvent`] and [`model::wire::WireEvent`] of a host,
//! in the order in which they arrive, which is not the order in which they happened: for one socket, content
//! may come before its opening, and a client process before or after both. What comes too early waits, within
//! bounds; what comes late is joined late.
//!
//! A session is announced once, when everything about its beginning is known: client and server process, login,
//! encryption. If that takes longer than [`Limits::announce_nanos`], or a statement comes first, it is announced
//! as far as it is known, and the rest follows as `SessionChanged`.
//!
//! A client's connection to the proxy and the proxy's connection to the server are one session (`mediation`), and
//! every session of a guarded database has a class (`coverage`). What a worker has decided about a message finds the
//! request and the statement that the message becomes (`judgements`).
//!
//! Pure: time is an argument, nothing is fetched, every map has a bound in [`Limits`], and what does not fit is
//! counted in [`totals::Totals`] and recorded as lost.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod coverage;
mod early;
mod entry;
pub mod guard;
mod holders;
pub mod judgements;
mod kernel;
mod mediation;
mod outside;
mod past;
mod processes;
mod relay;
mod sessions;
pub mod totals;
mod trees;
mod unmatched;
mod wire;

pub use sessions::Sessions;

/// Bounds of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live sessions. Beyond it a session is counted and lost, until it is found again when there is room.
    pub sessions_max: usize,
    /// Client processes that wait for their session.
    pub unmatched_clients_max: usize,
    /// How long a client process waits for its session.
    pub unmatched_client_nanos: u64,
    /// Sockets with events but no opening yet.
    pub early_sessions_max: usize,
    /// How long events of such a socket are kept after the last of them.
    pub early_session_nanos: u64,
    /// Bytes (estimated) of the events that wait for an opening, all sockets together.
    pub early_bytes_max: usize,
    /// Closed sessions that are remembered, so that what comes late for them is not taken for a new session.
    pub past_sessions_max: usize,
    /// How long the announcement of a session may wait for what is not known yet.
    pub announce_nanos: u64,
    /// Forked children of one session's client that are followed.
    pub heirs_max: usize,
    /// How long one half of a proxied connection waits for the other, and an ended one for its last words.
    pub join_nanos: u64,
    /// Length of the coverage ledger's intervals.
    pub coverage_nanos: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_max: 20_000,
            unmatched_clients_max: 4_096,
            unmatched_client_nanos: 30_000_000_000,
            early_sessions_max: 4_096,
            early_session_nanos: 30_000_000_000,
            early_bytes_max: 4 << 20,
            past_sessions_max: 4_096,
            announce_nanos: 1_000_000_000,
            heirs_max: 16,
            join_nanos: 2_000_000_000,
            coverage_nanos: 60_000_000_000,
        }
    }
}
