//! Random stories against a naive account of them: whatever is asked, decided, crashes, restarts, and however clocks jump,
//! nobody has access that was not approved by enough others, is on record, and has time left by a clock that nobody sets.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use access::moment::SLACK;
use access::{Case, Desk, Limits, Moment, Proposal, Refusal, Terms};
use common::ask;
use model::access::{AccessChange, AccessEvent, ChangedBy, GrantId, GrantState, Holder};
use model::id::BootId;
use model::principal::{Actor, PrincipalKind};
use model::time::{BootTime, WallTime};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const BEGIN: u64 = 1_000_000 * SECOND;
const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];

#[derive(Clone, Debug)]
enum Step {
    /// Person, for whom an agent asks instead, approvals, seconds.
    Request(usize, bool, u8, u64),
    /// Which grant, who.
    Approve(usize, usize),
    Deny(usize),
    Revoke(usize),
    Withdraw(usize),
    /// Seconds go by.
    Wait(u64),
    /// Somebody sets the time of day.
    Jump(i64),
    Turn,
    /// The next change is written down, and then the process dies.
    CrashAfterRecord,
    /// It cannot be written down.
    DiskFull,
    Restart,
    /// Seconds without power.
    Reboot(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (grant, person) = (0..12_usize, 0..PEOPLE.len());
    prop_oneof![
        4 => (person.clone(), any::<bool>(), 0..3_u8, 1..100_u64).prop_map(|(a, b, c, d)| Step::Request(a, b, c, d)),
        6 => (grant.clone(), person).prop_map(|(grant, who)| Step::Approve(grant, who)),
        1 => grant.clone().prop_map(Step::Deny),
        1 => grant.clone().prop_map(Step::Revoke),
        1 => grant.prop_map(Step::Withdraw),
        4 => (1..60_u64).prop_map(Step::Wait),
        2 => (-200..200_i64).prop_map(Step::Jump),
        2 => Just(Step::Turn),
        1 => Just(Step::CrashAfterRecord),
        1 => Just(Step::DiskFull),
        1 => Just(Step::Restart),
        1 => (0..60_u64).prop_map(Step::Reboot),
    ]
}

fn person(name: &str) -> Actor {
    Actor { kind: PrincipalKind::Person, id: name.into(), issuer: "https://issuer.example.com".into() }
}

fn holder(who: usize, by_agent: bool) -> Holder {
    let person = person(PEOPLE[who]);
    if !by_agent {
        return Holder { actor: person, acting_for: Vec::new() };
    }
    let agent = Actor { kind: PrincipalKind::Agent, id: "helper".into(), issuer: person.issuer.clone() };
    Holder { actor: agent, acting_for: vec![person] }
}

fn terms(approvals: u8) -> Terms {
    Terms {
        rule: "ask".into(),
        approvals,
        duration_max: 3600 * SECOND,
        decide_within: 50 * SECOND,
        escalate_after: Some(20 * SECOND),
        review_within: None,
    }
}

/// What really happened to one grant, by a clock that nobody sets.
struct Account {
    asker: usize,
    seconds: u64,
    needed: u8,
    approvers: BTreeSet<usize>,
    since: Option<u64>,
    over: bool,
}

struct World {
    desk: Desk,
    /// What the file has.
    file: BTreeMap<GrantId, Case>,
    journal: Vec<AccessEvent>,
    accounts: BTreeMap<GrantId, Account>,
    ids: Vec<GrantId>,
    /// Nanoseconds that really have gone by.
    real: u64,
    offset: i64,
    booted: u64,
    boot: u128,
    reboots: u64,
    jumped: bool,
    seen: WallTime,
    crash: bool,
    full: bool,
}

impl World {
    fn new() -> Self {
        Self {
            desk: Desk::new(Limits::default()),
            file: BTreeMap::new(),
            journal: Vec::new(),
            accounts: BTreeMap::new(),
            ids: Vec::new(),
            real: BEGIN,
            offset: 0,
            booted: BEGIN,
            boot: 1,
            reboots: 0,
            jumped: false,
            seen: WallTime(0),
            crash: false,
            full: false,
        }
    }

    fn now(&self) -> Moment {
        Moment {
            wall: WallTime(self.real.saturating_add_signed(self.offset)),
            boot: BootTime(self.real - self.booted),
            boot_id: BootId(self.boot),
        }
    }

    /// Commits as the core does. Whether it took effect.
    fn change(&mut self, propose: impl FnOnce(&mut Desk, Moment) -> Result<Proposal<'_>, Refusal>) -> Option<Case> {
        let now = self.now();
        let (crash, full) = (std::mem::take(&mut self.crash), std::mem::take(&mut self.full));
        let Self { desk, file, journal, .. } = self;
        let Ok(proposal) = propose(desk, now) else { return None };
        let takes_away = proposal.takes_away();
        let done = proposal.commit(|case, events| {
            if full && !takes_away {
                return Err(());
            }
            journal.extend(events.iter().cloned());
            if crash {
                return Err(());
            }
            file.insert(case.grant.id, case.clone());
            Ok(())
        });
        let done = done.ok().map(|case| Case::clone(&case));
        if crash {
            self.restart();
        }
        done
    }

    fn turn(&mut self) {
        let now = self.now();
        while let Some(proposal) = self.desk.next_due(now) {
            let Self { file, journal, .. } = self;
            let done = proposal.commit(|case, events| {
                journal.extend(events.iter().cloned());
                file.insert(case.grant.id, case.clone());
                Ok::<(), ()>(())
            });
            assert!(done.is_ok());
        }
        self.seen = now.wall;
    }

    fn restart(&mut self) {
        self.desk = Desk::restore(Limits::default(), self.file.values().cloned(), self.seen, self.now());
        // As the core does: what was awoken is kept.
        self.file = self.desk.cases().map(|case| (case.grant.id, Case::clone(case))).collect();
        self.turn();
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Request(who, by_agent, needed, seconds) => {
                let id = GrantId::new(self.ids.len() as u64 + 1);
                self.ids.push(id);
                let asked = ask(holder(who, by_agent), seconds * SECOND);
                let case = self.change(|desk, now| desk.request(now, id, asked, terms(needed)));
                let since = case.is_some_and(|case| case.state == GrantState::Active).then_some(self.real);
                let approvers = BTreeSet::new();
                let account = Account { asker: who, seconds, needed, approvers, since, over: false };
                self.accounts.insert(id, account);
            }
            Step::Approve(which, who) => {
                let Some(id) = self.ids.get(which).copied() else { return };
                let case = self.change(|desk, now| desk.approve(now, id, holder(who, false), ""));
                let real = self.real;
                if let (Some(case), Some(account)) = (case, self.accounts.get_mut(&id)) {
                    assert!(account.approvers.insert(who), "one person has approved twice");
                    if case.state == GrantState::Active {
                        account.since = Some(real);
                    }
                }
            }
            Step::Deny(which) => self.end(which, |desk, now, id, by| desk.deny(now, id, by, "")),
            Step::Revoke(which) => self.end(which, |desk, now, id, by| desk.revoke(now, id, by, "")),
            Step::Withdraw(which) => self.end(which, |desk, now, id, _| desk.withdraw(now, id, ChangedBy::Clock, "")),
            Step::Wait(seconds) => self.real += seconds * SECOND,
            Step::Jump(seconds) => {
                self.offset += seconds * SECOND as i64;
                self.jumped = true;
                // The core looks several times a second.
                self.turn();
            }
            Step::Turn => self.turn(),
            Step::CrashAfterRecord => self.crash = true,
            Step::DiskFull => self.full = true,
            Step::Restart => self.restart(),
            Step::Reboot(off) => {
                self.seen = self.now().wall;
                self.real += off * SECOND;
                (self.booted, self.boot) = (self.real, self.boot + 1);
                self.reboots += 1;
                self.restart();
            }
        }
    }

    fn end(
        &mut self,
        which: usize,
        propose: impl FnOnce(&mut Desk, Moment, GrantId, ChangedBy) -> Result<Proposal<'_>, Refusal>,
    ) {
        let Some(id) = self.ids.get(which).copied() else { return };
        let done = self.change(|desk, now| propose(desk, now, id, ChangedBy::Operator { uid: 0 }));
        if let (Some(_), Some(account)) = (done, self.accounts.get_mut(&id)) {
            account.over = true;
        }
    }

    fn active(&self) -> BTreeSet<GrantId> {
        let everybody = (0..PEOPLE.len()).flat_map(|who| [holder(who, false), holder(who, true)]);
        let now = self.now();
        let active = everybody.flat_map(|holder| {
            let cases = self.desk.active(&holder, "shop", now);
            cases.map(|case| (case.grant.id, case.grant.holder == holder)).collect::<Vec<_>>()
        });
        active.inspect(|(_, own)| assert!(own, "somebody else's")).map(|(id, _)| id).collect()
    }

    fn check(&self) {
        let active = self.active();
        for (id, account) in &self.accounts {
            let elapsed = account.since.map(|since| self.real - since);
            let may = elapsed.is_some_and(|elapsed| elapsed < account.seconds * SECOND) && !account.over;
            if active.contains(id) {
                let slack = SLACK * self.reboots;
                let elapsed = elapsed.expect("active without ever having been activated");
                assert!(!account.over, "{id} is over and permits");
                assert!(elapsed < account.seconds * SECOND + slack, "{id} permits after {elapsed} ns");
                assert!(account.approvers.len() >= account.needed.into(), "{id} was not approved");
                assert!(!account.approvers.contains(&account.asker), "{id} was approved by whoever asked");
                assert!(self.recorded(*id, AccessChange::Activated), "{id} is active and not on record");
            } else if !self.jumped {
                assert!(!may, "{id} should permit");
            }
        }
        for case in self.desk.cases() {
            assert_eq!(self.file.get(&case.grant.id), Some(&**case), "what is in effect is what is kept");
            assert_eq!(self.last_state(case.grant.id), Some(case.state), "what is in effect is on record");
        }
    }

    fn recorded(&self, id: GrantId, change: AccessChange) -> bool {
        self.journal.iter().any(|event| event.grant.id == id && event.change == change)
    }

    /// What the journal says of a grant, but for a change that a crash has undone.
    fn last_state(&self, id: GrantId) -> Option<GrantState> {
        let case = self.file.get(&id)?;
        self.journal.iter().any(|event| event.grant.id == id && event.state == case.state).then_some(case.state)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn nobody_ever_has_access_without_an_active_grant(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.play(step);
            world.check();
        }
    }
}
