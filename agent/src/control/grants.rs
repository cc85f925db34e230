//! Grants on the control socket: what is asked, and a grant as people and programs see it.

use std::borrow::Cow;

use access::{Case, Review};
use journal::hash::to_hex;
use model::access::{Grant, GrantState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use store::form::access::{HolderForm, ScopeForm};
use store::time::Timestamp;

/// What somebody wants to do about grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantVerb {
    /// Ask for one.
    Request,
    /// See all.
    List,
    /// See one.
    Show,
    /// Say yes.
    Approve,
    /// Say no.
    Deny,
    /// Take active access back.
    Revoke,
    /// Ask for what a grant covers once more.
    Renew,
    /// Take back what one has asked for.
    Withdraw,
    /// Say that a broken glass was looked at.
    Review,
}

impl GrantVerb {
    /// Every verb.
    pub const ALL: [Self; 9] = [
        Self::Request,
        Self::List,
        Self::Show,
        Self::Approve,
        Self::Deny,
        Self::Revoke,
        Self::Renew,
        Self::Withdraw,
        Self::Review,
    ];

    /// Its word on the socket.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Request => "grant-request",
            Self::List => "grant-list",
            Self::Show => "grant-show",
            Self::Approve => "grant-approve",
            Self::Deny => "grant-deny",
            Self::Revoke => "grant-revoke",
            Self::Renew => "grant-renew",
            Self::Withdraw => "grant-withdraw",
            Self::Review => "grant-review",
        }
    }
}

/// The particulars of a verb about grants. Without `Debug`: there may be a token in it.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GrantAsk {
    /// Who asks: a token of an issuer. Looking, and an operator's taking back, need none; one that comes is verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Which grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Name of the database in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_entry: Option<String>,
    /// SQL database; absent: each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Actions, and groups of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// `schema.name`, `schema.*`, `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<String>,
    /// For how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// What for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub purpose: String,
    /// Ticket of another system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// At once, and looked at afterwards.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// Why, of a decision.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Of a decision: what was seen ([`GrantView::digest`]). It is refused if that is not what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// List only those of which something may still become.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
}

/// A grant as people and programs see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrantView {
    /// Its number.
    pub grant: String,
    /// How it stands.
    pub state: String,
    /// SHA-256 of what was asked for, in hexadecimal digits: whoever decides can say with it what they have seen.
    pub digest: String,
    /// Whose it is.
    pub holder: HolderForm<'static>,
    /// What it covers.
    #[serde(flatten)]
    pub scope: ScopeForm<'static>,
    /// What for.
    pub purpose: String,
    /// Ticket of another system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// For how long from when it is active.
    pub seconds: u64,
    /// SHA-256 of the one statement that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub once: Option<String>,
    /// Nobody had to approve it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// The grant that it goes on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renews: Option<String>,
    /// The policy that lets it be asked for.
    pub rule: String,
    /// When it was asked for.
    pub requested: Timestamp,
    /// Who has approved it.
    pub approvals: Vec<ApprovalView>,
    /// How many must.
    pub approvals_needed: u8,
    /// When it is denied, if nobody decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decide_by: Option<Timestamp>,
    /// Others are asked, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// When it ends, or has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// `due`, `overdue`, `done`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<Cow<'static, str>>,
    /// The statement that waits for it; only where one grant is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<Value>,
}

/// Somebody's yes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApprovalView {
    /// Whose.
    pub by: HolderForm<'static>,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl From<&Case> for GrantView {
    fn from(case: &Case) -> Self {
        let grant = &*case.grant;
        Self {
            grant: grant.id.to_string(),
            state: case.state.word().to_owned(),
            digest: digest(grant),
            holder: HolderForm::from(&grant.holder).into_owned(),
            scope: ScopeForm::from(&grant.scope).into_owned(),
            purpose: grant.purpose.to_string(),
            ticket: grant.ticket.as_deref().map(str::to_owned),
            seconds: grant.duration / 1_000_000_000,
            once: grant.once.map(|digest| to_hex(&digest.0)),
            break_glass: grant.break_glass,
            renews: grant.renews.map(|id| id.to_string()),
            rule: grant.rule.to_string(),
            requested: Timestamp(grant.requested),
            approvals: case.approvals.iter().map(ApprovalView::from).collect(),
            approvals_needed: case.terms.approvals,
            decide_by: (case.state == GrantState::Requested).then_some(Timestamp(case.decide_by.wall)),
            escalated: case.is_escalated(),
            not_after: case.not_after.map(|end| Timestamp(case.ended.unwrap_or(end.wall))),
            review: match case.review {
                Review::NotNeeded => None,
                Review::Due(_) => Some("due".into()),
                Review::Overdue => Some("overdue".into()),
                Review::Done => Some("done".into()),
            },
            statement: None,
        }
    }
}

impl From<&access::Approval> for ApprovalView {
    fn from(approval: &access::Approval) -> Self {
        let by = HolderForm::from(&approval.by).into_owned();
        Self { by, reason: approval.reason.to_string(), at: Timestamp(approval.at) }
    }
}

/// Of everything that somebody who decides looks at, and that never changes. A statement is in it by its own digest.
pub(crate) fn digest(grant: &Grant) -> String {
    let Grant { id, holder, scope, purpose, ticket, duration, once, break_glass, renews, rule: _, requested: _ } =
        grant;
    let asked = (
        id.to_string(),
        HolderForm::from(holder),
        ScopeForm::from(scope),
        (purpose, ticket, duration),
        once.map(|digest| digest.0),
        (break_glass, renews.map(|id| id.to_string())),
    );
    let text = serde_json::to_vec(&asked).expect("forms have text keys, and memory does not fail");
    to_hex(&Sha256::digest(text))
}
