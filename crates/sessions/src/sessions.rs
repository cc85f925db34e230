//! The state of all sessions of a host, and what passes time.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use model::Known;
use model::id::{BootId, DatabaseId, HostId, SessionId, SocketCookie};
use model::kernel::KernelEvent;
use model::principal::Principal;
use model::process::UnknownProcess;
use model::record::{Record, What};
use model::session::{Session, Transport};
use model::time::{BootTime, ClockOffset};
use model::wire::WireEvent;

use crate::Limits;
use crate::coverage::{Interval, reclassify};
use crate::early::{Early, Event};
use crate::entry::{Due, Entry};
use crate::guard::Guard;
use crate::holders::Holders;
use crate::past::PastSessions;
use crate::totals::Totals;
use crate::unmatched::Unmatched;

/// All sessions of one boot of one host.
#[derive(Debug)]
pub struct Sessions {
    host: HostId,
    boot: BootId,
    pub(crate) limits: Limits,
    pub(crate) clock: ClockOffset,
    /// The latest time that any event carried: the time of events that carry none.
    pub(crate) latest: BootTime,
    pub(crate) database_names: HashMap<DatabaseId, Arc<str>>,
    pub(crate) local: HashSet<IpAddr>,
    // Boxed: the map keeps room for twice its entries at worst, and an entry is large.
    pub(crate) live: HashMap<SocketCookie, Box<Entry>>,
    /// Sessions by the proxy's accepted socket.
    pub(crate) aliases: HashMap<SocketCookie, SocketCookie>,
    /// Fronts, by the proxy's socket to the server.
    pub(crate) by_upstream: HashMap<SocketCookie, SocketCookie>,
    /// The agent's own connections by their client's socket, and the rule that allows them.
    pub(crate) own: HashMap<SocketCookie, Arc<str>>,
    /// Fronts and hops that wait for something.
    pub(crate) waiting: HashSet<SocketCookie>,
    pub(crate) guards: BTreeMap<DatabaseId, Guard>,
    pub(crate) interval: Interval,
    /// Sessions by their client's own socket.
    pub(crate) by_client: HashMap<SocketCookie, SocketCookie>,
    /// Sessions by the pid that their server told its client; in a container it is not the host's.
    pub(crate) by_backend: HashMap<(DatabaseId, u32), SocketCookie>,
    /// Principals of process trees, by control group.
    pub(crate) trees: HashMap<u64, Arc<Principal>>,
    pub(crate) holders: Holders,
    pub(crate) unmatched: Unmatched,
    pub(crate) early: Early,
    pub(crate) past: PastSessions,
    /// Sessions with a state that is not recorded yet.
    pub(crate) unsettled: VecDeque<SocketCookie>,
    /// Losses since the last tick.
    pub(crate) sessions_lost: u64,
    pub(crate) events_lost: u64,
    pub(crate) totals: Totals,
}

impl Sessions {
    /// No session yet.
    #[must_use]
    pub fn new(host: HostId, boot: BootId, limits: Limits) -> Self {
        Self {
            host,
            boot,
            limits,
            clock: ClockOffset::default(),
            latest: BootTime::default(),
            database_names: HashMap::new(),
            local: HashSet::new(),
            live: HashMap::new(),
            aliases: HashMap::new(),
            by_upstream: HashMap::new(),
            own: HashMap::new(),
            waiting: HashSet::new(),
            guards: BTreeMap::new(),
            interval: Interval::default(),
            by_client: HashMap::new(),
            by_backend: HashMap::new(),
            trees: HashMap::new(),
            holders: Holders::default(),
            unmatched: Unmatched::default(),
            early: Early::default(),
            past: PastSessions::default(),
            unsettled: VecDeque::new(),
            sessions_lost: 0,
            events_lost: 0,
            totals: Totals::default(),
        }
    }

    /// Where the boot clock stands on the wall clock, for the records from now on.
    pub fn set_clock(&mut self, offset: ClockOffset) {
        self.clock = offset;
    }

    /// Name of a configured or discovered database, also for its sessions that are open.
    pub fn name_database(&mut self, id: DatabaseId, name: Arc<str>) {
        for entry in self.live.values_mut().filter(|entry| entry.session.database == id) {
            entry.session.database_name = Arc::clone(&name);
        }
        self.database_names.insert(id, name);
    }

    /// The host's own addresses, in all its network namespaces. Loopback is always local, and so is a client
    /// with the server's own address. A local client's process is awaited; any other client is remote.
    pub fn set_local_addresses(&mut self, addresses: HashSet<IpAddr>) {
        self.local = addresses.into_iter().map(|address| address.to_canonical()).collect();
        let at = self.latest;
        let mut changed = Vec::new();
        for (&cookie, entry) in &mut self.live {
            let Known::Unknown(reason @ (UnknownProcess::Remote | UnknownProcess::NotSeen)) = entry.session.client
            else {
                continue;
            };
            let now = absent_client(&self.local, &entry.session.transport, entry.session.client_cookie);
            if now != reason {
                entry.session.client = Known::Unknown(now);
                entry.changed(at);
                changed.push(cookie);
            }
        }
        for cookie in changed {
            self.queue(cookie);
        }
    }

    /// What the kernel witness says. Records are appended to `out`.
    pub fn on_kernel(&mut self, event: KernelEvent, out: &mut Vec<Record>) {
        self.kernel_event(event, out);
    }

    /// What the decoder says about the connection behind the server's socket `cookie`.
    pub fn on_wire(&mut self, cookie: SocketCookie, at: BootTime, event: WireEvent, out: &mut Vec<Record>) {
        self.latest = self.latest.max(at);
        if let Err(event) = self.wire_event(cookie, at, event, out) {
            self.without_session(cookie, Event::Wire(at, event), out);
        }
    }

    /// Time has passed: announces what has waited long enough, forgets what has waited too long. To be called
    /// a few times a second.
    pub fn on_tick(&mut self, now: BootTime, out: &mut Vec<Record>) {
        self.latest = self.latest.max(now);
        self.tick_mediation(now, out);
        self.settle_overdue(now, out);
        let ago = |nanos: u64| BootTime(now.0.saturating_sub(nanos));
        for cookie in self.early.overdue(ago(self.limits.announce_nanos)) {
            // What a live socket holds waits for its other half.
            if !self.live.contains_key(&cookie) {
                self.release_statements(cookie, out);
            }
        }
        for (cookie, waiting) in self.early.expire(ago(self.limits.early_session_nanos)) {
            self.abandon(cookie, waiting, out);
        }
        self.totals.clients_unmatched += self.unmatched.expire(ago(self.limits.unmatched_client_nanos));
        self.record_losses(now, out);
        self.tick_coverage(now, out);
    }

    /// The live sessions, in no order. A connection to the proxy without a hop is none.
    pub fn live(&self) -> impl Iterator<Item = &Session> {
        self.live.values().filter(|entry| !entry.is_front() || entry.is_counted).map(|entry| &entry.session)
    }

    /// A live session, by its server's socket.
    #[must_use]
    pub fn get(&self, cookie: SocketCookie) -> Option<&Session> {
        self.live.get(&cookie).map(|entry| &entry.session)
    }

    /// Counters for metrics.
    #[must_use]
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Client processes that wait for their session now.
    #[must_use]
    pub fn unmatched_clients(&self) -> usize {
        self.unmatched.len()
    }

    /// Sockets whose opening is not known now.
    #[must_use]
    pub fn early_sessions(&self) -> usize {
        self.early.len()
    }

    /// Requests that wait for their session to be known. They are not among the records yet.
    #[must_use]
    pub fn requests_waiting(&self) -> usize {
        self.early.requests()
    }

    pub(crate) fn id(&self, cookie: SocketCookie) -> SessionId {
        SessionId { host: self.host, boot: self.boot, cookie }
    }

    /// Records a session's state if it is due, and otherwise sees to it that a tick does.
    pub(crate) fn settle(&mut self, cookie: SocketCookie, out: &mut Vec<Record>) {
        self.say(cookie, Due::WhenComplete, out);
        self.queue(cookie);
    }

    /// Records a session's state if it is due; after its announcement, that it got around the proxy, and what its client's
    /// processes did before.
    pub(crate) fn say(&mut self, cookie: SocketCookie, due: Due, out: &mut Vec<Record>) {
        let Some(entry) = self.live.get_mut(&cookie) else {
            return;
        };
        let is_new = entry.is_new();
        if is_new {
            reclassify(entry, &self.guards);
        }
        if let Some(record) = entry.record(due, self.clock) {
            out.push(record);
            if is_new {
                self.announced(cookie, out);
            }
            self.tell_earlier_changes(cookie, out);
        }
    }

    fn queue(&mut self, cookie: SocketCookie) {
        if let Some(entry) = self.live.get_mut(&cookie)
            && entry.is_unsettled()
            && !std::mem::replace(&mut entry.is_queued, true)
        {
            self.unsettled.push_back(cookie);
        }
    }

    fn settle_overdue(&mut self, now: BootTime, out: &mut Vec<Record>) {
        let (live, announce_nanos) = (&mut self.live, self.limits.announce_nanos);
        let mut due = Vec::new();
        self.unsettled.retain(|cookie| {
            let Some(entry) = live.get_mut(cookie) else {
                return false;
            };
            if entry.may_wait(now, announce_nanos) {
                return true;
            }
            entry.is_queued = false;
            due.push(*cookie);
            false
        });
        for cookie in due {
            self.say(cookie, Due::Now, out);
        }
    }

    fn record_losses(&mut self, now: BootTime, out: &mut Vec<Record>) {
        let time = self.clock.wall(now);
        let losses = [("session", &mut self.sessions_lost), ("early_event", &mut self.events_lost)];
        for (kind, count) in losses {
            let count = std::mem::take(count);
            if count > 0 {
                out.push(Record { time, what: What::Lost { kind, stage: "core", count } });
            }
        }
    }
}

/// Why a client's process is not known as long as no event names it.
pub(crate) fn absent_client(
    local: &HashSet<IpAddr>,
    transport: &Transport,
    client_cookie: Option<SocketCookie>,
) -> UnknownProcess {
    let Transport::Tcp { client, server, .. } = transport else {
        return UnknownProcess::NotSeen;
    };
    let address = client.ip().to_canonical();
    let is_local = client_cookie.is_some()
        || address.is_loopback()
        || address == server.ip().to_canonical()
        || local.contains(&address);
    if is_local { UnknownProcess::NotSeen } else { UnknownProcess::Remote }
}
