//! TCP connections of a guarded database: steering them, and whether it still does.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use capture::witness::Witness;
use model::id::DatabaseId;
use model::time::BootTime;
use steering::prepared::Prepared;
use steering::spec::{FailMode, Prefix, Spec, Target};
use steering::steering::Steering;
use tracing::{info, warn};

use super::server::Server;
use super::{Guarded, Steered, Surroundings};
use crate::clock;
use crate::config::proxy::{Fail, Proxy};
use crate::link::ProxyEvent;
use crate::worker_link::ToWorker;

/// A listener whose heartbeat is older takes no connections: the kernel asks for one every 200 ms.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(1);
/// A worker whose heartbeat is older is killed: its clients wait in a queue that nobody serves.
const HANGING: Duration = Duration::from_secs(5);
/// How long the first listeners may take until they beat.
const FIRST_BEAT: Duration = Duration::from_secs(3);

impl Guarded {
    pub(super) fn steer_now(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
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
    pub(super) fn targets(&self, witness: &Witness, server: &Server) -> Result<Vec<Target>> {
        let addresses = self.addresses(witness, server);
        ensure!(!addresses.is_empty(), "the server's listeners have not been seen yet");
        Ok(addresses.into_iter().map(Target::Address).collect())
    }

    pub(super) fn addresses(&self, witness: &Witness, server: &Server) -> Vec<SocketAddr> {
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

    pub(super) fn watch_steering(&mut self, now: BootTime, events: &mut Vec<ProxyEvent>) {
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
    pub(in crate::kernel_process) fn hanging(&self) -> Vec<u32> {
        let Some(steered) = &self.steering else { return Vec::new() };
        let Ok(listeners) = steered.steering.controls.listeners() else { return Vec::new() };
        let hangs = |age: Option<Duration>| age.is_some_and(|age| age > HANGING);
        listeners.iter().filter(|one| one.socket.is_some() && hangs(one.heartbeat)).map(|one| one.slot.number).collect()
    }
}

/// What an earlier agent left in place.
struct Earlier {
    since: BootTime,
    /// Since when nobody served: connections passed.
    open_since: Option<BootTime>,
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
