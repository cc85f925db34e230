//! The words that two or more crates of Warder exchange: ids, processes, wire events, records.
//!
//! No logic beyond construction and display, no serialisation: every output (events file, metrics,
//! control socket) owns its own form. A type enters this crate only when two crates exchange it.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod access;
pub mod coverage;
pub mod credential;
pub mod facts;
pub mod id;
pub mod kernel;
pub mod lineage;
pub mod mediation;
pub mod principal;
pub mod process;
pub mod record;
pub mod request;
pub mod session;
pub mod statement;
pub mod time;
pub mod verdict;
pub mod wire;
mod words;

/// A value that may be unknown, and then says why: unknown is never empty.
///
/// `R` is a reason type with a fixed set of cases (for example [`process::UnknownProcess`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known<T, R> {
    /// The value was observed.
    Known(T),
    /// The value was not observed, for this reason.
    Unknown(R),
}

impl<T, R> Known<T, R> {
    /// The value, where it is known.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}
