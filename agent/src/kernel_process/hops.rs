//! Answers the workers' requests for hops. Who the client is comes from its own socket, which the worker has to show:
//! a worker that was taken over can borrow the identity of its clients, and no other.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use capture::marks::{HopContent, Marks};
use model::time::BootTime;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{SockaddrStorage, getpeername, getsockname, getsockopt, sockopt};
use steering::exemptions::Exemptions;
use steering::identity::Peer;
use steering::steward::{Answer, Hop, HopError, Mark, Source, TcpHop, UnixHop};
use tracing::{error, warn};

use super::own_logins::no_way;
use crate::clock;
use crate::config::proxy::Content;
use crate::link::{Link, Packet, Purpose};
use crate::worker_link::{FromSteward, HopAnswer, HopAsk, HopEnd, HopRefusal, ListenerKind, PULSE};

/// One in so many sessions is read by the kernel witness with `content = "sampled"`.
const SAMPLE: u64 = 16;
/// Requests taken from one worker before the others get their turn.
const ASKS_PER_TURN: u32 = 64;

/// How long the thread waits for requests before it shows workers that it is there.
const PAUSE: u8 = 100;

/// The way to a database.
#[derive(Debug)]
pub(super) struct Way {
    /// Port of steered connections.
    pub(super) port: Option<u16>,
    /// Where plain listeners lead.
    pub(super) upstream: SocketAddr,
    /// The database's network namespace.
    pub(super) namespace: Arc<OwnedFd>,
    /// It is not the agent's own, which plain listeners are in.
    pub(super) is_elsewhere: bool,
    /// What clients on other hosts get.
    pub(super) hop_address: Vec<IpAddr>,
    /// Of its steering.
    pub(super) exemptions: Option<Arc<Mutex<Exemptions>>>,
    /// The server's Unix socket behind the one that was taken over.
    pub(super) socket: Option<Arc<OwnedFd>>,
    /// Which sessions the kernel witness reads.
    pub(super) content: Content,
    /// The configuration sends clients over TCP through the proxy, so the server is reached by it.
    pub(super) by_tcp: bool,
}

/// The thread that takes requests; hops are opened by another one.
pub(super) struct Steward {
    shared: Arc<Shared>,
}

struct Shared {
    ways: Mutex<HashMap<u16, Way>>,
    /// Ends of workers that are not looked at yet.
    admitted: Mutex<Vec<Link>>,
    wake: EventFd,
    opener: steering::steward::Steward,
    marks: Marks,
    asked: AtomicU64,
}

impl Steward {
    /// Starts both threads.
    pub(super) fn start(marks: Marks) -> Result<Self> {
        let opener = steering::steward::Steward::start().context("the thread that opens hops could not be started")?;
        let wake =
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).context("no descriptor is left")?;
        let shared = Arc::new(Shared {
            ways: Mutex::default(),
            admitted: Mutex::default(),
            wake,
            opener,
            marks,
            asked: AtomicU64::new(0),
        });
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("hops".into());
        thread.spawn(move || serve(&served)).context("the thread that takes requests for hops could not be started")?;
        Ok(Self { shared })
    }

    /// A line for one more worker: its end.
    pub(super) fn admit(&self) -> Result<OwnedFd> {
        let (ours, theirs) = Link::pair()?;
        locked(&self.shared.admitted).push(ours);
        // A counter that is full wakes as well.
        let _full = self.shared.wake.write(1);
        Ok(theirs)
    }

    /// Opens a hop for the core's own login. It has no client whose address or user it could borrow.
    pub(super) fn open_own(&self, (database, purpose): (u16, Purpose), core: Peer, answer: Answer) {
        let mark = self.shared.mark(Content::Off);
        let way = locked(&self.shared.ways).get(&database).map(|way| way.own(purpose, core, mark));
        match way {
            Some(Opening::Tcp(hop)) => self.shared.opener.open_tcp(hop, answer),
            Some(Opening::Unix(hop)) => self.shared.opener.open_unix(hop, answer),
            None => answer(Err(no_way())),
        }
    }

    /// From now on this is the way to a database; `None`: there is none.
    pub(super) fn set_way(&self, database: u16, way: Option<Way>) {
        let mut ways = locked(&self.shared.ways);
        match way {
            Some(way) => ways.insert(database, way),
            None => ways.remove(&database),
        };
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes requests for as long as the process lives.
fn serve(shared: &Arc<Shared>) {
    let mut links: Vec<Arc<Link>> = Vec::new();
    let mut shown = BootTime(0);
    loop {
        links.extend(locked(&shared.admitted).drain(..).map(Arc::new));
        let mut waiting: Vec<PollFd<'_>> = vec![PollFd::new(shared.wake.as_fd(), PollFlags::POLLIN)];
        waiting.extend(links.iter().map(|link| PollFd::new(link.as_fd(), PollFlags::POLLIN)));
        if let Err(problem) = poll(&mut waiting, PollTimeout::from(PAUSE))
            && problem != nix::errno::Errno::EINTR
        {
            return error!("requests for hops cannot be waited for any more: {problem}");
        }
        let _nothing = shared.wake.read();
        links.retain(|link| take(shared, link));
        let now = clock::boot();
        if u128::from(now.nanos_since(shown)) >= PULSE.as_nanos() {
            shown = now;
            for link in &links {
                // A worker that does not read has other troubles, and its own heartbeat.
                let _full = link.try_send(&FromSteward::Pulse, &[], &[]);
            }
        }
    }
}

/// Takes what a worker asks for. `false`: it is gone.
fn take(shared: &Arc<Shared>, link: &Arc<Link>) -> bool {
    for _ in 0..ASKS_PER_TURN {
        if !link.is_readable() {
            return true;
        }
        match link.receive::<HopAsk>() {
            Ok(Some(packet)) => shared.open(link, packet),
            Ok(None) | Err(_) => return false,
        }
    }
    true
}

impl Shared {
    fn open(self: &Arc<Self>, link: &Arc<Link>, packet: Packet<HopAsk>) {
        let ask = packet.message;
        let client = packet.descriptors.into_iter().next();
        let Some(way) = client.and_then(|client| self.way(&ask, &client)) else {
            return answer(link, ask.id, Err(HopRefusal::NoWay), None);
        };
        let id = ask.id;
        match way {
            Opening::Tcp(hop) => self.opener.open_tcp(hop, reply(Arc::clone(link), id)),
            Opening::Unix(hop) => self.opener.open_unix(hop, reply(Arc::clone(link), id)),
        }
    }

    fn way(&self, ask: &HopAsk, client: &OwnedFd) -> Option<Opening> {
        // A worker may only show connections that one of our listeners has accepted for that database.
        if self.marks.front_of(client.as_fd()) != Some(ask.database) {
            warn!(database = ask.database, "a worker asked for a hop for a socket that is no client's of this proxy");
            return None;
        }
        let ways = locked(&self.ways);
        let way = ways.get(&ask.database)?;
        let mark = self.mark(if ask.unread { Content::Always } else { way.content });
        if ask.kind == ListenerKind::UnixSocket {
            let peer = getsockopt(client, sockopt::PeerCredentials).ok()?;
            let peer = Peer { uid: peer.uid(), gid: peer.gid() };
            return Some(Opening::Unix(UnixHop { server: Arc::clone(way.socket.as_ref()?), peer, mark }));
        }
        let asked = address(getsockname(client.as_raw_fd()).ok()?)?;
        let from = address(getpeername(client.as_raw_fd()).ok()?)?.ip();
        let destination = if ask.kind == ListenerKind::Plain { way.upstream } else { asked };
        if ask.kind == ListenerKind::Steered && Some(destination.port()) != way.port {
            return None;
        }
        let otherwise = way.hop_address.iter().copied().find(|hop| hop.is_ipv4() == destination.is_ipv4());
        let source = if way.is_elsewhere && ask.kind == ListenerKind::Plain {
            // The client's address means something else in the server's namespace: there it must not count as local.
            Source::Address(otherwise?)
        } else if from.is_ipv4() == destination.is_ipv4() {
            Source::Client { address: from, otherwise }
        } else {
            otherwise.map_or(Source::Route, Source::Address)
        };
        let (namespace, exemptions) = (Arc::clone(&way.namespace), way.exemptions.clone());
        Some(Opening::Tcp(TcpHop { namespace, source, destination, exemptions, mark }))
    }

    /// Tells the kernel programs what this socket is, before it connects.
    fn mark(&self, content: Content) -> Mark {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let is_read = match content {
            Content::Always => true,
            Content::Sampled => number.is_multiple_of(SAMPLE),
            Content::Off => false,
        };
        let content = if is_read { HopContent::Read } else { HopContent::Counted };
        let marks = self.marks.clone();
        Box::new(move |cookie| {
            if let Err(problem) = marks.hop(cookie, content) {
                warn!("a connection of the proxy will be taken for a client's own: {problem}");
            }
        })
    }
}

impl Way {
    /// The way of the core itself: by TCP, unless only the Unix socket is configured.
    fn own(&self, purpose: Purpose, core: Peer, mark: Mark) -> Opening {
        if let Some(server) = self.socket.as_ref().filter(|_| !self.by_tcp) {
            return Opening::Unix(UnixHop { server: Arc::clone(server), peer: core, mark });
        }
        let (namespace, exemptions) = (Arc::clone(&self.namespace), self.exemptions.clone());
        let hop = self.hop_address.iter().copied().find(|hop| hop.is_ipv4() == self.upstream.is_ipv4());
        let source = match purpose {
            // The server lets the service account in from there.
            Purpose::Ending => hop.map_or(Source::Route, Source::Address),
            Purpose::Catalogue | Purpose::Minting => Source::Route,
        };
        Opening::Tcp(TcpHop { namespace, source, destination: self.upstream, exemptions, mark })
    }
}

enum Opening {
    Tcp(TcpHop),
    Unix(UnixHop),
}

/// What the steward calls when a hop stands or does not.
fn reply(link: Arc<Link>, id: u64) -> Answer {
    Box::new(move |result: Result<Hop, HopError>| match result {
        Ok(hop) => {
            let own = getsockname::<SockaddrStorage>(hop.socket.as_raw_fd()).ok().and_then(address);
            let end = HopEnd { cookie: hop.cookie.0, source: own };
            answer(&link, id, Ok(end), Some(&hop.socket));
        }
        Err(problem) => {
            let refusal = match &problem {
                HopError::Busy => HopRefusal::Busy,
                HopError::Connect(source) => HopRefusal::System(source.raw_os_error().unwrap_or(libc::EIO)),
                HopError::TimedOut => HopRefusal::System(libc::ETIMEDOUT),
                HopError::Begin { source, .. } => {
                    warn!("a hop could not be begun: {problem}: {source}");
                    HopRefusal::System(source.raw_os_error().unwrap_or(libc::EIO))
                }
                HopError::Stopped => HopRefusal::NoWay,
            };
            answer(&link, id, Err(refusal), None);
        }
    })
}

fn answer(link: &Link, id: u64, outcome: Result<HopEnd, HopRefusal>, socket: Option<&OwnedFd>) {
    let descriptors: Vec<_> = socket.iter().map(|socket| socket.as_fd()).collect();
    // A worker that is gone, or does not read, loses its hop: the descriptor is closed here.
    if let Err(problem) = link.try_send(&FromSteward::Answer(HopAnswer { id, outcome }), &[], &descriptors) {
        warn!("a hop could not be passed to its worker: {problem:#}");
    }
}

fn address(storage: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
}
