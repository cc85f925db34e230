//! The guarded databases: steering on and off, their sockets, listeners for workers, and what must be looked after.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use capture::witness::Witness;
use model::id::DatabaseId;
use model::time::BootTime;
use steering::listener::{Family, listen, listen_plain};
use steering::prepared::Prepared;
use steering::spec::{FailMode, Prefix, Slot, Spec, Target};
use steering::steering::Steering;
use steering::takeover::{self, State, Taken};
use tracing::{info, warn};

use super::access::{self, Access, Postmaster};
use super::certificates::Certificates;
use super::hops::{Steward, Way};
use super::survey;
use super::workers::{Workers, hand_over};
use crate::clock;
use crate::config::Config;
use crate::config::proxy::{Fail, Guard, Proxy};
use crate::link::{Guarding, ProxyEvent, SteeringCounts, SteeringState};
use crate::worker_link::{self, AccessTexts, GuardedDatabase, ListenerKind, ToWorker};

/// A listener whose heartbeat is older takes no connections: the kernel asks for one every 200 ms.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(1);
/// A worker whose heartbeat is older is killed: its clients wait in a queue that nobody serves.
const HANGING: Duration = Duration::from_secs(5);
/// How long the first listeners may take until they beat.
const FIRST_BEAT: Duration = Duration::from_secs(3);
/// Pause between attempts to steer what should be steered.
const RETRY_NANOS: u64 = 2_000_000_000;
/// Spans of an open door that are remembered: the core has told of older ones.
const OPEN_SPANS_MAX: usize = 32;
/// A connection that the kernel let pass is accepted by the server within this time.
const ACCEPT_NANOS: u64 = 200_000_000;

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
    remarks: Vec<String>,
    /// What `pg_hba.conf` says about replication, where it is steered.
    replication: Option<String>,
    /// What clients are shown, where TLS ends at the proxy.
    certificates: Option<Certificates>,
}

/// When the fail mode let connections pass.
#[derive(Debug, Default)]
struct Passing {
    /// Begin, and end where it is over.
    spans: Vec<(BootTime, Option<BootTime>)>,
    /// Connections that had passed at the last look, and when that was.
    passed: u64,
    looked: BootTime,
}

/// What an earlier agent left in place.
struct Earlier {
    since: BootTime,
    /// Since when nobody served: connections passed.
    open_since: Option<BootTime>,
}

impl Passing {
    /// Nothing of the steering that is in place now has been seen yet.
    fn restart(&mut self, now: BootTime) {
        (self.passed, self.looked) = (0, now);
    }

    fn add(&mut self, from: BootTime, to: Option<BootTime>) {
        if self.spans.len() == OPEN_SPANS_MAX {
            self.spans.remove(0);
        }
        self.spans.push((from, to));
    }

    /// `is_passing`: connections pass at this moment. Between two looks the counter tells.
    fn look(&mut self, now: BootTime, is_passing: bool, passed: u64) {
        let has_passed = passed > std::mem::replace(&mut self.passed, passed);
        let before = std::mem::replace(&mut self.looked, now);
        let end = (!is_passing).then_some(BootTime(now.0.saturating_add(ACCEPT_NANOS)));
        match self.spans.last_mut() {
            Some((_, to)) if to.is_none() => *to = end,
            _ if is_passing || has_passed => self.add(before, end),
            _ => {}
        }
    }
}

/// Steering that is in place.
struct Steered {
    steering: Steering,
    server: Server,
    targets: Vec<Target>,
}

/// A server that runs, and where.
struct Server {
    /// `None`: what listens there is no PostgreSQL server (a pooler).
    postmaster: Option<Postmaster>,
    namespace: Arc<OwnedFd>,
}

/// What the guards need of the rest of the kernel process.
pub(super) struct Surroundings<'a> {
    pub(super) witness: &'a mut Witness,
    pub(super) workers: &'a Workers,
    pub(super) steward: &'a Steward,
    pub(super) proxy: &'a Proxy,
}

impl Server {
    fn find(port: Option<u16>, witness: &Witness, database: u16) -> Result<Self> {
        let port = port.context("the database has no port in the configuration")?;
        let namespaces = witness.listeners_of(database);
        let namespace = namespaces.iter().find(|listener| listener.port == port).map(|found| found.network_namespace);
        let postmaster = Postmaster::find(port, namespace.map(u64::from)).ok();
        let namespace = match (&postmaster, namespace) {
            (Some(postmaster), _) => File::open(format!("/proc/{}/ns/net", postmaster.pid)).ok(),
            (None, Some(inode)) => access::network_namespace(u64::from(inode)),
            (None, None) => File::open("/proc/self/ns/net").ok(),
        };
        let namespace = namespace.context("the server's network namespace cannot be opened")?;
        Ok(Self { postmaster, namespace: Arc::new(namespace.into()) })
    }

    /// Whether what was found still runs, as far as that can be said.
    fn is_alive(&self) -> bool {
        self.postmaster.as_ref().is_none_or(Postmaster::is_alive)
    }

    /// The access rules that hold for it.
    fn access(&self, file: Option<&Path>) -> Result<Access> {
        match (&self.postmaster, file) {
            (Some(postmaster), file) => postmaster.access(file),
            (None, Some(file)) => Access::of_file(file),
            (None, None) => {
                bail!("no postmaster with this port was found: is the server running? set access_file otherwise")
            }
        }
    }
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
        Ok(())
    }

    /// An operator wants connections to go to the server.
    pub(super) fn switch_off(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        (self.steer, self.take) = (false, false);
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

    fn steer_now(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        let server = Server::find(self.database.port, around.witness, self.database.id)?;
        let targets = self.targets(around.witness, &server)?;
        if let Some(steered) = &self.steering
            && steered.server.is_alive()
            && steered.targets == targets
        {
            return Ok(());
        }
        self.check_access(around.witness, &server)?;
        let earlier = self.steering.is_none().then(|| self.earlier(around.proxy)).flatten();
        let mut prepared = Prepared::new(&around.proxy.pin_directory, &self.spec(around.proxy, targets.clone())?)?;
        let heartbeats = prepared.controls.heartbeats().context("the heartbeats cannot be shared")?;
        for number in around.workers.ready() {
            self.tell_worker(around, number)?;
            let message = ToWorker::Heartbeats { database: self.database.id };
            around.workers.tell(number, &message, &[], &[heartbeats.as_fd()]);
        }
        let exemptions = prepared.controls.exemptions().context("the exemptions cannot be shared")?;
        self.set_way(around, &server, Some(Arc::new(Mutex::new(exemptions))));
        for number in around.workers.ready() {
            self.listeners(around, &server, number, &mut prepared.controls)?;
        }
        wait_for_beat(&prepared.controls)?;
        let steering = prepared.attach(server.namespace.as_fd())?;
        info!(database = %self.database.name, "TCP connections are steered to the proxy");
        for number in around.workers.ready() {
            around.workers.tell(number, &ToWorker::Replaced { database: self.database.id }, &[], &[]);
        }
        let now = clock::boot();
        if self.steering.is_none() {
            self.since = earlier.as_ref().map_or(now, |earlier| earlier.since);
        }
        if let Some(open_since) = earlier.and_then(|earlier| earlier.open_since) {
            self.passing.add(open_since, Some(now));
        }
        self.passing.restart(now);
        self.steering = Some(Steered { steering, server, targets });
        self.remarks.clear();
        Ok(())
    }

    /// What an earlier agent left in place, which has been in its fail mode since then.
    fn earlier(&self, proxy: &Proxy) -> Option<Earlier> {
        let earlier = Steering::open(&proxy.pin_directory, &self.database.name).ok()?;
        let status = earlier.status().ok().filter(|status| status.attached && status.on)?;
        let made = earlier.made().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        let made = u64::try_from(made.as_nanos()).ok()?.saturating_sub(clock::offset().nanos);
        let since = BootTime(made.min(clock::boot().0));
        let silent = status.listeners.iter().filter_map(|listener| listener.heartbeat).min();
        let silent = silent.and_then(|silent| u64::try_from(silent.as_nanos()).ok());
        let last = silent.map_or(since, |silent| BootTime(clock::boot().0.saturating_sub(silent)));
        Some(Earlier { since, open_since: (status.fail_mode == FailMode::Open).then_some(last) })
    }

    /// What is steered: the addresses that the server listens on.
    fn targets(&self, witness: &Witness, server: &Server) -> Result<Vec<Target>> {
        let addresses = self.addresses(witness, server);
        ensure!(!addresses.is_empty(), "the server's listeners have not been seen yet");
        Ok(addresses.into_iter().map(Target::Address).collect())
    }

    fn addresses(&self, witness: &Witness, server: &Server) -> Vec<SocketAddr> {
        let namespace = steering::namespace::inode(server.namespace.as_fd()).ok();
        let mut addresses: Vec<SocketAddr> = witness
            .listeners_of(self.database.id)
            .into_iter()
            .filter(|listener| Some(u64::from(listener.network_namespace)) == namespace)
            .filter(|listener| Some(listener.port) == self.database.port)
            .map(|listener| SocketAddr::new(std::net::Ipv6Addr::from(listener.address).to_canonical(), listener.port))
            .collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }

    fn spec(&self, proxy: &Proxy, targets: Vec<Target>) -> Result<Spec> {
        let prefix = |rule: &crate::config::proxy::Direct| {
            Prefix::new(rule.source.0, rule.source.1).context("an allowed source is no network")
        };
        Ok(Spec {
            name: self.database.name.clone(),
            database: DatabaseId(self.database.id),
            targets,
            direct: self.guard().direct.iter().map(prefix).collect::<Result<_>>()?,
            fail_mode: match self.guard().fail {
                Fail::Open => FailMode::Open,
                Fail::Closed => FailMode::Closed,
            },
            heartbeat_limit: HEARTBEAT_LIMIT,
            slots: proxy.workers,
        })
    }

    /// Reads the server's rules and refuses what would be decided otherwise through a hop.
    fn check_access(&mut self, witness: &Witness, server: &Server) -> Result<()> {
        let access = server.access(self.guard().access_file.as_deref())?;
        let survey = self.survey(witness, server, &access)?;
        if let Some(differences) = survey::differences(&survey) {
            bail!("pg_hba.conf would decide otherwise about the proxy's hop than about its clients: {differences}");
        }
        self.replication = survey::replication(&survey);
        self.access = Some(access);
        Ok(())
    }

    /// What the rules would do to clients through a hop.
    fn survey(&self, witness: &Witness, server: &Server, access: &Access) -> Result<hba::survey::Survey> {
        let listening = self.addresses(witness, server).into_iter().map(|address| address.ip());
        let interfaces = access::interfaces(server.namespace.as_fd())?;
        Ok(survey::survey(access, self.guard(), listening, &interfaces))
    }

    fn reload_access(&mut self, around: &Surroundings<'_>) {
        let Some(server) = self.server(around.witness) else { return };
        match self.check_access(around.witness, &server) {
            Ok(()) => info!(database = %self.database.name, "the access rules have changed and were read again"),
            Err(problem) => {
                warn!(database = %self.database.name, "the access rules have changed: {problem:#}");
                self.remarks = vec![format!("the access rules have changed: {problem:#}")];
                // The gate of each connection knows the new rules; where they cannot be read it closes.
                self.access = server.access(self.guard().access_file.as_deref()).ok();
            }
        }
        for number in around.workers.ready() {
            if let Err(problem) = self.tell_access(around, &server, number) {
                warn!(database = %self.database.name, "a worker could not be told the access rules: {problem:#}");
            }
        }
    }

    fn server(&self, witness: &Witness) -> Option<Server> {
        Server::find(self.database.port, witness, self.database.id).ok()
    }

    /// A worker is ready: it gets what the others have.
    pub(super) fn equip(&mut self, around: &mut Surroundings<'_>, number: u32) -> Result<()> {
        self.tell_worker(around, number)?;
        for address in self.guard().listen.clone() {
            self.listen_plain(around, number, address)?;
        }
        if let Some(mut steered) = self.steering.take() {
            let heartbeats = steered.steering.controls.heartbeats().context("the heartbeats cannot be shared")?;
            let message = ToWorker::Heartbeats { database: self.database.id };
            around.workers.tell(number, &message, &[], &[heartbeats.as_fd()]);
            let outcome = self.listeners(around, &steered.server, number, &mut steered.steering.controls);
            self.steering = Some(steered);
            outcome?;
        }
        if let Some(taken) = &mut self.taken {
            let listener = taken.renew().context("the listener on the Unix socket cannot be renewed")?;
            self.share_socket(around, listener)?;
        }
        self.tell_way(around);
        Ok(())
    }

    /// Rules and certificates, before the first listener.
    fn tell_worker(&mut self, around: &Surroundings<'_>, number: u32) -> Result<()> {
        if let Some(certificates) = &mut self.certificates {
            certificates.tell(around.workers, number)?;
        }
        if let Some(server) = self.server(around.witness) {
            if self.access.is_none() {
                self.access = server.access(self.guard().access_file.as_deref()).ok();
            }
            return self.tell_access(around, &server, number);
        }
        around.workers.tell(number, &ToWorker::NoAccess { database: self.database.id }, &[], &[]);
        Ok(())
    }

    fn tell_access(&self, around: &Surroundings<'_>, server: &Server, number: u32) -> Result<()> {
        let Some(access) = &self.access else {
            around.workers.tell(number, &ToWorker::NoAccess { database: self.database.id }, &[], &[]);
            return Ok(());
        };
        let interfaces = access::interfaces(server.namespace.as_fd())?;
        let is_surveyed = self.survey(around.witness, server, access)?.is_safe();
        let texts = AccessTexts { major: access.major, files: access.files.clone(), interfaces, is_surveyed };
        let memory = worker_link::in_memory(&serde_json::to_vec(&texts)?)?;
        around.workers.tell(number, &ToWorker::Access { database: self.database.id }, &[], &[memory.as_fd()]);
        Ok(())
    }

    /// A worker's listeners for steered connections.
    fn listeners(
        &self,
        around: &mut Surroundings<'_>,
        server: &Server,
        number: u32,
        controls: &mut steering::controls::Controls,
    ) -> Result<()> {
        for family in [Family::V4, Family::V6] {
            let made = listen(server.namespace.as_fd(), family).context("no listener for the proxy could be made")?;
            let Some(listening) = made else { continue };
            around.witness.mark_front(listening.socket.as_fd(), self.database.id)?;
            controls.set_listener(Slot { number, family }, listening.socket.as_fd())?;
            let slot = worker_link::Slot { number, is_v6: family == Family::V6 };
            let message = self.listen_message(ListenerKind::Steered, Some(slot));
            hand_over(around.workers, number, &message, listening.socket);
        }
        Ok(())
    }

    fn listen_plain(&self, around: &mut Surroundings<'_>, number: u32, address: SocketAddr) -> Result<()> {
        let namespace = File::open("/proc/self/ns/net").context("the network namespace cannot be opened")?;
        let listening = listen_plain(namespace.as_fd(), address)
            .with_context(|| format!("the proxy cannot listen on {address}: is the address taken?"))?;
        around.witness.mark_front(listening.socket.as_fd(), self.database.id)?;
        let message = self.listen_message(ListenerKind::Plain, None);
        hand_over(around.workers, number, &message, listening.socket);
        Ok(())
    }

    const fn listen_message(&self, kind: ListenerKind, slot: Option<worker_link::Slot>) -> ToWorker {
        ToWorker::Listen { database: self.database.id, kind, slot }
    }

    fn take_now(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        let path = self.socket.clone().context("the database has no socket in the configuration")?;
        let (taken, listener) = takeover::take(&path)?;
        self.taken = Some(taken);
        self.tell_way(around);
        let shared = self.share_socket(around, listener);
        if let Err(problem) = shared {
            // Better the server's own socket than one that nobody serves.
            if let Some(taken) = self.taken.take() {
                taken.give_back()?;
            }
            return Err(problem);
        }
        info!(database = %self.database.name, socket = %path.display(), "the Unix socket is taken over");
        if self.socket_missed.take().is_none() {
            self.socket_since = clock::boot();
        }
        Ok(())
    }

    /// One socket for all workers: whoever is free accepts.
    fn share_socket(&self, around: &mut Surroundings<'_>, listener: OwnedFd) -> Result<()> {
        around.witness.mark_front_unix(listener.as_fd(), self.database.id)?;
        for number in around.workers.ready() {
            let message = self.listen_message(ListenerKind::UnixSocket, None);
            around.workers.tell(number, &message, &[], &[listener.as_fd()]);
        }
        Ok(())
    }

    fn watch_steering(&mut self, now: BootTime, events: &mut Vec<ProxyEvent>) {
        let Some(steered) = &self.steering else { return };
        let Ok(status) = steered.steering.status() else { return };
        if !status.attached {
            let why = "somebody has removed it, or the database's network namespace is gone".to_owned();
            warn!(database = %self.database.name, "the kernel does not steer any more: {why}");
            self.remarks = vec![format!("not steered: {why}; `warder steer on` steers again")];
            events.push(ProxyEvent::SteeringLost { database: self.database.id, why });
            (self.steering, self.steer) = (None, false);
            return;
        }
        let is_live = status.listeners.iter().any(|listener| listener.live);
        let is_open = status.fail_mode == FailMode::Open;
        self.passing.look(now, !is_live && is_open, status.counters.passed_open);
    }

    /// Workers whose heartbeat is too old.
    pub(super) fn hanging(&self) -> Vec<u32> {
        let Some(steered) = &self.steering else { return Vec::new() };
        let Ok(listeners) = steered.steering.controls.listeners() else { return Vec::new() };
        let hangs = |age: Option<Duration>| age.is_some_and(|age| age > HANGING);
        listeners.iter().filter(|one| one.socket.is_some() && hangs(one.heartbeat)).map(|one| one.slot.number).collect()
    }

    fn watch_socket(&mut self, around: &mut Surroundings<'_>, events: &mut Vec<ProxyEvent>) {
        let Some(taken) = &self.taken else { return };
        match taken.check() {
            Ok(State::Standing | State::ServerGone) | Err(_) => {}
            Ok(State::Stopped) => {
                (self.taken, self.socket_missed) = (None, Some(clock::boot()));
                self.tell_way(around);
            }
            Ok(State::Replaced) => {
                let now = clock::boot();
                (self.taken, self.socket_missed) = (None, Some(now));
                self.take_again(around, now, events);
            }
            Ok(State::GivenBack) => {
                let why = "somebody has given the Unix socket back to the server".to_owned();
                warn!(database = %self.database.name, "the Unix socket is not taken over any more: {why}");
                self.remarks
                    .push(format!("the Unix socket is not taken over: {why}; `warder steer on` takes it again"));
                events.push(ProxyEvent::SteeringLost { database: self.database.id, why });
                (self.taken, self.take) = (None, false);
                self.tell_way(around);
            }
        }
    }

    /// No worker is left to serve the taken-over socket: the server gets it back, unless that would open a closed door.
    pub(super) fn abandoned(&mut self, around: &mut Surroundings<'_>) {
        if self.guard().fail == Fail::Closed {
            return;
        }
        if let Some(taken) = self.taken.take() {
            match taken.give_back() {
                Ok(_) => {
                    warn!(database = %self.database.name, "no worker is left: the Unix socket is the server's again")
                }
                Err(problem) => warn!(database = %self.database.name, "the Unix socket is not served: {problem}"),
            }
            self.tell_way(around);
        }
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

    /// What the core shall know, where it is news.
    pub(super) fn news(&mut self) -> Option<(u16, Option<Guarding>)> {
        let now = self.guarding();
        if self.told == now {
            return None;
        }
        self.told.clone_from(&now);
        Some((self.database.id, now))
    }

    /// The same for a core that knows nothing yet.
    pub(super) fn forget_told(&mut self) {
        self.told = None;
    }

    fn guarding(&self) -> Option<Guarding> {
        let is_guarded = self.steering.is_some() || self.taken.is_some() || !self.guard().listen.is_empty();
        if !is_guarded {
            return None;
        }
        let direct = self.guard().direct.iter().map(|rule| (rule.name.clone(), rule.source.0, rule.source.1));
        let namespace = self.steering.as_ref().and_then(|steered| u32::try_from(steered.steering.namespace()).ok());
        Some(Guarding {
            since: self.since.0,
            socket_since: self.socket_since.0,
            steered: namespace.zip(self.database.port).into_iter().collect(),
            failed_open: self.passing.spans.iter().map(|(from, to)| (from.0, to.map(|to| to.0))).collect(),
            direct: direct.collect(),
        })
    }

    /// How it is, for people and metrics.
    pub(super) fn state(&self) -> SteeringState {
        let mut state = SteeringState {
            database: self.database.name.clone(),
            socket_taken: self.taken.is_some(),
            fail_closed: self.guard().fail == Fail::Closed,
            remarks: self.remarks.clone(),
            ..SteeringState::default()
        };
        let Some(steered) = &self.steering else { return state };
        let Ok(status) = steered.steering.status() else { return state };
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        state.steered = status.attached && status.on;
        state.remarks.extend(self.replication.clone());
        let live = |listener: &&steering::controls::SlotStatus| listener.live;
        let workers: std::collections::HashSet<u32> =
            status.listeners.iter().filter(live).map(|listener| listener.slot.number).collect();
        state.workers_live = count(workers.len());
        state.listeners_live = count(status.listeners.iter().filter(|listener| listener.live).count());
        state.listeners = count(status.listeners.len());
        let oldest = status.listeners.iter().filter_map(|listener| listener.heartbeat).max();
        state.heartbeat_age = oldest.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        for listener in &status.listeners {
            let Some(age) = listener.heartbeat else { continue };
            let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            match state.heartbeats.iter_mut().find(|(worker, _)| *worker == listener.slot.number) {
                Some((_, oldest)) => *oldest = age.max(*oldest),
                None => state.heartbeats.push((listener.slot.number, age)),
            }
        }
        let counters = status.counters;
        state.connections = SteeringCounts {
            steered: counters.steered,
            hop: counters.exempt,
            direct: counters.direct,
            passed_open: counters.passed_open,
            dropped_closed: counters.dropped_closed,
        };
        state
    }
}

/// Until a listener has shown that somebody accepts there.
fn wait_for_beat(controls: &steering::controls::Controls) -> Result<()> {
    let deadline = clock::boot().0 + u64::try_from(FIRST_BEAT.as_nanos()).unwrap_or(u64::MAX);
    while clock::boot().0 < deadline {
        if controls.listeners()?.iter().any(|listener| listener.live) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("no proxy worker accepts connections; see the agent's log")
}
