//! What was decided, as tokens: whoever needs a permission takes a [`Permit`], and only this crate makes one.

use std::sync::Arc;

use model::access::GrantId;
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
    /// It may happen once somebody has approved it.
    Hold(Hold),
    /// It may not.
    Refusal(Refusal),
}

/// It may happen. Made by [`PolicySet::decide`](crate::PolicySet::decide), [`Hold::released`], and where nothing is enforced
/// [`Hold::tolerated`] and [`Refusal::tolerated`], only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Permit(Decided);

/// It may happen once somebody has approved it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Hold(Decided);

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
        let (denied, held) = (verdict.denial.is_some(), verdict.hold.is_some());
        let decided = Decided { verdict, not_after, reads };
        match (denied, held) {
            (true, _) => Self::Refusal(Refusal(decided)),
            (false, true) => Self::Hold(Hold(decided)),
            (false, false) => Self::Permit(Permit(decided)),
        }
    }

    /// What to record, either way.
    #[must_use]
    pub const fn verdict(&self) -> &Verdict {
        match self {
            Self::Permit(permit) => permit.verdict(),
            Self::Hold(hold) => hold.verdict(),
            Self::Refusal(refusal) => refusal.verdict(),
        }
    }

    /// The last moment at which it holds; `None`: it does not depend on time.
    #[must_use]
    pub const fn not_after(&self) -> Option<WallTime> {
        match self {
            Self::Permit(permit) => permit.not_after(),
            Self::Hold(hold) => hold.not_after(),
            Self::Refusal(refusal) => refusal.not_after(),
        }
    }

    /// May it be kept? See [`Permit::is_cacheable`].
    #[must_use]
    pub fn is_cacheable(&self) -> bool {
        match self {
            Self::Permit(permit) => permit.is_cacheable(),
            Self::Hold(hold) => hold.is_cacheable(),
            Self::Refusal(refusal) => refusal.is_cacheable(),
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
decided!(Hold);
decided!(Refusal);

impl Hold {
    /// Somebody who may has approved exactly this, under that number.
    pub fn released(self, grant: GrantId) -> Permit {
        let Decided { mut verdict, not_after, reads } = self.0;
        verdict.hold = verdict.hold.map(|hold| model::verdict::Hold { grant: Some(grant), ..hold });
        Permit(Decided { verdict, not_after, reads })
    }

    /// Goes on nevertheless, where the mode only observes or warns; the verdict keeps that it had to wait. `None`: the
    /// mode enforces, and it waits.
    pub fn tolerated(self, mode: Mode) -> Option<Permit> {
        self.0.tolerated(mode)
    }
}

impl Decided {
    fn tolerated(self, mode: Mode) -> Option<Permit> {
        match mode {
            Mode::Observe | Mode::Warn => {
                let verdict = Verdict { mode, ..self.verdict };
                Some(Permit(Self { verdict, ..self }))
            }
            Mode::Enforce => None,
        }
    }
}

impl Refusal {
    /// Why.
    #[must_use]
    pub const fn denial(&self) -> Option<&Denial> {
        self.0.verdict.denial.as_ref()
    }

    /// Goes on nevertheless, where the mode only observes or warns; the verdict keeps the denial. `None`: the mode
    /// enforces, and nothing goes on.
    pub fn tolerated(self, mode: Mode) -> Option<Permit> {
        self.0.tolerated(mode)
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
