//! What was decided about a statement, and why.

use std::sync::Arc;

use crate::access::GrantId;
use crate::facts::Facts;
use crate::words::words;

words! {
    /// How far a database's policy goes.
    Mode {
        /// Decisions are recorded.
        Observe = "observe",
        /// And the client is told (NOTICE).
        Warn = "warn",
        /// And what is not allowed does not run.
        Enforce = "enforce",
    }
}

/// Number of a policy set: every set that takes effect has another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyEpoch(pub u64);

/// What was decided about one request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// By which set.
    pub epoch: PolicyEpoch,
    /// The mode in which it was decided.
    pub mode: Mode,
    /// `None`: allowed. Whether a denial was enforced depends on the mode.
    pub denial: Option<Denial>,
    /// Allowed, but somebody has to approve it first; `None`: nobody has to. Whether it waited depends on the mode.
    pub hold: Option<Hold>,
    /// Policies that allowed it (`@id`), sorted; empty if denied.
    pub allowed_by: Arc<[Arc<str>]>,
    /// What comes with it.
    pub obligations: Obligations,
    /// Columns of its result that the client gets masked, each once, sorted; empty: none, or it is denied. Whether they
    /// were depends on the mode.
    pub masked: Arc<[Masked]>,
}

/// A column whose values a client does not get as they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Masked {
    /// The rule that hides it.
    pub rule: Arc<str>,
    /// What is hidden, as `schema.relation.column`; empty: it is not known where the values come from.
    pub column: Arc<str>,
}

/// A request that was decided about: what it would do, and what was decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// What was decided.
    pub verdict: Verdict,
    /// What the text would do.
    pub facts: Arc<Facts>,
}

/// Why something is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Denial {
    /// The policy (`@id`) that forbids it; `default` where none allows it, `error` where evaluation failed.
    pub rule: Arc<str>,
    /// What it is about, for people: `DROP of table public.customers`.
    pub what: Arc<str>,
    /// Why (the policy's `@reason`).
    pub reason: Arc<str>,
    /// What to do instead (the policy's `@remedy`); empty: nothing is known.
    pub remedy: Arc<str>,
    /// SQLSTATE for the client: 42501, or 42601 for a text that is no SQL.
    pub sqlstate: &'static str,
}

/// Why somebody has to approve a statement before it runs, and under which number that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hold {
    /// The policy (`@id`) that forbids it to run unattended; `default` where none permits that.
    pub rule: Arc<str>,
    /// What it is about, for people: `DELETE of relation public.orders`.
    pub what: Arc<str>,
    /// Why (the policy's `@reason`).
    pub reason: Arc<str>,
    /// What to do instead (the policy's `@remedy`); empty: nothing is known.
    pub remedy: Arc<str>,
    /// What it waited for; with a denial: in vain. `None`: it did not wait.
    pub grant: Option<GrantId>,
}

/// Bounds that come with a permission. `None`: no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Obligations {
    /// Rows that one statement may return.
    pub rows_max: Option<u64>,
    /// Bytes that one statement may return.
    pub bytes_max: Option<u64>,
    /// Milliseconds that one statement may run.
    pub runtime_max: Option<u64>,
    /// Statements of the principal in a minute.
    pub rate_per_minute: Option<u64>,
}

impl Obligations {
    /// The tighter of each bound.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        let tighter = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            rows_max: tighter(self.rows_max, other.rows_max),
            bytes_max: tighter(self.bytes_max, other.bytes_max),
            runtime_max: tighter(self.runtime_max, other.runtime_max),
            rate_per_minute: tighter(self.rate_per_minute, other.rate_per_minute),
        }
    }
}
