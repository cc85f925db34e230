//! The guarded databases: steering on and off, their sockets, listeners for workers, and what must be looked after.

mod equip;
mod passing;
mod refusal;
mod report;
mod rules;
mod server;
mod socket;
mod steer;

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use capture::witness::Witness;
use model::time::BootTime;
use steering::spec::Target;
use steering::steering::Steering;
use steering::takeover::{self, Taken};
use tracing::{info, warn};

use self::passing::Passing;
use self::refusal::Refusing;
use self::server::Server;
use super::access::Access;
use super::certificates::Certificates;
use super::hops::{Steward, Way};
use super::workers::Workers;
use crate::clock;
use crate::config::Config;
use crate::config::proxy::{Fail, Guard, Proxy};
use crate::link::{Guarding, ProxyEvent};
use crate::worker_link::GuardedDatabase;

/// Pause between attempts to steer what should be steered.
const RETRY_NANOS: u64 = 2_000_000_000;
/// One database with a proxy.
pub(super) struct Guarded {
    pub(super) database: GuardedDatabase,
    socket: Option<PathBuf>,
    /// TCP connections should be steered.
    steer: bool,
    /// The Unix socket should be taken over.
    take: bool,
    retry: BootTime,
    steering: Option<Steered>,
    taken: Option<Taken>,
    access: Option<Access>,
    told: Option<Guarding>,
    /// What was recorded last: steered, socket taken over.
    recorded: (bool, bool),
    /// Since when TCP connections are steered, also by an earlier agent.
    since: BootTime,
    /// Since when the Unix socket is taken over.
    socket_since: BootTime,
    /// The server has removed its Unix socket; it was not there yet at this time.
    socket_missed: Option<BootTime>,
    passing: Passing,
    /// Local processes that go past the proxy are refused, where the configuration wants it.
    refusing: Option<Refusing>,
    remarks: Vec<String>,
    /// What `pg_hba.conf` says about replication, where it is steered.
    replication: Option<String>,
    /// What clients are shown, where TLS ends at the proxy.
    certificates: Option<Certificates>,
}

/// Steering that is in place.
struct Steered {
    steering: Steering,
    server: Server,
    targets: Vec<Target>,
}

/// What the guards need of the rest of the kernel process.
pub(super) struct Surroundings<'a> {
    pub(super) witness: &'a mut Witness,
    pub(super) workers: &'a Workers,
    pub(super) steward: &'a Steward,
    pub(super) proxy: &'a Proxy,
}

impl Guarded {
    /// All databases of the configuration that have a proxy. Their ids are their places in it.
    pub(super) fn all(config: &Config) -> Vec<Self> {
        let guarded = |(id, database): (u16, &crate::config::Database)| {
            let guard = database.guard.clone()?;
            let (steer, take) = (guard.steer, guard.take_over_socket);
            let entry = GuardedDatabase { id, name: database.name.clone(), port: database.port, guard };
            Some(Self {
                steer,
                take,
                socket: database.socket.clone(),
                certificates: Certificates::of(&entry),
                refusing: Refusing::of(&entry.guard),
                database: entry,
                retry: BootTime(0),
                steering: None,
                taken: None,
                access: None,
                told: None,
                recorded: (false, false),
                since: BootTime(0),
                socket_since: BootTime(0),
                socket_missed: None,
                passing: Passing::default(),
                remarks: Vec::new(),
                replication: None,
            })
        };
        (0..).zip(&config.databases).filter_map(guarded).collect()
    }

    const fn guard(&self) -> &Guard {
        &self.database.guard
    }

    /// What an agent that was killed has left: steering that an operator had switched on goes on; a socket that is not to
    /// be taken over any more is given back.
    pub(super) fn inherit(&mut self, pins: &Path) {
        if !self.steer && Steering::open(pins, &self.database.name).is_ok() {
            info!(database = %self.database.name, "steering of an earlier agent is in place and goes on");
            self.steer = true;
        }
        let Some(socket) = self.socket.as_ref().filter(|_| !self.take) else { return };
        match takeover::recover(socket) {
            Ok(takeover::Restored::GivenBack) => {
                info!(database = %self.database.name, "the Unix socket that an earlier agent had is the server's again");
            }
            Ok(_) => {}
            Err(problem) => {
                warn!(database = %self.database.name, "the Unix socket may be an earlier agent's: {problem}")
            }
        }
    }

    /// An operator wants connections to go through the proxy.
    pub(super) fn switch_on(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        ensure!(!around.workers.ready().is_empty(), "no proxy worker is ready; see the agent's log");
        if self.database.port.is_some() {
            self.steer_now(around)?;
            self.steer = true;
        }
        if self.guard().take_over_socket {
            self.take_now(around)?;
            self.take = true;
        }
        if let Some(refusing) = &mut self.refusing {
            refusing.switch(true);
        }
        Ok(())
    }

    /// An operator wants connections to go to the server.
    pub(super) fn switch_off(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        (self.steer, self.take) = (false, false);
        if let Some(refusing) = &mut self.refusing {
            refusing.switch(false);
        }
        if let Some(steered) = self.steering.take() {
            steered.steering.remove().context("the steering could not be removed: run `warder unload`")?;
            info!(database = %self.database.name, "not steered any more");
        }
        if let Some(taken) = self.taken.take() {
            taken.give_back().context("the Unix socket could not be given back: run `warder unload`")?;
            info!(database = %self.database.name, "the Unix socket is the server's again");
        }
        self.remarks.clear();
        self.tell_way(around);
        Ok(())
    }

    /// The agent stops in order: the host is given back, unless that would open a closed door. What stays is the next
    /// agent's.
    pub(super) fn stop(&mut self) {
        self.refusing = None;
        let (taken, steering) = (self.taken.take(), self.steering.take());
        if self.guard().fail == Fail::Closed {
            return;
        }
        if let Some(taken) = taken
            && let Err(problem) = taken.give_back()
        {
            warn!(database = %self.database.name, "the Unix socket could not be given back: {problem}");
        }
        if let Some(steered) = steering
            && let Err(problem) = steered.steering.remove()
        {
            warn!(database = %self.database.name, "the steering could not be removed: {problem}");
        }
    }

    /// Looks after everything; a few times a second.
    pub(super) fn turn(&mut self, around: &mut Surroundings<'_>, events: &mut Vec<ProxyEvent>) {
        let now = clock::boot();
        if now >= self.retry && !around.workers.ready().is_empty() {
            self.catch_up(around, now, events);
        }
        self.watch_steering(now, events);
        self.watch_socket(around, events);
        self.note_changes(events);
        if self.access.as_ref().is_some_and(Access::has_changed) {
            self.reload_access(around);
        }
        if let Some(certificates) = &mut self.certificates {
            certificates.watch(around.workers);
        }
        self.look_after_refusal(around, clock::boot());
    }

    /// It is as it should be, or has said why not.
    pub(super) fn is_settled(&self) -> bool {
        let is_steered = !self.steer || self.steering.is_some();
        let is_taken = !self.take || self.taken.is_some();
        is_steered && is_taken || !self.remarks.is_empty()
    }

    /// What has changed since it was last recorded.
    fn note_changes(&mut self, events: &mut Vec<ProxyEvent>) {
        let now = (self.steering.is_some(), self.taken.is_some());
        let before = std::mem::replace(&mut self.recorded, now);
        let database = self.database.id;
        if now.0 != before.0 {
            events.push(ProxyEvent::Steered { database, is_on: now.0 });
        }
        if now.1 != before.1 {
            events.push(ProxyEvent::SocketTaken { database, is_taken: now.1 });
        }
    }

    /// Does what should be and is not yet.
    fn catch_up(&mut self, around: &mut Surroundings<'_>, now: BootTime, events: &mut Vec<ProxyEvent>) {
        if self.steer
            && self.is_stale(around.witness)
            && let Err(problem) = self.steer_now(around)
        {
            self.postpone(now, format!("not steered: {problem:#}"));
        }
        if self.take && self.taken.is_none() {
            self.take_again(around, now, events);
        }
    }

    /// There is no steering, or it is that of a server that has gone, or that listens elsewhere now.
    fn is_stale(&self, witness: &Witness) -> bool {
        let Some(steered) = &self.steering else { return true };
        let is_elsewhere = || self.targets(witness, &steered.server).is_ok_and(|targets| targets != steered.targets);
        !steered.server.is_alive() || is_elsewhere()
    }

    /// Takes a socket over, perhaps one that the server has made anew.
    fn take_again(&mut self, around: &mut Surroundings<'_>, now: BootTime, events: &mut Vec<ProxyEvent>) {
        let missed = self.socket_missed;
        if missed.is_some() && self.socket.as_ref().is_some_and(|path| !path.exists()) {
            // The server starts, or never will: to be seen as soon as it does.
            self.socket_missed = Some(now);
            return;
        }
        match self.take_now(around) {
            Ok(()) => {
                if let Some(missed) = missed {
                    let uncovered_nanos = clock::boot().nanos_since(missed);
                    events.push(ProxyEvent::SocketRetaken { database: self.database.id, uncovered_nanos });
                }
            }
            Err(problem) => self.postpone(now, format!("the Unix socket is not taken over: {problem:#}")),
        }
    }

    fn postpone(&mut self, now: BootTime, problem: String) {
        self.retry = BootTime(now.0.saturating_add(RETRY_NANOS));
        if !self.remarks.contains(&problem) {
            warn!(database = %self.database.name, "{problem}");
            self.remarks = vec![problem];
        }
    }

    fn server(&self, witness: &Witness) -> Option<Server> {
        Server::find(self.database.port, witness, self.database.id).ok()
    }

    /// Where hops lead from now on.
    fn tell_way(&self, around: &Surroundings<'_>) {
        let Some(server) = self.server(around.witness) else { return around.steward.set_way(self.database.id, None) };
        let exemptions = self.steering.as_ref().and_then(|steered| steered.steering.controls.exemptions().ok());
        let exemptions = exemptions.map(|exemptions| Arc::new(Mutex::new(exemptions)));
        self.set_way(around, &server, exemptions);
    }

    fn set_way(
        &self,
        around: &Surroundings<'_>,
        server: &Server,
        exemptions: Option<Arc<Mutex<steering::exemptions::Exemptions>>>,
    ) {
        let guard = self.guard();
        let inode = |namespace| steering::namespace::inode(namespace).ok();
        let is_elsewhere = inode(server.namespace.as_fd()) != steering::namespace::own().ok();
        let way = Way {
            is_elsewhere,
            port: self.database.port,
            upstream: guard.upstream,
            namespace: Arc::clone(&server.namespace),
            hop_address: guard.hop_address.clone(),
            exemptions,
            socket: self.taken.as_ref().map(Taken::server),
            content: guard.content,
            by_tcp: guard.steer || !guard.listen.is_empty(),
        };
        around.steward.set_way(self.database.id, Some(way));
    }
}
