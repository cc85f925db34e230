//! A grant with its story, as it is kept over restarts. Times are nanoseconds here: nothing is rounded.

use std::sync::Arc;

use access::{Approval, Case, Deadline, Review, Terms};
use model::access::{Grant, GrantId, GrantState, StatementDigest};
use model::id::BootId;
use model::time::{BootTime, WallTime};
use serde::{Deserialize, Serialize};
use store::form::access::{HolderForm, ScopeForm};

/// A grant with its story.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    grant: u64,
    state: String,
    holder: HolderForm<'static>,
    scope: ScopeForm<'static>,
    purpose: String,
    ticket: Option<String>,
    duration: u64,
    once: Option<[u8; 32]>,
    break_glass: bool,
    renews: Option<u64>,
    requested: u64,
    terms: KeptTerms,
    approvals: Vec<KeptApproval>,
    decide_by: KeptDeadline,
    escalate_at: Option<KeptDeadline>,
    not_after: Option<KeptDeadline>,
    review: KeptReview,
    ended: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct KeptTerms {
    rule: String,
    approvals: u8,
    duration_max: u64,
    decide_within: u64,
    escalate_after: Option<u64>,
    review_within: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct KeptApproval {
    by: HolderForm<'static>,
    reason: String,
    at: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct KeptDeadline {
    wall: u64,
    boot: u64,
    boot_id: u128,
}

#[derive(Serialize, Deserialize)]
enum KeptReview {
    NotNeeded,
    Due(KeptDeadline),
    Overdue,
    Done,
}

impl From<&Case> for Kept {
    fn from(case: &Case) -> Self {
        let grant = &*case.grant;
        Self {
            grant: grant.id.number(),
            state: case.state.word().to_owned(),
            holder: HolderForm::from(&grant.holder).into_owned(),
            scope: ScopeForm::from(&grant.scope).into_owned(),
            purpose: grant.purpose.to_string(),
            ticket: grant.ticket.as_deref().map(str::to_owned),
            duration: grant.duration,
            once: grant.once.map(|digest| digest.0),
            break_glass: grant.break_glass,
            renews: grant.renews.map(GrantId::number),
            requested: grant.requested.0,
            terms: KeptTerms::from(&case.terms),
            approvals: case.approvals.iter().map(KeptApproval::from).collect(),
            decide_by: case.decide_by.into(),
            escalate_at: case.escalate_at.map(Into::into),
            not_after: case.not_after.map(Into::into),
            review: match case.review {
                Review::NotNeeded => KeptReview::NotNeeded,
                Review::Due(deadline) => KeptReview::Due(deadline.into()),
                Review::Overdue => KeptReview::Overdue,
                Review::Done => KeptReview::Done,
            },
            ended: case.ended.map(|time| time.0),
        }
    }
}

impl Kept {
    /// `None`: it has words that this version does not know.
    pub(super) fn case(self) -> Option<Case> {
        let terms = Terms::from(self.terms);
        let grant = Grant {
            id: GrantId::new(self.grant),
            holder: self.holder.holder()?,
            scope: self.scope.scope(),
            purpose: self.purpose.into(),
            ticket: self.ticket.map(Arc::from),
            duration: self.duration,
            once: self.once.map(StatementDigest),
            break_glass: self.break_glass,
            renews: self.renews.map(GrantId::new),
            rule: Arc::clone(&terms.rule),
            requested: WallTime(self.requested),
        };
        Some(Case {
            grant: Arc::new(grant),
            terms,
            state: GrantState::ALL.iter().copied().find(|state| state.word() == self.state)?,
            approvals: self.approvals.into_iter().map(KeptApproval::approval).collect::<Option<_>>()?,
            decide_by: self.decide_by.into(),
            escalate_at: self.escalate_at.map(Into::into),
            not_after: self.not_after.map(Into::into),
            review: match self.review {
                KeptReview::NotNeeded => Review::NotNeeded,
                KeptReview::Due(deadline) => Review::Due(deadline.into()),
                KeptReview::Overdue => Review::Overdue,
                KeptReview::Done => Review::Done,
            },
            ended: self.ended.map(WallTime),
        })
    }
}

impl From<&Terms> for KeptTerms {
    fn from(terms: &Terms) -> Self {
        let Terms { rule, approvals, duration_max, decide_within, escalate_after, review_within } = terms;
        Self {
            rule: rule.to_string(),
            approvals: *approvals,
            duration_max: *duration_max,
            decide_within: *decide_within,
            escalate_after: *escalate_after,
            review_within: *review_within,
        }
    }
}

impl From<KeptTerms> for Terms {
    fn from(kept: KeptTerms) -> Self {
        let KeptTerms { rule, approvals, duration_max, decide_within, escalate_after, review_within } = kept;
        Self { rule: rule.into(), approvals, duration_max, decide_within, escalate_after, review_within }
    }
}

impl From<&Approval> for KeptApproval {
    fn from(approval: &Approval) -> Self {
        let by = HolderForm::from(&approval.by).into_owned();
        Self { by, reason: approval.reason.to_string(), at: approval.at.0 }
    }
}

impl KeptApproval {
    fn approval(self) -> Option<Approval> {
        Some(Approval { by: self.by.holder()?, reason: self.reason.into(), at: WallTime(self.at) })
    }
}

impl From<Deadline> for KeptDeadline {
    fn from(deadline: Deadline) -> Self {
        Self { wall: deadline.wall.0, boot: deadline.boot.0, boot_id: deadline.boot_id.0 }
    }
}

impl From<KeptDeadline> for Deadline {
    fn from(kept: KeptDeadline) -> Self {
        Self { wall: WallTime(kept.wall), boot: BootTime(kept.boot), boot_id: BootId(kept.boot_id) }
    }
}
