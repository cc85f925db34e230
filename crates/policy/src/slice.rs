//! The policies of one action, and of these the ones that a request can be about: no others are evaluated for it.
//!
//! Which these are follows from the scopes of the policies. Requests for which they are the same share a [`Part`], which
//! is made when it is needed first. `tests/laws.rs` holds decisions against those of policies that have no scopes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{Entity, Policy};

use crate::candidates::Candidates;
use crate::language::Kind;
use crate::question::Question;
use crate::reads::Reads;
use crate::scope::Scope;

/// Parts of one action that are kept. Beyond that all policies of the action are evaluated: slower, and never wrong.
const PARTS_MAX: usize = 256;

/// The policies that can be about one action.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) action: Entity,
    members: Vec<Member>,
    whole: Arc<Part>,
    /// By the places of their policies in `members`.
    parts: RwLock<HashMap<Vec<usize>, Arc<Part>>>,
}

/// A policy of a slice.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) policy: Policy,
    pub(crate) scope: Scope,
    pub(crate) reads: Reads,
    pub(crate) candidates: Candidates,
}

/// Policies that are evaluated together.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) policies: cedar_policy::PolicySet,
    pub(crate) reads: Reads,
    pub(crate) candidates: Candidates,
}

impl Slice {
    /// The policies of an action.
    ///
    /// # Errors
    /// When two have the same id.
    pub(crate) fn new(action: Entity, members: Vec<Member>) -> Result<Self, String> {
        let whole = Arc::new(Part::new(members.iter())?);
        Ok(Self { action, members, whole, parts: RwLock::default() })
    }

    /// The policies that can match where this is asked about something of that kind.
    pub(crate) fn part(&self, question: &Question<'_>, resource: Kind) -> Arc<Part> {
        let may_match = |(_, member): &(usize, &Member)| member.scope.may_match(question, resource);
        let places: Vec<usize> = self.members.iter().enumerate().filter(may_match).map(|(place, _)| place).collect();
        let kept = self.parts.read().unwrap_or_else(PoisonError::into_inner).get(&places).cloned();
        kept.unwrap_or_else(|| self.make(places))
    }

    /// Whether the policy of this id is one of them.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.members.iter().any(|member| AsRef::<str>::as_ref(member.policy.id()) == id)
    }

    /// All policies of the action.
    pub(crate) fn whole(&self) -> &Part {
        &self.whole
    }

    fn make(&self, places: Vec<usize>) -> Arc<Part> {
        let members = places.iter().filter_map(|place| self.members.get(*place));
        let Ok(part) = Part::new(members).map(Arc::new) else { return Arc::clone(&self.whole) };
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        if parts.len() >= PARTS_MAX {
            return Arc::clone(&self.whole);
        }
        Arc::clone(parts.entry(places).or_insert(part))
    }
}

impl Part {
    fn new<'a>(members: impl Iterator<Item = &'a Member> + Clone) -> Result<Self, String> {
        let policies = cedar_policy::PolicySet::from_policies(members.clone().map(|member| member.policy.clone()));
        Ok(Self {
            policies: policies.map_err(|error| error.to_string())?,
            reads: members.clone().fold(Reads::default(), |reads, member| reads.and(member.reads)),
            candidates: members.fold(Candidates::default(), |all, member| all.and(&member.candidates)),
        })
    }
}
