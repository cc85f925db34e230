//! Requests for one statement that waits in its session.

use std::rc::Rc;
use std::sync::Arc;

use access::{Ask, Case, Held, Terms};
use model::access::{AccessEvent, ChangedBy, GrantId, GrantState};
use model::principal::Principal;

use super::rules::Wish;
use super::{Desk, NotWritten};
use crate::clock;
use crate::core_process::holds::HeldView;

/// Different people who must approve where no policy says how many.
const APPROVALS: u8 = 1;
const NOT_WRITTEN: &str = "it needs an approval, and that it was asked for cannot be written down";

/// What the desk says to a statement that waits.
pub(in super::super) enum Asked {
    /// It was approved before it came, and that is used up now.
    Approved(GrantId),
    /// Somebody is asked.
    Waits(GrantId),
}

impl Desk {
    /// Asks for one statement, whose policy is `rule`, for so many nanoseconds. `Ok`: that is on record.
    ///
    /// How many must approve, and when others are asked, is what the policies say about asking for one statement.
    pub(in super::super) fn hold(
        &self,
        principal: &Principal,
        rule: &str,
        wait: u64,
        ask: Ask,
        view: Rc<HeldView>,
    ) -> Result<Asked, String> {
        let wish = Wish {
            scope: &ask.scope,
            duration: ask.duration,
            purpose: &ask.purpose,
            ticket: None,
            once: true,
            break_glass: false,
            renewal: false,
        };
        // Whoever may not ask for access may still wait: what waits is allowed.
        let said = self.with_rules(&ask.scope.database, |rules| rules.terms(principal, &wish, clock::wall())).ok();
        let terms = Terms {
            rule: rule.into(),
            approvals: said.as_ref().map_or(APPROVALS, |said| said.approvals.max(APPROVALS)),
            duration_max: ask.duration,
            decide_within: wait,
            escalate_after: said.and_then(|said| said.escalate_after),
            review_within: None,
        };
        let id = Self::draw()?;
        let now = self.now();
        let (case, waits) = {
            let mut desk = self.desk.borrow_mut();
            let (proposal, waits) = match desk.hold(now, id, ask, terms).map_err(|refusal| refusal.to_string())? {
                Held::Approved(proposal) => (proposal, false),
                Held::Waits(proposal) => (proposal, true),
            };
            (self.commit(proposal).map_err(|NotWritten| NOT_WRITTEN.to_owned())?, waits)
        };
        self.tell(&case);
        if !waits {
            return Ok(Asked::Approved(case.grant.id));
        }
        self.statements.borrow_mut().insert(id, view);
        Ok(Asked::Waits(id))
    }

    /// The one statement of a grant is let through now. `Ok`: that is on record.
    pub(in super::super) fn consume(&self, id: GrantId) -> Result<(), String> {
        let now = self.now();
        let mut desk = self.desk.borrow_mut();
        let proposal = desk.consume(now, id).map_err(|refusal| refusal.to_string())?;
        self.commit(proposal).map(drop).map_err(|NotWritten| "it cannot be written down".to_owned())
    }

    /// Nobody wants it any more. One that was decided about meanwhile stays as it is.
    pub(in super::super) fn withdraw_statement(&self, id: GrantId, why: &str) {
        let now = self.now();
        let mut desk = self.desk.borrow_mut();
        let Some(holder) = desk.case(id).map(|case| case.grant.holder.clone()) else { return };
        if let Ok(proposal) = desk.withdraw(now, id, ChangedBy::Holder(holder), why) {
            // What takes access away takes effect in any case.
            let _case = self.commit(proposal);
        }
    }

    /// What waited when the last core ended does not wait any more: its sessions were refused.
    pub(in super::super) fn withdraw_all_statements(&self) {
        let waits = |case: &&Arc<Case>| case.grant.once.is_some() && case.state == GrantState::Requested;
        let waiting: Vec<_> = self.desk.borrow().cases().filter(waits).map(|case| case.grant.id).collect();
        waiting.into_iter().for_each(|id| self.withdraw_statement(id, "the agent was started again"));
    }

    /// The next change of a request for one statement; all of them, in their order.
    pub(in super::super) async fn next_change(&self) -> AccessEvent {
        loop {
            let next = self.changes.borrow_mut().pop_front();
            if let Some(event) = next {
                return event;
            }
            self.changed.notified().await;
        }
    }

    /// Something became of a grant, and is on record: whoever holds its statement hears of it.
    pub(super) fn note_changes(&self, events: &[AccessEvent]) {
        let of_statements = events.iter().filter(|event| event.grant.once.is_some());
        self.changes.borrow_mut().extend(of_statements.cloned());
        self.changed.notify_one();
        let over = events.iter().filter(|event| event.state.is_over());
        over.for_each(|event| drop(self.statements.borrow_mut().remove(&event.grant.id)));
    }
}
