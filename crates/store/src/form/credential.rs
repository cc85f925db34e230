//! Minted roles and the end of access, as they are written.

use std::borrow::Cow;

use model::credential::Credential;
use serde::{Deserialize, Serialize};

use super::identity::SessionText;
use super::principal::PrincipalForm;
use crate::time::Timestamp;

/// `credential`: what became of a role that was made for one session, or of the access of a session without one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CredentialForm<'a> {
    /// `minting`, `failed`, `ending`, `ended`, `stuck`, `orphan`, `adopted`.
    pub step: Cow<'a, str>,
    /// Name of the role; absent: the session has no role of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Cow<'a, str>>,
    /// The role whose rights it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Cow<'a, str>>,
    /// Name of the database in the configuration.
    pub database_entry: Cow<'a, str>,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionText>,
    /// For whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalForm<'a>>,
    /// When the access ends at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why it ends: `session`, `token_expired`, `lifetime`, `grant_expired`, `revoked`, `policy_changed`, `orphan`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Cow<'a, str>>,
    /// How the end of the server's socket was seen: `kernel`, `iterator`, `unseen`, `no_session`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Cow<'a, str>>,
    /// Microseconds from the decision to the confirmation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Credential> for CredentialForm<'a> {
    fn from(credential: &'a Credential) -> Self {
        Self {
            step: credential.step.word().into(),
            role: credential.role.as_ref().map(|role| (&*role.name).into()),
            group: credential.role.as_ref().map(|role| (&*role.group).into()),
            database_entry: (&*credential.database_name).into(),
            session: credential.session.map(SessionText::from),
            principal: credential.principal.as_deref().map(PrincipalForm::from),
            until: credential.until.map(Timestamp),
            end: credential.end.map(|end| end.word().into()),
            confirmation: credential.confirmation.map(|confirmation| confirmation.word().into()),
            latency_us: credential.latency.map(|nanos| nanos / 1000),
            detail: credential.detail.as_deref().map(Cow::from),
        }
    }
}
