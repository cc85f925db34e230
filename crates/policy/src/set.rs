//! A compiled set of policies, and what it decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::{Authorizer, Response};
use model::facts::OpaqueReason;
use model::verdict::{Denial, Hold, Obligations, PolicyEpoch, Verdict};

use crate::annotations::Annotations;
use crate::calendar::Local;
use crate::case::{Case, Place};
use crate::compile;
use crate::decision::{Decision, Ground};
use crate::language::{Language, Verb};
use crate::question::Question;
use crate::reads::Reads;
use crate::request::Ask;
use crate::slice::{Member, Near, Part, Slice};
use crate::told::Told;
use crate::what::what;
use crate::{PolicyFile, Problem};

/// Requests that one question may lead to. With more it is refused: the time of a decision has a bound.
const REQUESTS_MAX: usize = 4096;

/// SQLSTATE `insufficient_privilege`.
pub(crate) const NOT_ALLOWED: &str = "42501";
/// SQLSTATE `syntax_error`.
const NO_SQL: &str = "42601";

/// Policies that take effect together. A clone is the same set.
#[derive(Clone, Debug)]
pub struct PolicySet(Arc<Compiled>);

#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) epoch: PolicyEpoch,
    pub(crate) digest: [u8; 32],
    pub(crate) language: &'static Language,
    /// In the order of the files.
    pub(crate) rules: Vec<Rule>,
    /// Where in `rules` each id is.
    pub(crate) places: BTreeMap<Arc<str>, usize>,
    pub(crate) slices: BTreeMap<Verb, Slice>,
    /// Some policy says what may run unattended; without one everything may.
    pub(crate) attends: bool,
    pub(crate) authorizer: Authorizer,
}

/// One policy of the set.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) annotations: Annotations,
    pub(crate) effect: PolicyEffect,
    pub(crate) digest: [u8; 32],
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
}

/// What a policy does where it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyEffect {
    /// It allows.
    Permit,
    /// It denies, whatever else allows.
    Forbid,
}

/// One policy, as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyInfo {
    /// `@id`.
    pub id: Arc<str>,
    /// `@reason`.
    pub reason: Arc<str>,
    /// `@remedy`; empty: it has none.
    pub remedy: Arc<str>,
    /// File that it is in.
    pub file: Arc<str>,
    /// Line that it begins in, from 1.
    pub line: u32,
    /// What it does where it matches.
    pub effect: PolicyEffect,
    /// SHA-256 of what it says, its annotations included.
    pub digest: [u8; 32],
    /// It is about statements and openings; else about grants only.
    pub decides_requests: bool,
}

impl PolicySet {
    /// Compiles policy files.
    ///
    /// # Errors
    /// Everything that is wrong with them, sorted by place: syntax; what the validator objects to, its warnings
    /// included; a missing, malformed or repeated `@id`; a missing `@reason`; unknown annotations and malformed bounds;
    /// names that nothing can have; limits. A set with a problem never takes effect in part.
    pub fn compile(files: &[PolicyFile], epoch: PolicyEpoch) -> Result<Self, Vec<Problem>> {
        compile::compile(files, epoch).map(|compiled| Self(Arc::new(compiled)))
    }

    pub(crate) fn compiled(&self) -> &Compiled {
        &self.0
    }

    /// The number of the set.
    #[must_use]
    pub fn epoch(&self) -> PolicyEpoch {
        self.0.epoch
    }

    /// SHA-256 of what the policies say: comments, blanks, and the order and names of files make no difference.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.0.digest
    }

    /// The policies, in the order of the files.
    pub fn policies(&self) -> impl Iterator<Item = PolicyInfo> {
        self.0.rules.iter().map(|rule| PolicyInfo {
            id: Arc::clone(&rule.annotations.id),
            reason: Arc::clone(&rule.annotations.reason),
            remedy: Arc::clone(&rule.annotations.remedy),
            file: Arc::clone(&rule.file),
            line: rule.line,
            effect: rule.effect,
            digest: rule.digest,
            decides_requests: self.0.decides_requests(&rule.annotations.id),
        })
    }

    /// Decides. The same question has the same answer until [`Permit::not_after`](crate::Permit::not_after).
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        let mut findings = Findings::default();
        for ask in Ask::all(question.facts) {
            self.0.judge(question, ask, &mut findings);
        }
        if self.0.attends && findings.denied.is_none() && question.facts.is_statement() {
            findings.attended = Some(self.0.attend(question));
        }
        findings.conclude(self.0.epoch, question)
    }

    /// What a question asks, step by step, with the verdict about each step by itself: for whoever wants to know why.
    /// It is no permission.
    #[must_use]
    pub fn explain(&self, question: &Question<'_>) -> Vec<(Arc<str>, Verdict)> {
        let step = |ask: Ask<'_>| {
            let mut findings = Findings::default();
            self.0.judge(question, ask, &mut findings);
            findings.conclude(self.0.epoch, question).verdict().clone()
        };
        let asked = Ask::all(question.facts);
        let attends = self.0.attends && question.facts.is_statement();
        let unattended = asked
            .iter()
            .filter(|_| attends)
            .map(|ask| (format!("{} with nobody looking at it", what(ask)).into(), step(ask.unattended())));
        asked.iter().map(|ask| (what(ask), step(*ask))).chain(unattended).collect()
    }
}

impl Compiled {
    fn decides_requests(&self, id: &str) -> bool {
        self.slices.iter().any(|(verb, slice)| !verb.is_about_grants() && slice.has(id))
    }

    /// Decides whether all of it may run unattended.
    fn attend(&self, question: &Question<'_>) -> Box<Findings> {
        let mut findings = Box::default();
        for ask in Ask::all(question.facts) {
            self.judge(question, ask.unattended(), &mut findings);
        }
        findings
    }

    /// Decides about one thing, as each that it may be.
    fn judge(&self, question: &Question<'_>, ask: Ask<'_>, findings: &mut Findings) {
        let Some(slice) = self.slices.get(&ask.action()) else { return findings.deny(&ask, Ground::Failed) };
        let near = slice.near(question, ask.resource());
        let supposed: BTreeSet<&str> =
            near.iter().flat_map(|(_, member)| member.candidates.for_object(ask.object())).collect();
        for place in std::iter::once(Place::AsNamed).chain(supposed.into_iter().map(Place::Supposed)) {
            findings.requests = findings.requests.saturating_add(1);
            if findings.requests > REQUESTS_MAX {
                return findings.deny(&ask, Ground::TooMuch);
            }
            let case = Case::new(self.language, question, ask, place);
            match self.matching(slice, &near, &case, &mut findings.reads).conclude(self) {
                Ok(rules) => rules.into_iter().for_each(|rule| findings.allow(&rule.annotations)),
                Err(ground) => findings.deny(&ask, ground),
            }
        }
    }

    /// The policies that match. Cedar evaluates those of which nothing else tells.
    fn matching(&self, slice: &Slice, near: &[Near<'_>], case: &Case<'_>, reads: &mut Reads) -> Matching {
        let mut matching = Matching::default();
        let mut open = Vec::new();
        for (member, Member { place, test, .. }) in near {
            match test.tell(case, reads) {
                Told::Matches => self.add(*place, &mut matching),
                Told::Passes => {}
                Told::Open => open.push(*member),
            }
        }
        if !open.is_empty() {
            self.evaluate(slice, &slice.part(open), case, reads, &mut matching);
        }
        matching
    }

    fn evaluate(&self, slice: &Slice, part: &Part, case: &Case<'_>, reads: &mut Reads, matching: &mut Matching) {
        *reads = reads.and(part.reads);
        match case.request(&slice.action, part.reads) {
            Some((request, entities)) => {
                self.note(&self.authorizer.is_authorized(&request, &part.policies, &entities), matching);
            }
            None => matching.failed = true,
        }
    }

    /// What Cedar says: the policies that decide, and whether one of them failed.
    pub(crate) fn note(&self, response: &Response, matching: &mut Matching) {
        matching.failed |= response.diagnostics().errors().next().is_some();
        let reasons = response.diagnostics().reason();
        let places = reasons.filter_map(|id| self.places.get(AsRef::<str>::as_ref(id)).copied());
        places.for_each(|place| self.add(place, matching));
    }

    fn add(&self, place: usize, matching: &mut Matching) {
        match self.rules.get(place).map(|rule| rule.effect) {
            Some(PolicyEffect::Permit) => _ = matching.permits.insert(place),
            Some(PolicyEffect::Forbid) => _ = matching.forbids.insert(place),
            None => matching.failed = true,
        }
    }
}

/// The policies that match one request, as places in the set.
#[derive(Debug, Default)]
pub(crate) struct Matching {
    permits: BTreeSet<usize>,
    forbids: BTreeSet<usize>,
    /// One could not be evaluated.
    failed: bool,
}

impl Matching {
    /// The policies that allow, or why it is not allowed.
    pub(crate) fn conclude(self, set: &Compiled) -> Result<Vec<&Rule>, Ground> {
        let forbids = self.forbids.first().and_then(|place| Some((*place, set.rules.get(*place)?)));
        match forbids {
            Some((place, Rule { annotations, .. })) => Err(Ground::Forbidden {
                place,
                rule: Arc::clone(&annotations.id),
                reason: Arc::clone(&annotations.reason),
                remedy: Arc::clone(&annotations.remedy),
            }),
            None if self.failed => Err(Ground::Failed),
            None if self.permits.is_empty() => Err(Ground::NotPermitted),
            None => Ok(self.permits.into_iter().filter_map(|place| set.rules.get(place)).collect()),
        }
    }
}

/// What the requests of one question came to.
#[derive(Debug, Default)]
struct Findings {
    requests: usize,
    reads: Reads,
    /// The denial that says most.
    denied: Option<Denied>,
    allowed_by: BTreeSet<Arc<str>>,
    obligations: Obligations,
    /// What was found about running unattended, where that was asked.
    attended: Option<Box<Self>>,
}

#[derive(Debug)]
struct Denied {
    ground: Ground,
    what: Arc<str>,
    sqlstate: &'static str,
}

impl Findings {
    fn allow(&mut self, by: &Annotations) {
        self.obligations = self.obligations.tighter(by.obligations);
        self.allowed_by.insert(Arc::clone(&by.id));
    }

    fn deny(&mut self, ask: &Ask<'_>, ground: Ground) {
        if self.denied.as_ref().is_some_and(|denied| denied.ground.rank() <= ground.rank()) {
            return;
        }
        let sqlstate = if ask.reason == Some(OpaqueReason::Syntax) { NO_SQL } else { NOT_ALLOWED };
        self.denied = Some(Denied { ground, what: what(ask), sqlstate });
    }

    fn conclude(mut self, epoch: PolicyEpoch, question: &Question<'_>) -> Decision {
        let hold = self.attended.take().and_then(|attended| self.take_hold(*attended));
        let not_after = Local::new(question.now, question.session.utc_offset).not_after(self.reads);
        let denial = self.denied.map(Denied::denial);
        let (allowed_by, obligations) = match denial {
            Some(_) => (Arc::default(), Obligations::default()),
            None => (self.allowed_by.into_iter().collect(), self.obligations),
        };
        let (mode, masked) = (question.session.mode, Arc::default());
        let verdict = Verdict { epoch, mode, denial, hold, allowed_by, obligations, masked };
        Decision::new(verdict, not_after, self.reads)
    }

    /// Why somebody has to look at it first; `None`: nobody has to, or it cannot be said and all of it is denied.
    fn take_hold(&mut self, attended: Self) -> Option<Hold> {
        self.reads = self.reads.and(attended.reads);
        self.obligations = self.obligations.tighter(attended.obligations);
        let denied = attended.denied?;
        match denied.ground {
            Ground::Forbidden { .. } | Ground::NotPermitted => Some(denied.hold()),
            Ground::Failed | Ground::TooMuch => {
                self.denied = Some(denied);
                None
            }
        }
    }
}

impl Denied {
    fn denial(self) -> Denial {
        self.ground.denial(self.what, self.sqlstate)
    }

    fn hold(self) -> Hold {
        let reason = match self.ground {
            Ground::NotPermitted => Some("no policy lets it run unattended"),
            _ => None,
        };
        let Denial { rule, what, reason: said, remedy, .. } = self.denial();
        match reason {
            Some(reason) => Hold { rule, what, reason: reason.into(), remedy: Arc::default(), grant: None },
            None => Hold { rule, what, reason: said, remedy, grant: None },
        }
    }
}
