//! Grants: what became of them, as it is written.

use std::borrow::Cow;

use model::access::{AccessEvent, ChangedBy, Holder, Scope};
use serde::{Deserialize, Serialize};

use super::is_false;
use super::principal::ActorForm;
use crate::time::Timestamp;

/// `access`: something became of a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccessForm<'a> {
    /// Its number: `g-7k3f9q2d`.
    pub grant: Cow<'a, str>,
    /// `requested`, `approved`, `activated`, `denied`, `escalated`, `expired`, `revoked`, `used`, `withdrawn`, `reviewed`,
    /// `review_overdue`.
    pub change: Cow<'a, str>,
    /// `requested`, `active`, `denied`, `expired`, `revoked`, `used`, `withdrawn`.
    pub state: Cow<'a, str>,
    /// Whose it is.
    pub holder: HolderForm<'a>,
    /// What it covers.
    #[serde(flatten)]
    pub scope: ScopeForm<'a>,
    /// What for.
    pub purpose: Cow<'a, str>,
    /// Ticket of another system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Cow<'a, str>>,
    /// For how long.
    pub duration_us: u64,
    /// SHA-256 of the one statement that it is for, hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub once: Option<String>,
    /// Nobody had to approve it.
    #[serde(skip_serializing_if = "is_false")]
    pub break_glass: bool,
    /// The grant that it goes on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renews: Option<String>,
    /// The policy that lets it be asked for.
    pub rule: Cow<'a, str>,
    /// `holder`, `operator`, `clock`, `policy`.
    pub by: Cow<'a, str>,
    /// Who it was, where a token says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_holder: Option<HolderForm<'a>>,
    /// Uid of an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Why, in their words.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'a, str>,
    /// Approvals that it has.
    pub approvals: u8,
    /// Approvals that it needs.
    pub approvals_needed: u8,
    /// When it ends, if it is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
}

/// Whose a grant is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HolderForm<'a> {
    /// Who does it.
    #[serde(flatten)]
    pub actor: ActorForm<'a>,
    /// On whose behalf, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub acting_for: Vec<ActorForm<'a>>,
}

/// What a grant covers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScopeForm<'a> {
    /// Name of the database in the configuration.
    pub database_entry: Cow<'a, str>,
    /// SQL database; absent: each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Cow<'a, str>>,
    /// Actions, and groups of them.
    pub actions: Vec<Cow<'a, str>>,
    /// `schema.name`, `schema.*`, `*`.
    pub relations: Vec<Cow<'a, str>>,
}

impl<'a> From<&'a AccessEvent> for AccessForm<'a> {
    fn from(event: &'a AccessEvent) -> Self {
        let grant = &*event.grant;
        let (by, by_holder, uid) = match &event.by {
            ChangedBy::Holder(holder) => ("holder", Some(HolderForm::from(holder)), None),
            ChangedBy::Operator { uid } => ("operator", None, Some(*uid)),
            ChangedBy::Clock => ("clock", None, None),
            ChangedBy::Policy => ("policy", None, None),
        };
        let (approvals, approvals_needed) = event.approvals;
        Self {
            grant: grant.id.to_string().into(),
            change: event.change.word().into(),
            state: event.state.word().into(),
            holder: HolderForm::from(&grant.holder),
            scope: ScopeForm::from(&grant.scope),
            purpose: (&*grant.purpose).into(),
            ticket: grant.ticket.as_deref().map(Cow::from),
            duration_us: grant.duration / 1000,
            once: grant.once.map(|digest| digest.0.iter().map(|byte| format!("{byte:02x}")).collect()),
            break_glass: grant.break_glass,
            renews: grant.renews.map(|id| id.to_string()),
            rule: (&*grant.rule).into(),
            by: by.into(),
            by_holder,
            uid,
            reason: (&*event.reason).into(),
            approvals,
            approvals_needed,
            not_after: event.not_after.map(Timestamp),
        }
    }
}

impl<'a> From<&'a Holder> for HolderForm<'a> {
    fn from(holder: &'a Holder) -> Self {
        Self {
            actor: ActorForm::from(&holder.actor),
            acting_for: holder.acting_for.iter().map(ActorForm::from).collect(),
        }
    }
}

impl<'a> From<&'a Scope> for ScopeForm<'a> {
    fn from(scope: &'a Scope) -> Self {
        Self {
            database_entry: (&*scope.database).into(),
            database: scope.sql_database.as_deref().map(Cow::from),
            actions: scope.actions.iter().map(|action| (&**action).into()).collect(),
            relations: scope.relations.iter().map(|relation| (&**relation).into()).collect(),
        }
    }
}

impl HolderForm<'_> {
    /// The same, owning what it says.
    #[must_use]
    pub fn into_owned(self) -> HolderForm<'static> {
        HolderForm {
            actor: self.actor.into_owned(),
            acting_for: self.acting_for.into_iter().map(ActorForm::into_owned).collect(),
        }
    }

    /// Whose grant it is; `None`: a word of a newer version.
    #[must_use]
    pub fn holder(&self) -> Option<Holder> {
        Some(Holder {
            actor: self.actor.actor()?,
            acting_for: self.acting_for.iter().map(ActorForm::actor).collect::<Option<_>>()?,
        })
    }
}

impl ScopeForm<'_> {
    /// The same, owning what it says.
    #[must_use]
    pub fn into_owned(self) -> ScopeForm<'static> {
        let own = |texts: Vec<Cow<'_, str>>| texts.into_iter().map(|text| text.into_owned().into()).collect();
        ScopeForm {
            database_entry: self.database_entry.into_owned().into(),
            database: self.database.map(|name| name.into_owned().into()),
            actions: own(self.actions),
            relations: own(self.relations),
        }
    }

    /// What it covers.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope {
            database: (&*self.database_entry).into(),
            sql_database: self.database.as_deref().map(Into::into),
            actions: self.actions.iter().map(|action| (&**action).into()).collect(),
            relations: self.relations.iter().map(|relation| (&**relation).into()).collect(),
        }
    }
}
