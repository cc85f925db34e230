//! The proxy as the kernel process has it: workers, the steward, guarded databases.

use std::os::fd::BorrowedFd;

use anyhow::{Result, ensure};
use capture::witness::Witness;
use tracing::warn;

use super::guards::{Guarded, Surroundings};
use super::hops::Steward;
use super::logins::ServiceLogin;
use super::own_logins::OwnLogins;
use super::policies::Policies;
use super::workers::Workers;
use crate::clock;
use crate::config::Config;
use crate::config::proxy::Proxy;
use crate::control::SteerVerb;
use crate::link::{Link, ProxyEvent, Purpose, SteeringState, ToCore};
use crate::privileges::Identity;

/// How often everything is looked after.
pub(super) const PERIOD_NANOS: u64 = 200_000_000;
/// How often the core is told how steering is.
const STATE_PERIOD_NANOS: u64 = 2_000_000_000;
/// After a look that came so late, this process was suspended itself: workers, who wait for its pulse, get time.
const LATE_NANOS: u64 = 1_000_000_000;
/// How much.
const PARDON_NANOS: u64 = 3_000_000_000;
/// A worker that was just started has no heartbeat yet.
const YOUNG_NANOS: u64 = 10_000_000_000;

/// Everything that a proxy needs.
pub(super) struct ProxyHost {
    proxy: Proxy,
    workers: Workers,
    steward: Steward,
    guards: Vec<Guarded>,
    policies: Vec<Policies>,
    logins: Vec<ServiceLogin>,
    own_logins: OwnLogins,
    next_turn: u64,
    next_state: u64,
    /// Workers that seem to hang are left alone until then.
    pardon: u64,
}

impl ProxyHost {
    /// `None`: no database has a proxy.
    pub(super) fn start(config: &Config, core: Identity, witness: &Witness) -> Result<Option<Self>> {
        let mut guards = Guarded::all(config);
        if guards.is_empty() {
            return Ok(None);
        }
        guards.iter_mut().for_each(|guard| guard.inherit(&config.proxy.pin_directory));
        let load = |guard: &Guarded| Policies::load(guard.database.id, &guard.database.guard.policies).transpose();
        let policies = guards.iter().filter_map(load).collect::<Result<_>>()?;
        let load = |guard: &Guarded| ServiceLogin::load(&guard.database).transpose();
        let logins = guards.iter().filter_map(load).collect::<Result<_>>()?;
        let databases = guards.iter().map(|guard| guard.database.clone()).collect();
        let workers = Workers::new(config, databases)?;
        ensure!(
            workers.account().user != core.user,
            "[proxy] user and [agent] user are the same account: a worker that was taken over could rewrite the journal"
        );
        ensure!(
            workers.account().group != core.group,
            "the group of [proxy] user is [agent] group: a worker that was taken over could read the journal"
        );
        let steward = Steward::start(witness.marks())?;
        let proxy = config.proxy.clone();
        let own_logins = OwnLogins::new(config, core);
        Ok(Some(Self {
            proxy,
            workers,
            steward,
            guards,
            policies,
            logins,
            own_logins,
            next_turn: 0,
            next_state: 0,
            pardon: 0,
        }))
    }

    /// Descriptors that wake the loop.
    pub(super) fn links(&self) -> Vec<BorrowedFd<'_>> {
        self.workers.links().collect()
    }

    /// When to come back.
    pub(super) fn due(&self) -> u64 {
        self.workers.next_due().map_or(self.next_turn, |due| due.0.min(self.next_turn))
    }

    /// A core starts: it gets the rings and everything it should know.
    pub(super) fn introduce(&mut self, link: &Link) -> Result<()> {
        self.policies.iter_mut().for_each(Policies::forget_told);
        // Before the workers: they are told who has been granted what when they come.
        self.tell_policies(link)?;
        for ring in self.workers.rings() {
            link.send(&ToCore::WorkerRing, &[], &ring)?;
        }
        for line in self.workers.lines() {
            link.send(&ToCore::WorkerLine, &[], &[line])?;
        }
        self.guards.iter_mut().for_each(Guarded::forget_told);
        self.next_state = 0;
        self.tell(link)
    }

    /// Everything that the configuration wants is there, or has said why it is not.
    pub(super) fn is_settled(&self) -> bool {
        self.workers.are_ready() && self.guards.iter().all(Guarded::is_settled)
    }

    /// The core wants a connection of its own.
    pub(super) fn open_own(&self, request: u64, database: u16, purpose: Purpose, link: &Link) -> Result<()> {
        self.own_logins.open(&self.steward, request, (database, purpose), link)
    }

    /// Looks after workers and databases, and tells the core.
    pub(super) fn turn(&mut self, witness: &mut Witness, link: &Link) -> Result<()> {
        let mut news = self.workers.turn(&self.steward);
        for number in std::mem::take(&mut news.ready) {
            if let Some(line) = self.workers.line(number) {
                link.send(&ToCore::WorkerLine, &[], &[line])?;
            }
            self.equip(witness, number);
        }
        let now = clock::boot();
        if now.0 >= self.next_turn || !news.ended.is_empty() {
            if self.next_turn != 0 && now.0 > self.next_turn + LATE_NANOS {
                self.pardon = now.0 + PARDON_NANOS;
            }
            self.next_turn = now.0 + PERIOD_NANOS;
            self.look_after(witness, &mut news.events);
        }
        for event in news.events {
            link.send(&ToCore::Mediation(event), &[], &[])?;
        }
        self.tell(link)
    }

    fn look_after(&mut self, witness: &mut Witness, events: &mut Vec<ProxyEvent>) {
        self.policies.iter_mut().for_each(|policies| policies.turn(&self.workers, events));
        self.logins.iter_mut().for_each(|login| login.turn(&self.workers));
        let is_abandoned = self.workers.ready().is_empty();
        let (guards, mut around) = self.split(witness);
        for guard in guards {
            guard.turn(&mut around, events);
            if is_abandoned {
                guard.abandoned(&mut around);
            }
        }
        let now = clock::boot();
        if now.0 < self.pardon {
            return;
        }
        for number in self.guards.iter().flat_map(Guarded::hanging).collect::<Vec<_>>() {
            if self.workers.age(number, now).is_some_and(|age| age > YOUNG_NANOS) {
                self.workers.kill(number);
            }
        }
    }

    fn equip(&mut self, witness: &mut Witness, number: u32) {
        // Before the first listener: no session opens without them.
        self.policies.iter().for_each(|policies| policies.tell(&self.workers, number));
        self.logins.iter().for_each(|login| login.tell(&self.workers, number));
        let (guards, mut around) = self.split(witness);
        for guard in guards {
            if let Err(problem) = guard.equip(&mut around, number) {
                warn!(database = %guard.database.name, worker = number, "a worker lacks something: {problem:#}");
            }
        }
    }

    fn split<'a>(&'a mut self, witness: &'a mut Witness) -> (&'a mut Vec<Guarded>, Surroundings<'a>) {
        let Self { guards, workers, steward, proxy, .. } = self;
        (guards, Surroundings { witness, workers, steward, proxy })
    }

    fn tell(&mut self, link: &Link) -> Result<()> {
        for (database, guard) in self.guards.iter_mut().filter_map(Guarded::news) {
            link.send(&ToCore::Guarded { database, guard }, &[], &[])?;
        }
        self.tell_policies(link)?;
        let now = clock::boot().0;
        if now >= self.next_state {
            self.next_state = now + STATE_PERIOD_NANOS;
            link.send(&ToCore::Steering(self.states(None)), &[], &[])?;
        }
        Ok(())
    }

    fn tell_policies(&mut self, link: &Link) -> Result<()> {
        self.policies.iter_mut().try_for_each(|policies| policies.tell_core(&self.guards, link))
    }

    fn states(&self, database: Option<&str>) -> Vec<SteeringState> {
        self.guards.iter().filter(|guard| is_meant(guard, database)).map(Guarded::state).collect()
    }

    /// What an operator wants.
    pub(super) fn steer(
        &mut self,
        witness: &mut Witness,
        verb: SteerVerb,
        database: Option<&str>,
    ) -> Result<Vec<SteeringState>, String> {
        if !self.guards.iter().any(|guard| is_meant(guard, database)) {
            return Err("no such database has a [database.proxy] in the agent's configuration".to_owned());
        }
        let (guards, mut around) = self.split(witness);
        for guard in guards.iter_mut().filter(|guard| is_meant(guard, database)) {
            let outcome = match verb {
                SteerVerb::On => guard.switch_on(&mut around),
                SteerVerb::Off => guard.switch_off(&mut around),
                SteerVerb::Status => Ok(()),
            };
            outcome.map_err(|problem| format!("{}: {problem:#}", guard.database.name))?;
        }
        self.next_state = 0;
        Ok(self.states(database))
    }

    /// The agent stops: sessions may go on for a while, sockets are given back.
    pub(super) fn stop(&mut self) {
        self.guards.iter_mut().for_each(Guarded::stop);
        self.workers.drain();
    }
}

fn is_meant(guard: &Guarded, database: Option<&str>) -> bool {
    database.is_none_or(|name| name == guard.database.name)
}
