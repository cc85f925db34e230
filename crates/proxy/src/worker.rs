//! The worker: accepts, counts, limits, keeps time, stops. One thread; all of it runs on one `LocalSet`.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::credential::AccessEnd;
use model::id::{DatabaseId, SocketCookie};
use model::mediation::{Listener, MediationEvent, Refusal, Route};
use model::time::BootTime;
use recorder::Recorder;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::access::{Access, Gate};
use crate::book::Book;
use crate::certificates::Certificates;
use crate::clock;
use crate::common::Common;
use crate::entry::{ClientKey, Entry, Order, Phase, SessionEnd};
use crate::governor::Governor;
use crate::hop::Hops;
use crate::login::UpstreamLogin;
use crate::session::{self, Accepted};
use crate::settings::{ListenerSpec, Settings};
use crate::socket::{Socket, Stream, cookie};
use crate::stats::Snapshot;
use crate::stop::Stop;

/// How often a listener's loop shows that it turns: the kernel wants to see it 4 times a second.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// How often the sessions' times are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How old a busy session's part of the worker's counters may be.
const PUBLISH: Duration = Duration::from_secs(2);
/// After this time without traffic the counts of a session are told.
const QUIET: Duration = Duration::from_secs(1);
/// And again after this time, for as long as nothing moves: the core can only hold counts against the kernel's that are
/// younger than those, and reads the kernel's every 5 s.
const COUNT_AGAIN: Duration = Duration::from_secs(10);
/// How long a client may stay after its server has finished.
const ENDING: Duration = Duration::from_secs(30);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// Connections beyond the limits that may wait for their refusal. More are closed without a word.
const REFUSALS_MAX: usize = 64;
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A listening socket.
#[derive(Debug)]
pub enum Listening {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// Unix.
    Unix(std::os::unix::net::UnixListener),
}

/// What a worker consists of. Cloning gives another handle to the same worker.
pub struct Worker<H> {
    common: Rc<Common>,
    hops: Rc<H>,
    stop: Rc<Notify>,
    waiting_refusals: Rc<Cell<usize>>,
}

/// What draining has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Sessions that were still open, and inside of a transaction or not readable.
    pub left: usize,
}

impl<H: Hops> Clone for Worker<H> {
    fn clone(&self) -> Self {
        Self {
            common: self.common.clone(),
            hops: self.hops.clone(),
            stop: self.stop.clone(),
            waiting_refusals: self.waiting_refusals.clone(),
        }
    }
}

impl<H: Hops> Worker<H> {
    /// A worker without listeners.
    #[must_use]
    pub fn new(settings: Settings, recorder: Recorder, hops: H) -> Self {
        Self {
            common: Rc::new(Common::new(settings, Book::new(recorder))),
            hops: Rc::new(hops),
            stop: Rc::new(Notify::new()),
            waiting_refusals: Rc::default(),
        }
    }

    /// Keeps time for all sessions, and wakes those that wait for the core. Runs until the worker ends.
    ///
    /// # Errors
    /// When the descriptor of the core's answers cannot be watched.
    pub async fn keep_time(&self) -> io::Result<()> {
        let common = &self.common;
        let look = async {
            let mut times = every(LOOK);
            loop {
                times.tick().await;
                look_at_all(common, clock::now());
                common.introduce_again();
            }
        };
        tokio::select! {
            result = common.book.listen(|| common.forgotten()) => result,
            () = look => Ok(()),
        }
    }

    /// From now on this decides about the sessions of a database that open.
    pub fn set_governor(&self, database: DatabaseId, governor: Governor) {
        self.common.governors.borrow_mut().insert(database, Rc::new(governor));
    }

    /// As whom the proxy logs in at a database for clients with tokens, from the next session on.
    pub fn set_upstream_login(&self, database: DatabaseId, login: UpstreamLogin) {
        self.common.logins.borrow_mut().insert(database, login);
    }

    /// The policies of a database have changed: sessions that they would not let begin any more end, each between two of
    /// its statements.
    pub fn reconsider(&self, database: DatabaseId) {
        let entries = self.common.entries.borrow();
        entries.values().filter(|entry| entry.database == database).for_each(|entry| entry.order(Order::Reconsider));
    }

    /// Ends a session because the access of whoever acts has ended. One that is unknown has ended already.
    pub fn end(&self, connection: SocketCookie, when: SessionEnd, why: AccessEnd) {
        let entry = self.common.entries.borrow().get(&connection.0).cloned();
        if let Some(entry) = entry {
            entry.end_access(when, why);
        }
    }

    /// Accepts connections until [`Worker::drain`]. Must run inside of a `LocalSet`. `heartbeat` is called at least 4
    /// times a second, by the loop that accepts.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub async fn serve(&self, spec: ListenerSpec, listening: Listening, heartbeat: Box<dyn Fn()>) -> io::Result<()> {
        let listener = Accepting::new(listening)?;
        let spec = Rc::new(spec);
        let mut beat = every(HEARTBEAT);
        let mut beaten = BootTime(0);
        while !self.common.draining.get() {
            let now = clock::now();
            if u128::from(now.nanos_since(beaten)) >= HEARTBEAT.as_nanos() {
                heartbeat();
                beaten = now;
            }
            tokio::select! {
                biased;
                () = self.stop.notified() => {}
                _ = beat.tick() => {}
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => self.take(&spec, accepted),
                    Err(error) => self.accept_failed(&error).await,
                },
            }
        }
        Ok(())
    }

    async fn accept_failed(&self, error: &io::Error) {
        self.common.stats.accept_failed();
        // A client that has gone before it was accepted is no trouble of ours.
        if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            tracing::warn!(error = error as &dyn std::error::Error, "a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
        }
    }

    /// Starts the life of a connection.
    fn take(&self, spec: &Rc<ListenerSpec>, (stream, route): (Stream, Route)) {
        let (at, key) = (clock::now(), client_key(&route));
        let Ok(connection) = cookie_of(&stream) else { return };
        let refusal = self.refusal(spec, &route, key);
        if refusal.is_some() {
            if self.waiting_refusals.get() >= REFUSALS_MAX {
                self.common.stats.refused(refusal.and_then(|stop| stop.refusal).unwrap_or(Refusal::SessionLimit));
                return;
            }
            self.waiting_refusals.set(self.waiting_refusals.get() + 1);
        }
        self.common.stats.accepted(spec.kind);
        let entry = Rc::new(Entry::new(connection, spec.database, spec.kind, key, at));
        let (database, listener) = (spec.database, spec.kind);
        let accepted = MediationEvent::Accepted { connection, at, database, listener, route: route.clone() };
        self.common.introduce(&entry, accepted);
        self.common.entries.borrow_mut().insert(connection.0, entry.clone());
        *self.common.clients.borrow_mut().entry(key).or_insert(0) += 1;
        let refused = refusal.is_some();
        let accepted = Accepted {
            common: self.common.clone(),
            hops: self.hops.clone(),
            spec: spec.clone(),
            entry: entry.clone(),
            socket: Socket::accepted(stream),
            route,
            refusal,
        };
        let worker = self.clone();
        spawn_local(async move {
            session::run(accepted).await;
            if refused {
                worker.waiting_refusals.set(worker.waiting_refusals.get().saturating_sub(1));
            }
            worker.forget(&entry);
        });
    }

    fn forget(&self, entry: &Entry) {
        self.common.stats.ended(entry.listener);
        self.common.entries.borrow_mut().remove(&entry.cookie.0);
        let mut clients = self.common.clients.borrow_mut();
        if let Some(count) = clients.get_mut(&entry.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                clients.remove(&entry.client);
            }
        }
    }

    /// Why a connection is not served.
    fn refusal(&self, spec: &ListenerSpec, route: &Route, client: ClientKey) -> Option<Stop> {
        let settings = &self.common.settings;
        if let Route::Tcp { destination, .. } = route
            && spec.kind == Listener::Steered
            && destination.port() != spec.port
        {
            return Some(Stop::refused_silently(Refusal::NotForDatabase));
        }
        let limit = |reason, name: &str, limit: usize| {
            Some(Stop::refused(
                reason,
                "53300",
                format!("sorry, too many clients already: the proxy's {name} is {limit}"),
            ))
        };
        let sessions = self.common.entries.borrow().len().saturating_sub(self.waiting_refusals.get());
        if sessions >= settings.sessions_max {
            return limit(Refusal::SessionLimit, "sessions_max", settings.sessions_max);
        }
        let of_client = self.common.clients.borrow().get(&client).copied().unwrap_or(0);
        if of_client >= settings.sessions_per_address_max {
            return limit(Refusal::AddressLimit, "sessions_per_address_max", settings.sessions_per_address_max);
        }
        if self.common.stats.startups() >= settings.startups_max {
            return limit(Refusal::StartupLimit, "startups_max", settings.startups_max);
        }
        None
    }

    /// Sets what `pg_hba.conf` of a database says, for connections from now on. `None`: it cannot be read; then only hops
    /// that have their client's own address may go. Before the first call nothing is asked.
    pub fn set_access(&self, database: DatabaseId, access: Option<Access>) {
        let gate = access.map_or(Gate::SameAddressOnly, Gate::Rules);
        self.common.access.borrow_mut().insert(database, Rc::new(gate));
    }

    /// Puts the counters into the ring, for the core.
    pub fn report(&self) {
        self.common.book.report(&self.stats().encode(), &self.common.stats);
    }

    /// Sets the certificate of a database whose listeners have one, for connections from now on. Sessions keep theirs.
    pub fn reload_certificates(&self, database: DatabaseId, certificates: Arc<Certificates>) {
        self.common.certificates.borrow_mut().insert(database, certificates);
    }

    /// A copy of the counters.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        self.common.stats.snapshot()
    }

    /// Stops accepting, waits until all sessions have ended or `deadline` has passed, and then ends those that wait
    /// for their client outside of a transaction.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.common.draining.set(true);
        self.stop.notify_waiters();
        let end = clock::now().0.saturating_add(u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX));
        let mut look = every(Duration::from_millis(50));
        while clock::now().0 < end && !self.common.entries.borrow().is_empty() {
            look.tick().await;
        }
        for entry in self.common.entries.borrow().values() {
            if is_interruptible(entry) {
                entry.order(Order::Drain);
            }
        }
        // What was told to end does so within moments, or its client does not listen.
        for _ in 0..20 {
            if !self.common.entries.borrow().values().any(|entry| is_interruptible(entry)) {
                break;
            }
            look.tick().await;
        }
        Drained { left: self.common.entries.borrow().values().filter(|entry| !is_interruptible(entry)).count() }
    }
}

/// It can be told to end without breaking anything that is under way.
fn is_interruptible(entry: &Entry) -> bool {
    match entry.phase() {
        Phase::Startup | Phase::Ending | Phase::Farewell => true,
        Phase::Relaying => entry.ready() == Some(b'I'),
        Phase::Unread => false,
    }
}

/// Gives each session whose time has come its order.
fn look_at_all(common: &Common, now: BootTime) {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let settings = &common.settings;
    for entry in common.entries.borrow().values() {
        let order = match entry.phase() {
            Phase::Startup if entry.in_phase_nanos(now) >= nanos(settings.startup) => Some(Order::TimedOut),
            Phase::Ending if entry.in_phase_nanos(now) >= nanos(ENDING) => Some(Order::TimedOut),
            Phase::Farewell if entry.in_phase_nanos(now) >= nanos(FAREWELL) => Some(Order::TimedOut),
            Phase::Startup | Phase::Ending | Phase::Farewell => None,
            Phase::Relaying | Phase::Unread => {
                let idle = settings.idle.filter(|_| entry.ready().is_some());
                let (counts_age, count_after) = match entry.is_uncounted() {
                    true => (entry.idle_nanos(now), QUIET),
                    false => (entry.unpublished_nanos(now), COUNT_AGAIN),
                };
                if idle.is_some_and(|idle| entry.idle_nanos(now) >= nanos(idle)) {
                    Some(Order::Idle)
                } else if counts_age >= nanos(count_after) {
                    Some(Order::Count)
                } else if entry.is_uncounted() && entry.unpublished_nanos(now) >= nanos(PUBLISH) {
                    Some(Order::Publish)
                } else {
                    None
                }
            }
        };
        if let Some(order) = order {
            entry.order(order);
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn client_key(route: &Route) -> ClientKey {
    match route {
        Route::Tcp { client, .. } => ClientKey::Address(client.ip().to_canonical()),
        Route::Unix { uid, .. } => ClientKey::User(*uid),
    }
}

fn cookie_of(stream: &Stream) -> io::Result<SocketCookie> {
    match stream {
        Stream::Tcp(stream) => cookie(stream),
        Stream::Unix(stream) => cookie(stream),
    }
}

/// A listening socket in the runtime.
enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Accepting {
    fn new(listening: Listening) -> io::Result<Self> {
        match listening {
            Listening::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener).map(Self::Tcp)
            }
            Listening::Unix(listener) => {
                listener.set_nonblocking(true)?;
                UnixListener::from_std(listener).map(Self::Unix)
            }
        }
    }

    async fn accept(&self) -> io::Result<(Stream, Route)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                // Of a steered connection this is the address that the client asked for.
                let destination: SocketAddr = stream.local_addr()?;
                Ok((Stream::Tcp(stream), Route::Tcp { client, destination }))
            }
            Self::Unix(listener) => {
                let (stream, _unnamed) = listener.accept().await?;
                let peer = stream.peer_cred()?;
                let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
                Ok((Stream::Unix(stream), Route::Unix { pid, uid: peer.uid(), gid: peer.gid() }))
            }
        }
    }
}
