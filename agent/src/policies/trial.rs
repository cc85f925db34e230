//! One text under given circumstances, put before a set of policies.

use std::sync::Arc;

use model::Known;
use model::facts::{OpaqueReason, StatementFacts};
use model::principal::{Principal, UnknownPrincipal};
use model::time::WallTime;
use model::verdict::{Denial, Hold, Obligations, Verdict};
use policy::{ActiveGrant, Asked, PolicySet, Question, SessionContext};
use sql::catalogue::Catalogue;
use sql::state::State;
use sql::{Analyser, Limits};

/// Who asks for what, and under which circumstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Who acts.
    pub who: Known<Principal, UnknownPrincipal>,
    /// From where.
    pub session: SessionContext,
    /// What has been granted and is active.
    pub grants: Vec<ActiveGrant>,
    /// When.
    pub now: WallTime,
    /// What.
    pub deed: Deed,
}

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Run a text; names in it are those of a session that has changed nothing, without a snapshot of the catalogue.
    Sql(String),
    /// Open a session.
    Open,
    /// Open a session for replication.
    Replicate,
    /// Send something that cannot be understood, for this reason.
    Opaque(OpaqueReason),
}

/// What came of one part of a deed: a statement, or an opening.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it is: the statement's command.
    pub name: Arc<str>,
    /// What was decided.
    pub verdict: Verdict,
    /// Each thing that was decided about by itself, with its verdict.
    pub steps: Vec<(Arc<str>, Verdict)>,
}

/// What came of a deed: all of its parts, or nothing.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its parts; none for a text without statements.
    pub parts: Vec<Part>,
}

impl Outcome {
    /// Why it may not be done; `None`: it may.
    #[must_use]
    pub fn denial(&self) -> Option<&Denial> {
        self.parts.iter().find_map(|part| part.verdict.denial.as_ref())
    }

    /// Why somebody has to approve it first; `None`: nobody has to.
    #[must_use]
    pub fn hold(&self) -> Option<&Hold> {
        self.parts.iter().find_map(|part| part.verdict.hold.as_ref())
    }

    /// The policies that allow it.
    #[must_use]
    pub fn allowed_by(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = self.parts.iter().flat_map(|part| &*part.verdict.allowed_by).map(|id| &**id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The bounds of its statements.
    pub fn obligations(&self) -> impl Iterator<Item = Obligations> {
        self.parts.iter().map(|part| part.verdict.obligations)
    }
}

impl Trial {
    /// Puts it before a set.
    #[must_use]
    pub fn run(&self, set: &PolicySet) -> Outcome {
        let parts = match &self.deed {
            Deed::Open => vec![self.part(set, "opening", Asked::Connect)],
            Deed::Replicate => vec![self.part(set, "opening for replication", Asked::Replication)],
            Deed::Opaque(reason) => vec![self.part(set, "message", Asked::Opaque(*reason))],
            Deed::Sql(text) => {
                let facts = Analyser::new(Limits::default()).facts(
                    text.as_bytes(),
                    &State::new(Arc::clone(&self.session.user)),
                    &Catalogue::none(),
                );
                let statement = |facts: &StatementFacts| self.part(set, &facts.command, Asked::Statement(facts));
                let opaque = facts.opaque.map(|reason| self.part(set, "text", Asked::Opaque(reason)));
                facts.statements.iter().map(statement).chain(opaque).collect()
            }
        };
        Outcome { parts }
    }

    fn part(&self, set: &PolicySet, name: &str, facts: Asked<'_>) -> Part {
        let question =
            Question { principal: &self.who, facts, session: &self.session, grants: &self.grants, now: self.now };
        let verdict = set.decide(&question).verdict().clone();
        Part { name: name.into(), verdict, steps: set.explain(&question) }
    }
}
