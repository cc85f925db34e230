//! What the policies of a database say about asking and deciding.

use std::sync::Arc;

use access::{Case, Terms};
use model::access::{GrantState, Holder, Scope};
use model::principal::Principal;
use model::time::WallTime;
use model::verdict::{Denial, Mode};
use policy::{GrantQuestion, PolicySet, UtcOffset, Wants};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;

/// Different people who must approve where no policy says how many.
const APPROVALS: u8 = 1;
/// Longest duration where no policy says one.
const DURATION_MAX: u64 = 8 * HOUR;
/// How long a request waits where no policy says it.
const DECIDE_WITHIN: u64 = HOUR;
/// How soon a broken glass is looked at where no policy says it.
const REVIEW_WITHIN: u64 = 24 * HOUR;

/// The policies of one database, and where it is.
pub(super) struct Rules {
    pub(super) name: Arc<str>,
    pub(super) environment: Arc<str>,
    pub(super) utc_offset: UtcOffset,
    pub(super) mode: Mode,
    pub(super) set: PolicySet,
}

/// What is asked for, as far as policies look at it.
pub(super) struct Wish<'a> {
    pub(super) scope: &'a Scope,
    pub(super) duration: u64,
    pub(super) purpose: &'a str,
    pub(super) ticket: Option<&'a str>,
    pub(super) once: bool,
    pub(super) break_glass: bool,
    pub(super) renewal: bool,
}

impl Rules {
    /// On which terms somebody may have it.
    pub(super) fn terms(&self, principal: &Principal, wish: &Wish<'_>, now: WallTime) -> Result<Terms, Denial> {
        let wants = if wish.break_glass { Wants::BreakGlass } else { Wants::Request };
        let found = self.set.decide_grant(&self.question(principal, wants, wish, now))?;
        let said = found.terms;
        Ok(Terms {
            rule: found.rules.first().cloned().unwrap_or_default(),
            approvals: if wish.break_glass { 0 } else { said.approvals.unwrap_or(APPROVALS) },
            duration_max: said.max_duration.unwrap_or(DURATION_MAX),
            decide_within: said.decide_within.unwrap_or(DECIDE_WITHIN),
            escalate_after: said.escalate_after,
            review_within: wish.break_glass.then(|| said.review_within.unwrap_or(REVIEW_WITHIN)),
        })
    }

    /// Whether somebody may decide about it.
    pub(super) fn may_decide(&self, principal: &Principal, case: &Case, now: WallTime) -> Result<(), Denial> {
        let grant = &*case.grant;
        let requester: &Holder = &grant.holder;
        let escalated = case.state == GrantState::Requested && case.is_escalated();
        let wants = Wants::Approve { requester, break_glass: grant.break_glass, escalated };
        let wish = Wish {
            scope: &grant.scope,
            duration: grant.duration,
            purpose: &grant.purpose,
            ticket: grant.ticket.as_deref(),
            once: grant.once.is_some(),
            break_glass: grant.break_glass,
            renewal: grant.renews.is_some(),
        };
        self.set.decide_grant(&self.question(principal, wants, &wish, now)).map(drop)
    }

    fn question<'a>(
        &'a self,
        principal: &'a Principal,
        wants: Wants<'a>,
        wish: &Wish<'a>,
        now: WallTime,
    ) -> GrantQuestion<'a> {
        let Wish { scope, duration, purpose, ticket, once, renewal, .. } = *wish;
        let (environment, utc_offset) = (&*self.environment, self.utc_offset);
        GrantQuestion {
            principal,
            wants,
            scope,
            duration,
            purpose,
            ticket,
            once,
            renewal,
            environment,
            now,
            utc_offset,
        }
    }
}
