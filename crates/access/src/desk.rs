//! The desk: all grants, and what may become of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use model::access::{AccessChange, AccessEvent, ChangedBy, Grant, GrantId, GrantState, Holder, StatementDigest};
use model::principal::Actor;
use model::time::WallTime;

use crate::ask::{Ask, Terms, reason};
use crate::case::{Approval, Case, Review};
use crate::moment::{Deadline, Moment};
use crate::people::share_somebody;
use crate::refusal::Refusal;

/// How much the desk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that wait for a decision.
    pub waiting_max: usize,
    /// The same of one holder: so that one agent in a loop does not take all of them.
    pub waiting_of_one_max: usize,
    /// The same of one actor, whomever it acts for: an agent that many people use is many holders.
    pub waiting_of_actor_max: usize,
    /// Active grants.
    pub active_max: usize,
    /// The same of one holder: as many are looked through for each statement that is new.
    pub active_of_one_max: usize,
    /// Broken glasses of one actor that nobody has looked at yet: they are kept until somebody has.
    pub unreviewed_of_actor_max: usize,
    /// Grants that are over and still shown; the journal keeps the others.
    pub over_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting_max: 1024,
            waiting_of_one_max: 16,
            waiting_of_actor_max: 256,
            active_max: 16_384,
            active_of_one_max: 64,
            unreviewed_of_actor_max: 64,
            over_max: 4096,
        }
    }
}

/// All grants.
#[derive(Debug)]
pub struct Desk {
    limits: Limits,
    cases: BTreeMap<GrantId, Arc<Case>>,
    /// Those of which something may become by itself.
    live: BTreeSet<GrantId>,
    /// Requests and active grants, by whose they are.
    of: HashMap<Holder, BTreeSet<GrantId>>,
    /// Requests that wait, and active grants: how many.
    open: (usize, usize),
    /// Those that are over, oldest first.
    over: BTreeSet<(WallTime, GrantId)>,
}

/// What would become of a grant. It does not, until it is [committed](Self::commit).
#[derive(Debug)]
#[must_use]
pub struct Proposal<'a> {
    desk: &'a mut Desk,
    case: Case,
    events: Vec<AccessEvent>,
}

/// What a statement that is held is told.
#[derive(Debug)]
pub enum Held<'a> {
    /// It was approved before it came: committed, it may run, and the grant is used.
    Approved(Proposal<'a>),
    /// Committed, somebody is asked.
    Waits(Proposal<'a>),
}

impl Desk {
    /// One without grants.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            cases: BTreeMap::new(),
            live: BTreeSet::new(),
            of: HashMap::new(),
            open: (0, 0),
            over: BTreeSet::new(),
        }
    }

    /// The one that was kept. `seen` is when it was last known to live: if the time of day is behind that in another
    /// boot, nobody knows how much time has passed, and no access lives on.
    #[must_use]
    pub fn restore(limits: Limits, cases: impl IntoIterator<Item = Case>, seen: WallTime, now: Moment) -> Self {
        let mut desk = Self::new(limits);
        for case in cases {
            desk.put(awake(case, seen, now));
        }
        desk
    }

    /// Every grant, by its number.
    pub fn cases(&self) -> impl Iterator<Item = &Arc<Case>> {
        self.cases.values()
    }

    /// One grant.
    #[must_use]
    pub fn case(&self, id: GrantId) -> Option<&Arc<Case>> {
        self.cases.get(&id)
    }

    /// Requests that wait for a decision and active grants: how many of each.
    #[must_use]
    pub const fn open(&self) -> (usize, usize) {
        self.open
    }

    /// Those that prolong a grant and permit, or wait for a decision; also through others that are over by now.
    #[must_use]
    pub fn renewals(&self, id: GrantId) -> Vec<Arc<Case>> {
        let mut family = BTreeSet::from([id]);
        let mut left = vec![id];
        while let Some(renewed) = left.pop() {
            let renews = self.cases.values().filter(|case| case.grant.renews == Some(renewed));
            left.extend(renews.map(|case| case.grant.id).filter(|id| family.insert(*id)));
        }
        family.remove(&id);
        let renewals = family.iter().filter_map(|id| self.cases.get(id));
        renewals.filter(|case| !case.state.is_over()).cloned().collect()
    }

    /// What permits now, of one holder in one database. Grants for one statement are not among them: these are
    /// [consumed](Self::consume) one by one.
    pub fn active<'a>(
        &'a self,
        holder: &Holder,
        database: &'a str,
        now: Moment,
    ) -> impl Iterator<Item = &'a Arc<Case>> {
        let ids = self.of.get(holder).into_iter().flatten();
        ids.filter_map(|id| self.cases.get(id)).filter(move |case| {
            case.grant.once.is_none() && &*case.grant.scope.database == database && case.is_active(now)
        })
    }

    /// Whose grants permit something now: holders and databases, each once.
    #[must_use]
    pub fn holders(&self, now: Moment) -> BTreeMap<Arc<str>, Vec<Holder>> {
        let mut holders: BTreeMap<Arc<str>, Vec<Holder>> = BTreeMap::new();
        for (holder, ids) in &self.of {
            let active = ids.iter().filter_map(|id| self.cases.get(id)).filter(|case| case.is_active(now));
            let databases: BTreeSet<_> = active.map(|case| Arc::clone(&case.grant.scope.database)).collect();
            for database in databases {
                holders.entry(database).or_default().push(holder.clone());
            }
        }
        holders
    }

    /// Somebody asks, with this random number.
    ///
    /// # Errors
    /// What is asked for is not well formed, longer than the terms allow, too much; the number is taken; or what it is
    /// to renew is not active, or somebody else's.
    pub fn request(&mut self, now: Moment, id: GrantId, ask: Ask, terms: Terms) -> Result<Proposal<'_>, Refusal> {
        self.may_ask(now, id, &ask, &terms)?;
        let by = ChangedBy::Holder(ask.holder.clone());
        let case = Case::new(Arc::new(grant(id, ask, &terms, now)), terms, now);
        let asked = case.event(AccessChange::Requested, by, Arc::default());
        Ok(self.propose(case, vec![asked], now))
    }

    /// A statement is held back: a request for it alone, unless it was approved before.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn hold(&mut self, now: Moment, id: GrantId, ask: Ask, terms: Terms) -> Result<Held<'_>, Refusal> {
        let approved = ask.once.and_then(|digest| self.approved(now, &ask, digest));
        match approved {
            Some(id) => self.consume(now, id).map(Held::Approved),
            None => self.request(now, id, ask, terms).map(Held::Waits),
        }
    }

    /// The active grant for exactly this statement.
    fn approved(&self, now: Moment, ask: &Ask, digest: StatementDigest) -> Option<GrantId> {
        let mine = self.of.get(&ask.holder)?.iter().filter_map(|id| self.cases.get(id));
        // Approved was what it does there: with another search path the same text is another statement.
        let mut fits = mine.filter(|case| case.grant.once == Some(digest) && case.grant.scope == ask.scope);
        fits.find(|case| case.is_active(now)).map(|case| case.grant.id)
    }

    /// The one statement of a grant is let through.
    ///
    /// # Errors
    /// It is not active, or not for one statement.
    pub fn consume(&mut self, now: Moment, id: GrantId) -> Result<Proposal<'_>, Refusal> {
        let case = self.standing(now, id, GrantState::Active, "used")?;
        if case.grant.once.is_none() {
            return Err(Refusal::State { id, state: case.state, wanted: "for one statement", verb: "used" });
        }
        let by = ChangedBy::Holder(case.grant.holder.clone());
        Ok(self.over(case, GrantState::Used, AccessChange::Used, by, Arc::default(), now))
    }

    /// Somebody approves; that they may, by the policies, is checked.
    ///
    /// # Errors
    /// It waits for no decision; or the approver, or somebody behind them, has asked for it or approved it already.
    pub fn approve(&mut self, now: Moment, id: GrantId, by: Holder, why: &str) -> Result<Proposal<'_>, Refusal> {
        let mut case = self.standing(now, id, GrantState::Requested, "approved")?;
        let why = reason(why)?;
        if share_somebody(&case.grant.holder, &by) {
            return Err(Refusal::OwnRequest);
        }
        if case.has_approval_of(&by) {
            return Err(Refusal::ApprovedAlready);
        }
        case.approvals.push(Approval { by: by.clone(), reason: Arc::clone(&why), at: now.wall });
        let approved = case.event(AccessChange::Approved, ChangedBy::Holder(by), why);
        Ok(self.propose(case, vec![approved], now))
    }

    /// Somebody denies a request; that they may is checked.
    ///
    /// # Errors
    /// It waits for no decision.
    pub fn deny(&mut self, now: Moment, id: GrantId, by: ChangedBy, why: &str) -> Result<Proposal<'_>, Refusal> {
        let case = self.standing(now, id, GrantState::Requested, "denied")?;
        Ok(self.over(case, GrantState::Denied, AccessChange::Denied, by, reason(why)?, now))
    }

    /// Somebody takes active access back; that they may is checked.
    ///
    /// # Errors
    /// It is not active.
    pub fn revoke(&mut self, now: Moment, id: GrantId, by: ChangedBy, why: &str) -> Result<Proposal<'_>, Refusal> {
        let case = self.standing(now, id, GrantState::Active, "revoked")?;
        Ok(self.over(case, GrantState::Revoked, AccessChange::Revoked, by, reason(why)?, now))
    }

    /// Nobody wants it any more: its holder says so, or the client that waited has gone.
    ///
    /// # Errors
    /// It waits for no decision, or it is somebody else's.
    pub fn withdraw(&mut self, now: Moment, id: GrantId, by: ChangedBy, why: &str) -> Result<Proposal<'_>, Refusal> {
        let case = self.standing(now, id, GrantState::Requested, "withdrawn")?;
        if matches!(&by, ChangedBy::Holder(holder) if !case.grant.holder.answers_to(holder)) {
            return Err(Refusal::NotHolder(id));
        }
        Ok(self.over(case, GrantState::Withdrawn, AccessChange::Withdrawn, by, reason(why)?, now))
    }

    /// Somebody has looked at what a broken glass was for; that they may is checked.
    ///
    /// # Errors
    /// It needs no review; or the reviewer, or somebody behind them, has broken the glass.
    pub fn review(&mut self, now: Moment, id: GrantId, by: Holder, why: &str) -> Result<Proposal<'_>, Refusal> {
        let mut case = self.get(id)?;
        let why = reason(why)?;
        if !case.needs_review() {
            return Err(Refusal::NoReview(id));
        }
        if share_somebody(&case.grant.holder, &by) {
            return Err(Refusal::OwnRequest);
        }
        case.review = Review::Done;
        let reviewed = case.event(AccessChange::Reviewed, ChangedBy::Holder(by), why);
        Ok(self.propose(case, vec![reviewed], now))
    }

    /// What time makes of the grants, one after the other; `None`: nothing more, now.
    pub fn next_due(&mut self, now: Moment) -> Option<Proposal<'_>> {
        let live = || self.live.iter().filter_map(|id| self.cases.get(id));
        if let Some(case) = live().find_map(|case| case.anchored(now)) {
            // Nothing becomes of it, so there is nothing to tell: it is only kept.
            return Some(Proposal { desk: self, case, events: Vec::new() });
        }
        let (case, change) = live().find_map(|case| case.due(now))?;
        let why = match change {
            AccessChange::Denied => "nobody decided in time",
            AccessChange::Escalated => "nobody decided yet",
            _ => "",
        };
        let event = case.event(change, ChangedBy::Clock, why.into());
        Some(Proposal { desk: self, case, events: vec![event] })
    }

    fn may_ask(&self, now: Moment, id: GrantId, ask: &Ask, terms: &Terms) -> Result<(), Refusal> {
        ask.check()?;
        if self.cases.contains_key(&id) {
            return Err(Refusal::Taken(id));
        }
        if ask.duration > terms.duration_max {
            let rule = terms.rule.to_string();
            return Err(Refusal::TooLong { asked: ask.duration, max: terms.duration_max, rule });
        }
        if let Some(id) = ask.renews {
            let renewed = self.get(id)?;
            if renewed.grant.holder != ask.holder {
                return Err(Refusal::NotHolder(id));
            }
            if !renewed.is_active(now) {
                return Err(Refusal::State { id, state: renewed.state, wanted: "active", verb: "renewed" });
            }
        }
        let ((waiting, active), (of_one, active_of_one)) = (self.open(), self.open_of(&ask.holder));
        let of_actor = self.waiting_of(&ask.holder.actor);
        let unreviewed = if terms.review_within.is_some() { self.unreviewed_of(&ask.holder.actor) } else { 0 };
        let Limits { waiting_max, waiting_of_one_max, waiting_of_actor_max, active_max, active_of_one_max, .. } =
            self.limits;
        match () {
            () if unreviewed >= self.limits.unreviewed_of_actor_max => Err(Refusal::TooManyUnreviewed(unreviewed)),
            () if of_one >= waiting_of_one_max => Err(Refusal::TooManyWaiting(of_one)),
            () if of_actor >= waiting_of_actor_max => Err(Refusal::TooManyWaiting(of_actor)),
            () if waiting >= waiting_max => Err(Refusal::TooManyWaiting(waiting)),
            () if active_of_one >= active_of_one_max => Err(Refusal::TooManyActive(active_of_one)),
            () if active >= active_max => Err(Refusal::TooManyActive(active)),
            () => Ok(()),
        }
    }

    fn open_of(&self, holder: &Holder) -> (usize, usize) {
        let ids = || self.of.get(holder).into_iter().flatten();
        (self.states(ids(), GrantState::Requested), self.states(ids(), GrantState::Active))
    }

    fn waiting_of(&self, actor: &Actor) -> usize {
        let theirs = self.of.iter().filter(|(holder, _)| holder.actor == *actor).flat_map(|(_, ids)| ids);
        self.states(theirs, GrantState::Requested)
    }

    fn unreviewed_of(&self, actor: &Actor) -> usize {
        let live = self.live.iter().filter_map(|id| self.cases.get(id));
        live.filter(|case| case.needs_review() && case.grant.holder.actor == *actor).count()
    }

    fn states<'a>(&self, ids: impl Iterator<Item = &'a GrantId>, state: GrantState) -> usize {
        ids.filter(|id| self.cases.get(id).is_some_and(|case| case.state == state)).count()
    }

    fn get(&self, id: GrantId) -> Result<Case, Refusal> {
        self.cases.get(&id).map(|case| Case::clone(case)).ok_or(Refusal::Unknown(id))
    }

    /// The grant, if it stands like this, also by the clock.
    fn standing(&self, now: Moment, id: GrantId, wanted: GrantState, verb: &'static str) -> Result<Case, Refusal> {
        let case = self.get(id)?;
        let state = match case.due(now) {
            Some((due, AccessChange::Denied | AccessChange::Expired)) => due.state,
            _ => case.state,
        };
        if state == wanted { Ok(case) } else { Err(Refusal::State { id, state, wanted: wanted.word(), verb }) }
    }

    /// A request that has what it needs becomes active in the same step.
    fn propose(&mut self, case: Case, mut events: Vec<AccessEvent>, now: Moment) -> Proposal<'_> {
        let case = if case.state == GrantState::Requested && case.is_approved() {
            let case = case.activate(now);
            events.push(case.event(AccessChange::Activated, ChangedBy::Policy, Arc::default()));
            case
        } else {
            case
        };
        Proposal { desk: self, case, events }
    }

    fn over(
        &mut self,
        case: Case,
        state: GrantState,
        change: AccessChange,
        by: ChangedBy,
        why: Arc<str>,
        now: Moment,
    ) -> Proposal<'_> {
        let case = case.end(state, now);
        let events = vec![case.event(change, by, why)];
        Proposal { desk: self, case, events }
    }

    fn put(&mut self, case: Case) -> Arc<Case> {
        let id = case.grant.id;
        let is_over = case.state.is_over();
        let before = self.cases.get(&id).map(|case| case.state);
        let count = |wanted, open: &mut usize| {
            *open += usize::from(case.state == wanted);
            *open -= usize::from(before == Some(wanted));
        };
        count(GrantState::Requested, &mut self.open.0);
        count(GrantState::Active, &mut self.open.1);
        if is_over && !case.needs_review() {
            self.live.remove(&id);
        } else {
            self.live.insert(id);
        }
        if is_over {
            self.over.insert((case.ended.unwrap_or_default(), id));
            if let Some(ids) = self.of.get_mut(&case.grant.holder) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.of.remove(&case.grant.holder);
                }
            }
        } else {
            self.of.entry(case.grant.holder.clone()).or_default().insert(id);
        }
        let case = Arc::new(case);
        self.cases.insert(id, Arc::clone(&case));
        self.forget();
        case
    }

    /// Forgets the oldest of those that are over, where they are too many; not those that somebody has to look at.
    fn forget(&mut self) {
        while self.over.len() > self.limits.over_max {
            let oldest = self.over.iter().find(|(_, id)| !self.live.contains(id)).copied();
            let Some(oldest) = oldest else { return };
            self.over.remove(&oldest);
            self.cases.remove(&oldest.1);
        }
    }
}

impl Proposal<'_> {
    /// The grant as it would be.
    #[must_use]
    pub const fn case(&self) -> &Case {
        &self.case
    }

    /// What would be written down.
    #[must_use]
    pub fn events(&self) -> &[AccessEvent] {
        &self.events
    }

    /// Whether it takes access away: then it should take effect even where it cannot be written down.
    #[must_use]
    pub fn takes_away(&self) -> bool {
        let takes = |change| {
            matches!(
                change,
                AccessChange::Denied | AccessChange::Expired | AccessChange::Revoked | AccessChange::Withdrawn
            )
        };
        self.events.iter().all(|event| takes(event.change))
    }

    /// Has it written down; then, and only then, it takes effect.
    ///
    /// # Errors
    /// It could not be written down: everything is as before.
    pub fn commit<E>(self, write: impl FnOnce(&Case, &[AccessEvent]) -> Result<(), E>) -> Result<Arc<Case>, E> {
        write(&self.case, &self.events)?;
        Ok(self.desk.put(self.case))
    }
}

fn grant(id: GrantId, ask: Ask, terms: &Terms, now: Moment) -> Grant {
    let Ask { holder, scope, purpose, ticket, duration, once, break_glass, renews } = ask;
    let rule = Arc::clone(&terms.rule);
    Grant { id, holder, scope, purpose, ticket, duration, once, break_glass, renews, rule, requested: now.wall }
}

/// A case after the desk was away. Its deadlines count by the clock of this boot from now on.
fn awake(mut case: Case, seen: WallTime, now: Moment) -> Case {
    let is_doubtful = |deadline: Deadline| deadline.boot_id != now.boot_id && now.wall < seen;
    let wake = |deadline: Deadline| {
        if is_doubtful(deadline) { now.after(0) } else { deadline.in_this_boot(now) }
    };
    if !case.state.is_over() {
        case.decide_by = wake(case.decide_by);
        case.escalate_at = case.escalate_at.map(wake);
        case.not_after = case.not_after.map(wake);
    }
    if let Review::Due(end) = case.review {
        case.review = Review::Due(wake(end));
    }
    case
}
