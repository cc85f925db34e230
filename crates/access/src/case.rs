//! One grant with its story so far.

use std::sync::Arc;

use model::access::{AccessChange, AccessEvent, ChangedBy, Grant, GrantState, Holder};
use model::time::WallTime;

use crate::ask::Terms;
use crate::moment::{Deadline, Moment};
use crate::people::share_somebody;

/// One grant with its story so far. Whoever keeps cases over restarts keeps all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// As it was asked for.
    pub grant: Arc<Grant>,
    /// On which terms.
    pub terms: Terms,
    /// How it stands.
    pub state: GrantState,
    /// Who has approved it.
    pub approvals: Vec<Approval>,
    /// When a request that nobody decides about is denied.
    pub decide_by: Deadline,
    /// When others are asked, too; `None`: they are not, or are already.
    pub escalate_at: Option<Deadline>,
    /// When access ends; `None`: it has never begun.
    pub not_after: Option<Deadline>,
    /// Whether somebody looks at it afterwards.
    pub review: Review,
    /// When it was over; `None`: it is not.
    pub ended: Option<WallTime>,
}

/// Somebody's yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Whose.
    pub by: Holder,
    /// Why, in their words.
    pub reason: Arc<str>,
    /// When.
    pub at: WallTime,
}

/// Whether somebody looks at a broken glass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    /// Nobody must.
    NotNeeded,
    /// Somebody must, until then.
    Due(Deadline),
    /// Nobody has, in time. It is still to be done.
    Overdue,
    /// Somebody has.
    Done,
}

impl Case {
    /// A request, new.
    pub(crate) fn new(grant: Arc<Grant>, terms: Terms, now: Moment) -> Self {
        Self {
            decide_by: now.after(terms.decide_within),
            escalate_at: terms.escalate_after.map(|nanos| now.after(nanos)),
            review: terms.review_within.map_or(Review::NotNeeded, |nanos| Review::Due(now.after(nanos))),
            grant,
            terms,
            state: GrantState::Requested,
            approvals: Vec::new(),
            not_after: None,
            ended: None,
        }
    }

    /// Whether it permits now: whatever is on record, no longer than its time.
    #[must_use]
    pub fn is_active(&self, now: Moment) -> bool {
        self.state == GrantState::Active && self.not_after.is_some_and(|end| !end.is_over(now))
    }

    /// Whether somebody still has to look at it.
    #[must_use]
    pub const fn needs_review(&self) -> bool {
        matches!(self.review, Review::Due(_) | Review::Overdue)
    }

    /// Whether something may still become of it.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !self.state.is_over() || self.needs_review()
    }

    pub(crate) fn is_approved(&self) -> bool {
        self.approvals.len() >= usize::from(self.terms.approvals)
    }

    pub(crate) fn has_approval_of(&self, holder: &Holder) -> bool {
        self.approvals.iter().any(|approval| share_somebody(&approval.by, holder))
    }

    /// It permits from now on.
    pub(crate) fn activate(mut self, now: Moment) -> Self {
        self.state = GrantState::Active;
        self.escalate_at = None;
        self.not_after = Some(now.after(self.grant.duration));
        self
    }

    /// It is over.
    pub(crate) fn end(mut self, state: GrantState, now: Moment) -> Self {
        self.state = state;
        self.escalate_at = None;
        self.ended = Some(now.wall);
        if self.not_after.is_none() {
            // What has never permitted anything needs no look afterwards.
            self.review = Review::NotNeeded;
        }
        self
    }

    /// The same with deadlines that a clock which was set back does not move; `None`: there is nothing to move.
    pub(crate) fn anchored(&self, now: Moment) -> Option<Self> {
        let active = self.not_after.filter(|_| self.state == GrantState::Active).and_then(|end| end.anchored(now));
        let waiting = (self.state == GrantState::Requested).then_some(self.decide_by).and_then(|end| end.anchored(now));
        if active.is_none() && waiting.is_none() {
            return None;
        }
        let mut case = self.clone();
        case.not_after = active.or(case.not_after);
        case.decide_by = waiting.unwrap_or(case.decide_by);
        Some(case)
    }

    /// What time makes of it; `None`: nothing, yet.
    pub(crate) fn due(&self, now: Moment) -> Option<(Self, AccessChange)> {
        let over = |deadline: Deadline| deadline.is_over(now);
        match self.state {
            GrantState::Requested if over(self.decide_by) => {
                Some((self.clone().end(GrantState::Denied, now), AccessChange::Denied))
            }
            GrantState::Requested if self.escalate_at.is_some_and(over) => {
                Some((Self { escalate_at: None, ..self.clone() }, AccessChange::Escalated))
            }
            GrantState::Active if self.not_after.is_none_or(over) => {
                Some((self.clone().end(GrantState::Expired, now), AccessChange::Expired))
            }
            _ if matches!(self.review, Review::Due(end) if over(end)) => {
                Some((Self { review: Review::Overdue, ..self.clone() }, AccessChange::ReviewOverdue))
            }
            _ => None,
        }
    }

    /// Whether others are asked already.
    #[must_use]
    pub const fn is_escalated(&self) -> bool {
        self.terms.escalate_after.is_some() && self.escalate_at.is_none()
    }

    pub(crate) fn event(&self, change: AccessChange, by: ChangedBy, reason: Arc<str>) -> AccessEvent {
        let approvals = u8::try_from(self.approvals.len()).unwrap_or(u8::MAX);
        AccessEvent {
            grant: Arc::clone(&self.grant),
            change,
            state: self.state,
            by,
            reason,
            approvals: (approvals, self.terms.approvals),
            not_after: self.not_after.filter(|_| self.state == GrantState::Active).map(|end| end.wall),
        }
    }
}
