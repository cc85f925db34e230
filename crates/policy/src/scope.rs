//! Whom and what a policy can be about, by its scope alone: the head of a policy, before its conditions.

use std::sync::Arc;

use cedar_policy::{EntityTypeName, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use model::Known;

use crate::language::{Kind, Language};
use crate::question::Question;

/// The scope of a policy. Its action is not here: policies are put aside by action before.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    principal: Side,
    resource: Side,
}

/// What a scope asks of the principal, or of the resource.
#[derive(Clone, Debug, Default)]
struct Side {
    /// Its type; `None`: any.
    kind: Option<Kind>,
    /// What it is, or is in; `None`: anything.
    within: Option<(Kind, Arc<str>)>,
}

impl Scope {
    /// The scope of a policy; `None`: it names a type that the schema does not have.
    pub(crate) fn of(language: &Language, policy: &Policy) -> Option<Self> {
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => Side::default(),
            PrincipalConstraint::Is(kind) => Side::new(language, Some(&kind), None)?,
            PrincipalConstraint::In(uid) | PrincipalConstraint::Eq(uid) => Side::new(language, None, Some(&uid))?,
            PrincipalConstraint::IsIn(kind, uid) => Side::new(language, Some(&kind), Some(&uid))?,
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => Side::default(),
            ResourceConstraint::Is(kind) => Side::new(language, Some(&kind), None)?,
            ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) => Side::new(language, None, Some(&uid))?,
            ResourceConstraint::IsIn(kind, uid) => Side::new(language, Some(&kind), Some(&uid))?,
        };
        Some(Self { principal, resource })
    }

    /// Whether the policy may match something of that kind: `false` only where no name that it may have makes it match.
    pub(crate) fn may_match(&self, question: &Question<'_>, resource: Kind) -> bool {
        self.principal.may_be_principal(question) && self.resource.may_be_resource(question, resource)
    }
}

impl Side {
    fn new(language: &Language, kind: Option<&EntityTypeName>, within: Option<&EntityUid>) -> Option<Self> {
        let known = |name| language.kind(name).map(Some);
        Some(Self {
            kind: kind.map_or(Some(None), known)?,
            within: match within {
                Some(uid) => Some((language.kind(uid.type_name())?, Arc::from(uid.id().unescaped()))),
                None => None,
            },
        })
    }

    fn is_of(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind)
    }

    fn may_be_principal(&self, question: &Question<'_>) -> bool {
        let (kind, id, groups) = match question.principal {
            Known::Known(principal) => (Kind::of(principal.actor.kind), &*principal.actor.id, &*principal.groups),
            Known::Unknown(reason) => (Kind::Unknown, reason.word(), &[][..]),
        };
        self.is_of(kind)
            && match &self.within {
                None => true,
                Some((Kind::Group, wanted)) => groups.contains(wanted),
                Some((wanted, name)) => *wanted == kind && **name == *id,
            }
    }

    fn may_be_resource(&self, question: &Question<'_>, kind: Kind) -> bool {
        let session = question.session;
        self.is_of(kind)
            && match &self.within {
                Some((Kind::Database, name)) => *name == session.database_name,
                Some((Kind::Environment, name)) => *name == session.environment,
                // A name may stand for several objects: evaluation tells.
                Some(_) | None => true,
            }
    }
}
