//! Who acts on a session, as it is written.

use std::borrow::Cow;

use model::Known;
use model::principal::{Actor, Principal, PrincipalKind, UnknownPrincipal};
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Who acts, and on whose behalf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrincipalForm<'a> {
    /// Who does it.
    #[serde(flatten)]
    pub actor: ActorForm<'a>,
    /// Groups that the issuer vouches for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Cow<'a, str>>,
    /// On whose behalf, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub acting_for: Vec<ActorForm<'a>>,
    /// `token`, `oauth_bearer`, `certificate`, `process`, `bound_process`.
    pub proof: Cow<'a, str>,
    /// When the proof ends; absent: with the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// What it is for, in the words of whoever asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Cow<'a, str>>,
}

/// One actor. Its id is unique together with the issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActorForm<'a> {
    /// `person`, `service`, `agent`.
    pub kind: Cow<'a, str>,
    /// Name.
    pub id: Cow<'a, str>,
    /// Who says so.
    pub issuer: Cow<'a, str>,
}

impl<'a> From<&'a Principal> for PrincipalForm<'a> {
    fn from(principal: &'a Principal) -> Self {
        Self {
            actor: ActorForm::from(&principal.actor),
            groups: principal.groups.iter().map(|group| (&**group).into()).collect(),
            acting_for: principal.acting_for.iter().map(ActorForm::from).collect(),
            proof: principal.proof.word().into(),
            expires: principal.expires.map(Timestamp),
            purpose: principal.purpose.as_deref().map(Cow::from),
        }
    }
}

impl<'a> From<&'a Actor> for ActorForm<'a> {
    fn from(actor: &'a Actor) -> Self {
        Self { kind: actor.kind.word().into(), id: (&*actor.id).into(), issuer: (&*actor.issuer).into() }
    }
}

/// Who acts, or why nobody knows.
pub(super) fn principal_or_reason(
    known: &Known<std::sync::Arc<Principal>, UnknownPrincipal>,
) -> (Option<PrincipalForm<'_>>, Option<Cow<'_, str>>) {
    match known {
        Known::Known(principal) => (Some(PrincipalForm::from(&**principal)), None),
        Known::Unknown(why) => (None, Some(why.word().into())),
    }
}

impl ActorForm<'_> {
    /// The same, owning what it says.
    #[must_use]
    pub fn into_owned(self) -> ActorForm<'static> {
        ActorForm {
            kind: self.kind.into_owned().into(),
            id: self.id.into_owned().into(),
            issuer: self.issuer.into_owned().into(),
        }
    }

    /// Who it is; `None`: a kind of a newer version.
    #[must_use]
    pub fn actor(&self) -> Option<Actor> {
        let kind = PrincipalKind::ALL.iter().copied().find(|kind| kind.word() == self.kind)?;
        Some(Actor { kind, id: (&*self.id).into(), issuer: (&*self.issuer).into() })
    }
}
