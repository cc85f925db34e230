//! The policies of one action, and sets of those that Cedar has to evaluate together.
//!
//! Requests for which these are the same share a [`Part`], which is made when it is needed first.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{Entity, Policy};

use crate::candidates::Candidates;
use crate::language::Kind;
use crate::question::Question;
use crate::reads::Reads;
use crate::scope::Scope;
use crate::told::Test;

/// Parts of one action that are kept. Beyond that all policies of the action are evaluated: slower, and never wrong.
const PARTS_MAX: usize = 256;

/// The policies that can be about one action.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) action: Entity,
    members: Vec<Member>,
    /// All of them.
    whole: Arc<Part>,
    /// By the places of their policies in `members`.
    parts: RwLock<HashMap<Vec<usize>, Arc<Part>>>,
}

/// A policy of a slice.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its place in the set.
    pub(crate) place: usize,
    pub(crate) policy: Policy,
    pub(crate) scope: Scope,
    pub(crate) test: Arc<Test>,
    pub(crate) reads: Reads,
    pub(crate) candidates: Candidates,
}

/// Policies that are evaluated together.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) policies: cedar_policy::PolicySet,
    pub(crate) reads: Reads,
}

/// A policy and its place in the slice.
pub(crate) type Near<'a> = (usize, &'a Member);

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
    pub(crate) fn near(&self, question: &Question<'_>, resource: Kind) -> Vec<Near<'_>> {
        let members = self.members.iter().enumerate();
        members.filter(|(_, member)| member.scope.may_match(question, resource)).collect()
    }

    /// These, to be evaluated; maybe with others of the action.
    pub(crate) fn part(&self, members: Vec<usize>) -> Arc<Part> {
        let kept = self.parts.read().unwrap_or_else(PoisonError::into_inner).get(&members).cloned();
        kept.unwrap_or_else(|| self.make(members))
    }

    /// Whether the policy of this id is one of them.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.members.iter().any(|member| AsRef::<str>::as_ref(member.policy.id()) == id)
    }

    /// All policies of the action.
    pub(crate) fn whole(&self) -> &Part {
        &self.whole
    }

    fn make(&self, members: Vec<usize>) -> Arc<Part> {
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        if parts.len() >= PARTS_MAX {
            return Arc::clone(&self.whole);
        }
        let part = Part::new(members.iter().filter_map(|place| self.members.get(*place)));
        let Ok(part) = part.map(Arc::new) else { return Arc::clone(&self.whole) };
        Arc::clone(parts.entry(members).or_insert(part))
    }
}

impl Part {
    fn new<'a>(members: impl Iterator<Item = &'a Member> + Clone) -> Result<Self, String> {
        let policies = cedar_policy::PolicySet::from_policies(members.clone().map(|member| member.policy.clone()));
        Ok(Self {
            policies: policies.map_err(|error| error.to_string())?,
            reads: members.fold(Reads::default(), |reads, member| reads.and(member.reads)),
        })
    }
}
