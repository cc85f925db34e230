//! Why the desk says no.

use model::access::{GrantId, GrantState};

use crate::ask::TooMuch;

/// Why something does not become of a grant. Every text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such grant.
    #[error("there is no grant {0}; see: warder grant list")]
    Unknown(GrantId),
    /// The id is taken: ask again with another one.
    #[error("the number {0} is taken; ask again")]
    Taken(GrantId),
    /// Its state does not allow it.
    #[error("grant {id} is {}; only one that is {wanted} can be {verb}", state.word())]
    State {
        /// Which.
        id: GrantId,
        /// How it stands.
        state: GrantState,
        /// How it would have to stand.
        wanted: &'static str,
        /// What was asked.
        verb: &'static str,
    },
    /// Whoever asked, or somebody who stands behind both, may not decide.
    #[error("nobody decides about access of their own, or of an agent that acts for them: ask somebody else")]
    OwnRequest,
    /// The approver has approved it already, or somebody behind both has.
    #[error("this approval is there already: another person must approve as well")]
    ApprovedAlready,
    /// Only its holder may do this.
    #[error("grant {0} is somebody else's: only its holder can do this")]
    NotHolder(GrantId),
    /// It has no review to be done.
    #[error("grant {0} needs no review, or has it already")]
    NoReview(GrantId),
    /// It is longer than the policy allows.
    #[error("{} seconds are longer than the {} seconds that the policy {rule} allows; ask for less", asked / NANOS, max / NANOS)]
    TooLong {
        /// Nanoseconds.
        asked: u64,
        /// Nanoseconds.
        max: u64,
        /// The policy.
        rule: String,
    },
    /// What is asked for is not well formed, or too much.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// Too many wait for a decision.
    #[error("{0} requests wait for a decision already; withdraw one, or wait")]
    TooManyWaiting(usize),
    /// Too many are active.
    #[error("{0} grants are active already; wait until some have ended")]
    TooManyActive(usize),
    /// Too many broken glasses that nobody has looked at.
    #[error(
        "nobody has looked yet at {0} broken glasses of yours; have them reviewed (warder grant review) before you break another"
    )]
    TooManyUnreviewed(usize),
}

impl Refusal {
    /// For programs: `unknown_grant`, `state`, `person`, `too_much` or `too_many`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown_grant",
            Self::Taken(_) | Self::State { .. } | Self::ApprovedAlready | Self::NoReview(_) => "state",
            Self::OwnRequest | Self::NotHolder(_) => "person",
            Self::TooLong { .. } | Self::TooMuch(_) => "too_much",
            Self::TooManyWaiting(_) | Self::TooManyActive(_) | Self::TooManyUnreviewed(_) => "too_many",
        }
    }
}

const NANOS: u64 = 1_000_000_000;
