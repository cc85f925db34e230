//! The steward opens hops: the proxy's connections to the server, which workers may not open themselves.
//!
//! A plain thread with a poll loop. It gets addresses and credentials, never a byte that a client sent, and hands back a
//! connected descriptor or the reason why there is none. Many hops are on their way at once.

mod tcp;
pub(crate) mod unix;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use model::id::SocketCookie;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::exemptions::monotonic;
use crate::namespace::Home;
pub use tcp::{Source, TcpHop};
pub use unix::UnixHop;

/// Hops on their way at once. What is beyond is refused at once: the client is told, instead of waiting unseen.
pub const IN_FLIGHT_MAX: usize = 1024;

/// From when on a server that does not answer counts as unreachable.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A Unix socket whose queue is full says so at once and does not say when it has room.
const RETRY: Duration = Duration::from_millis(2);

/// How often the time that a hop has is looked at.
const CLOCK: Duration = Duration::from_millis(100);

/// Hops that are begun before those on their way are looked at.
const JOBS_A_TURN: u32 = 64;

/// A connection to the server.
#[derive(Debug)]
pub struct Hop {
    /// Connected, nonblocking, close-on-exec.
    pub socket: OwnedFd,
    /// Its identity for the kernel witness.
    pub cookie: SocketCookie,
}

/// Why there is no hop.
#[derive(Debug, thiserror::Error)]
pub enum HopError {
    /// Too many at once.
    #[error("{IN_FLIGHT_MAX} connections to servers are on their way already")]
    Busy,
    /// The server, or the way to it. The system's error is what a client would have seen.
    #[error("the server could not be reached")]
    Connect(#[source] io::Error),
    /// Nobody answered.
    #[error("the server did not answer within {} s", CONNECT_LIMIT.as_secs())]
    TimedOut,
    /// Something on this side: no port, no namespace, no identity, no exemption.
    #[error("no connection to the server could be begun: {what}")]
    Begin {
        /// What failed.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The steward ends.
    #[error("the agent stops")]
    Stopped,
}

/// Who waits for a hop. Called on the steward's thread: it must not block.
pub type Answer = Box<dyn FnOnce(Result<Hop, HopError>) + Send>;

/// Tells the kernel witness that this socket is a hop, before it connects. Called on the steward's thread.
pub type Mark = Box<dyn FnOnce(SocketCookie) + Send>;

/// What is asked of the thread.
struct Job {
    request: Request,
    answer: Answer,
}

enum Request {
    Tcp(TcpHop),
    Unix(UnixHop),
}

/// The thread. It ends when the value is dropped; hops on their way are given up.
pub struct Steward {
    queue: Option<SyncSender<Job>>,
    wake: Arc<EventFd>,
    in_flight: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Steward {
    /// Starts it, in the network namespace of the caller.
    ///
    /// # Errors
    /// When there are no more threads or descriptors.
    pub fn start() -> io::Result<Self> {
        let (queue, jobs) = sync_channel(IN_FLIGHT_MAX);
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let wake = Arc::new(wake);
        let in_flight = Arc::new(AtomicUsize::new(0));
        let home = Home::here()?;
        let service = Service { jobs, wake: Arc::clone(&wake), in_flight: Arc::clone(&in_flight), home };
        let thread = std::thread::Builder::new().name("steward".into()).spawn(move || service.run())?;
        Ok(Self { queue: Some(queue), wake, in_flight, thread: Some(thread) })
    }

    /// Opens a hop over TCP.
    pub fn open_tcp(&self, hop: TcpHop, answer: Answer) {
        self.ask(Job { request: Request::Tcp(hop), answer });
    }

    /// Opens a hop to a Unix socket.
    pub fn open_unix(&self, hop: UnixHop, answer: Answer) {
        self.ask(Job { request: Request::Unix(hop), answer });
    }

    /// Hops on their way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn ask(&self, job: Job) {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= IN_FLIGHT_MAX {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return (job.answer)(Err(HopError::Busy));
        }
        let Some(queue) = &self.queue else { return };
        match queue.send(job) {
            // A wake-up that does not fit into the counter means that one is due anyway.
            Ok(()) => drop(self.wake.write(1)),
            Err(unsent) => (unsent.0.answer)(Err(HopError::Stopped)),
        }
    }
}

impl Drop for Steward {
    fn drop(&mut self) {
        self.queue = None;
        let _ = self.wake.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A hop that was begun.
enum Begun {
    /// It stands.
    Done(Hop),
    /// It needs time.
    Waiting(Waiting),
}

/// A hop on its way.
enum Waiting {
    Tcp(tcp::Connecting),
    Unix(unix::Retrying),
}

struct Pending {
    waiting: Waiting,
    answer: Answer,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    deadline: u64,
}

/// The thread's side.
struct Service {
    jobs: Receiver<Job>,
    wake: Arc<EventFd>,
    in_flight: Arc<AtomicUsize>,
    home: Home,
}

/// What the thread does after it took what was asked.
enum Next {
    /// Waits.
    Wait,
    /// More is asked already.
    Look,
    End,
}

impl Service {
    fn run(mut self) {
        let mut pending: Vec<Pending> = Vec::new();
        loop {
            let decided = match self.take_jobs(&mut pending) {
                Next::Wait => wait(self.wake.as_fd(), &pending, longest_wait(&pending)),
                Next::Look => wait(self.wake.as_fd(), &pending, PollTimeout::ZERO),
                Next::End => break,
            };
            let _ = self.wake.read();
            let now = monotonic().unwrap_or(u64::MAX);
            let looked = std::mem::take(&mut pending).into_iter().zip(decided);
            pending = looked.filter_map(|(one, decided)| self.advance(one, decided, now)).collect();
        }
        for one in pending {
            drop(one.waiting);
            (one.answer)(Err(HopError::Stopped));
        }
    }

    fn take_jobs(&mut self, pending: &mut Vec<Pending>) -> Next {
        for _ in 0..JOBS_A_TURN {
            match self.jobs.try_recv() {
                Ok(job) => pending.extend(self.begin(job)),
                Err(TryRecvError::Empty) => return Next::Wait,
                Err(TryRecvError::Disconnected) => return Next::End,
            }
        }
        Next::Look
    }

    fn begin(&self, job: Job) -> Option<Pending> {
        let begun = match job.request {
            Request::Tcp(hop) => tcp::begin(hop, &self.home),
            Request::Unix(hop) => unix::begin(hop),
        };
        match begun {
            Ok(Begun::Waiting(waiting)) => {
                let limit = u64::try_from(CONNECT_LIMIT.as_nanos()).unwrap_or(u64::MAX);
                let deadline = monotonic().unwrap_or(0).saturating_add(limit);
                Some(Pending { waiting, answer: job.answer, deadline })
            }
            Ok(Begun::Done(hop)) => self.finish(job.answer, Ok(hop)),
            Err(error) => self.finish(job.answer, Err(error)),
        }
    }

    fn advance(&mut self, one: Pending, decided: Decided, now: u64) -> Option<Pending> {
        let begun = match (one.waiting, decided) {
            (Waiting::Tcp(connecting), Decided::Yes) => connecting.result().map(Begun::Done),
            (Waiting::Unix(retrying), _) => retrying.advance(),
            (waiting, Decided::No) => Ok(Begun::Waiting(waiting)),
        };
        match begun {
            Ok(Begun::Waiting(waiting)) if now < one.deadline => Some(Pending { waiting, ..one }),
            Ok(Begun::Waiting(waiting)) => {
                // Its exemption ends before anybody is told.
                drop(waiting);
                self.finish(one.answer, Err(HopError::TimedOut))
            }
            Ok(Begun::Done(hop)) => self.finish(one.answer, Ok(hop)),
            Err(error) => self.finish(one.answer, Err(error)),
        }
    }

    fn finish(&self, answer: Answer, result: Result<Hop, HopError>) -> Option<Pending> {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        answer(result);
        None
    }
}

/// Whether a connection attempt has come to its end.
#[derive(Clone, Copy)]
enum Decided {
    Yes,
    No,
}

fn longest_wait(pending: &[Pending]) -> PollTimeout {
    let retries = pending.iter().any(|one| matches!(one.waiting, Waiting::Unix(_)));
    match (retries, pending.is_empty()) {
        (true, _) => PollTimeout::try_from(RETRY).unwrap_or(PollTimeout::ZERO),
        (false, false) => PollTimeout::try_from(CLOCK).unwrap_or(PollTimeout::ZERO),
        (false, true) => PollTimeout::NONE,
    }
}

/// Until a connection is decided, somebody asks, or it is time to look at the clock. One answer for each that is pending.
fn wait(wake: BorrowedFd<'_>, pending: &[Pending], longest: PollTimeout) -> Vec<Decided> {
    let mut waits = vec![PollFd::new(wake, PollFlags::POLLIN)];
    for one in pending {
        waits.push(match &one.waiting {
            Waiting::Tcp(connecting) => PollFd::new(connecting.socket(), PollFlags::POLLOUT),
            // Nothing to wait for but time; the wake-up in its place keeps the order.
            Waiting::Unix(_) => PollFd::new(wake, PollFlags::empty()),
        });
    }
    // An interrupted or failed wait is a turn too early, no more.
    let _ = poll(&mut waits, longest);
    let decided = |wait: &PollFd<'_>| if wait.any().unwrap_or(false) { Decided::Yes } else { Decided::No };
    waits.iter().skip(1).map(decided).collect()
}

/// `SO_COOKIE` of a socket.
fn cookie(socket: &OwnedFd) -> io::Result<SocketCookie> {
    let (mut value, mut length) = (0u64, 8 as libc::socklen_t);
    let (value_at, length_at) = ((&raw mut value).cast(), &raw mut length);
    // SAFETY: the kernel writes at most `length` bytes to `value`.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_COOKIE, value_at, length_at) };
    if result == 0 { Ok(SocketCookie(value)) } else { Err(io::Error::last_os_error()) }
}

fn begin_error(what: &'static str) -> impl Fn(io::Error) -> HopError {
    move |source| HopError::Begin { what, source }
}
