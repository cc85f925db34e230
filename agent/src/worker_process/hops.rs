//! Hops to servers: asked of the kernel process, which alone may open them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use model::id::SocketCookie;
use model::mediation::Listener;
use model::time::BootTime;
use proxy::{Hop, HopError, HopRequest, HopStream};
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::readable;
use crate::clock;
use crate::link::Link;
use crate::worker_link::{FromSteward, HopAnswer, HopAsk, HopEnd, HopRefusal, ListenerKind, PULSE_LIMIT};

/// Hops that may be asked for at once; the steward's own limit.
const WAITING_MAX: usize = 1024;

type Answer = Result<Hop, HopError>;

/// The worker's line to whoever opens hops.
pub(super) struct Hops(Rc<Inner>);

/// When whoever opens hops was heard of.
#[derive(Clone)]
pub(super) struct Pulse(Rc<Cell<BootTime>>);

impl Pulse {
    fn now() -> Self {
        Self(Rc::new(Cell::new(clock::boot())))
    }

    /// Whether connections can be served: where the kernel process hangs, they would wait for their hop for ever.
    pub(super) fn is_felt(&self) -> bool {
        u128::from(clock::boot().nanos_since(self.0.get())) < PULSE_LIMIT.as_nanos()
    }
}

struct Inner {
    link: AsyncFd<Link>,
    pulse: Pulse,
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Answer>>>,
}

impl Hops {
    /// Takes answers from now on; must run inside of a `LocalSet`.
    pub(super) fn start(link: Link) -> Result<Self> {
        let link = readable(link).context("the line for hops cannot be polled")?;
        let inner = Rc::new(Inner { link, pulse: Pulse::now(), next: Cell::new(0), waiting: RefCell::default() });
        spawn_local(take_answers(Rc::clone(&inner)));
        Ok(Self(inner))
    }

    /// The pulse of whoever opens hops.
    pub(super) fn pulse(&self) -> Pulse {
        self.0.pulse.clone()
    }
}

impl proxy::Hops for Hops {
    async fn open(&self, request: HopRequest<'_>) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let id = self.0.next.get();
        self.0.next.set(id + 1);
        let kind = match request.listener {
            Listener::Steered => ListenerKind::Steered,
            Listener::Plain => ListenerKind::Plain,
            Listener::UnixSocket => ListenerKind::UnixSocket,
        };
        let ask = HopAsk { id, database: request.database.0, kind, unread: request.unread };
        {
            let mut waiting = self.0.waiting.borrow_mut();
            if waiting.len() >= WAITING_MAX {
                return Err(HopError::Forbidden("too many connections to the database are being opened"));
            }
            waiting.insert(id, sender);
        }
        if self.0.link.get_ref().send(&ask, &[], &[request.socket]).is_err() {
            self.0.waiting.borrow_mut().remove(&id);
            return Err(HopError::NoAnswer);
        }
        receiver.await.unwrap_or(Err(HopError::NoAnswer))
    }
}

/// Hands answers to those who wait; ends when the kernel process is gone.
async fn take_answers(inner: Rc<Inner>) {
    while let Ok(mut guard) = inner.link.readable().await {
        if !inner.link.get_ref().is_readable() {
            guard.clear_ready();
            continue;
        }
        let Ok(Some(packet)) = inner.link.get_ref().receive::<FromSteward>() else { break };
        inner.pulse.0.set(clock::boot());
        let FromSteward::Answer(HopAnswer { id, outcome }) = packet.message else { continue };
        let waiting = inner.waiting.borrow_mut().remove(&id);
        if let Some(waiting) = waiting {
            // A client that has gone away takes nothing: the hop is closed with the answer.
            let _ = waiting.send(answer(outcome, packet.descriptors));
        }
    }
    inner.waiting.borrow_mut().clear();
}

fn answer(outcome: Result<HopEnd, HopRefusal>, descriptors: Vec<OwnedFd>) -> Answer {
    let end = match outcome {
        Ok(end) => end,
        Err(HopRefusal::System(errno)) => return Err(HopError::Unreachable(io::Error::from_raw_os_error(errno))),
        Err(HopRefusal::NoWay) => return Err(HopError::Forbidden("there is no such way to the database")),
        Err(HopRefusal::Busy) => return Err(HopError::Forbidden("too many connections are being opened")),
    };
    let Some(socket) = descriptors.into_iter().next() else { return Err(HopError::NoAnswer) };
    Ok(Hop { stream: stream(socket, end.source.is_some()), cookie: SocketCookie(end.cookie) })
}

fn stream(socket: OwnedFd, is_tcp: bool) -> HopStream {
    if is_tcp { HopStream::Tcp(TcpStream::from(socket)) } else { HopStream::Unix(UnixStream::from(socket)) }
}
