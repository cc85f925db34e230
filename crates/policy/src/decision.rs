//! What was decided, as tokens: whoever needs a permission takes a [`Permit`], and only this crate makes one.

use std::sync::Arc;

use model::time::WallTime;
use model::verdict::{Denial, Mode, Verdict};

use crate::reads::Reads;

/// The rule of a refusal that no policy asked for: none allowed it.
pub const RULE_DEFAULT: &str = "default";

/// The rule of a refusal because a policy could not be evaluated.
pub const RULE_ERROR: &str = "error";

/// A permission or its absence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// It may happen.
    Permit(Permit),
    /// It may not.
    Refusal(Refusal),
}

/// It may happen. Made by [`PolicySet::decide`](crate::PolicySet::decide) and [`Refusal::tolerated`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Permit(Decided);

/// It may not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Refusal(Decided);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Decided {
    verdict: Verdict,
    not_after: Option<WallTime>,
    reads: Reads,
}

impl Decision {
    /// The decision that a verdict stands for.
    pub(crate) fn new(verdict: Verdict, not_after: Option<WallTime>, reads: Reads) -> Self {
        let allowed = verdict.denial.is_none();
        let decided = Decided { verdict, not_after, reads };
        if allowed { Self::Permit(Permit(decided)) } else { Self::Refusal(Refusal(decided)) }
    }

    /// What to record, either way.
    #[must_use]
    pub const fn verdict(&self) -> &Verdict {
        match self {
            Self::Permit(permit) => permit.verdict(),
            Self::Refusal(refusal) => refusal.verdict(),
        }
    }
}

macro_rules! decided {
    ($token:ident) => {
        impl $token {
            /// What to record.
            #[must_use]
            pub const fn verdict(&self) -> &Verdict {
                &self.0.verdict
            }

            /// The last moment at which it holds; `None`: it does not depend on time.
            #[must_use]
            pub const fn not_after(&self) -> Option<WallTime> {
                self.0.not_after
            }

            /// What it depends on besides the facts, the principal's id, kind and groups, and the session's database and
            /// environment: a cache that leaves a field out of its key must not serve a decision that reads it.
            #[must_use]
            pub const fn reads(&self) -> Reads {
                self.0.reads
            }

            /// May it be kept, until [`not_after`](Self::not_after), for the same facts, principal, and session? Not if a
            /// policy could not be evaluated. Rates and other counts are obligations: whoever counts asks nothing here.
            #[must_use]
            pub fn is_cacheable(&self) -> bool {
                self.0.verdict.denial.as_ref().is_none_or(|denial| &*denial.rule != RULE_ERROR)
            }
        }
    };
}

decided!(Permit);
decided!(Refusal);

impl Refusal {
    /// Why.
    #[must_use]
    pub const fn denial(&self) -> Option<&Denial> {
        self.0.verdict.denial.as_ref()
    }

    /// Goes on nevertheless, where the mode only observes or warns; the verdict keeps the denial. `None`: the mode
    /// enforces, and nothing goes on.
    pub fn tolerated(self, mode: Mode) -> Option<Permit> {
        match mode {
            Mode::Observe | Mode::Warn => {
                let verdict = Verdict { mode, ..self.0.verdict };
                Some(Permit(Decided { verdict, ..self.0 }))
            }
            Mode::Enforce => None,
        }
    }
}

/// Who denies, and why.
#[derive(Clone, Debug)]
pub(crate) enum Ground {
    /// A policy forbids it: its place in the set, id, reason, remedy.
    Forbidden { place: usize, rule: Arc<str>, reason: Arc<str>, remedy: Arc<str> },
    /// It could not be decided.
    Failed,
    /// There is too much to decide.
    TooMuch,
    /// Nothing permits it.
    NotPermitted,
}

impl Ground {
    /// The ground that says most comes first.
    pub(crate) const fn rank(&self) -> (u8, usize) {
        match self {
            Self::Forbidden { place, .. } => (0, *place),
            Self::Failed => (1, 0),
            Self::TooMuch => (2, 0),
            Self::NotPermitted => (3, 0),
        }
    }

    pub(crate) fn denial(self, what: Arc<str>, sqlstate: &'static str) -> Denial {
        let fixed = |rule: &str, reason: &str, remedy: &str| (rule.into(), reason.into(), remedy.into());
        let (rule, reason, remedy) = match self {
            Self::Forbidden { rule, reason, remedy, .. } => (rule, reason, remedy),
            Self::Failed => fixed(RULE_ERROR, "a policy could not be evaluated", "tell whoever keeps the policies"),
            Self::TooMuch => fixed(RULE_ERROR, "the statement does too many things to decide", "split it"),
            Self::NotPermitted => {
                fixed(RULE_DEFAULT, "no policy allows it", "ask whoever keeps the policies for a permission")
            }
        };
        Denial { rule, what, reason, remedy, sqlstate }
    }
}
