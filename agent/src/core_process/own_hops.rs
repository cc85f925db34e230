//! Connections of the core's own to databases: asked of the kernel process, which alone may open them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use nix::sys::socket::{AddressFamily, SockaddrLike as _, SockaddrStorage, getsockname};
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::pipeline::Pipeline;
use crate::link::{Link, OwnHop, Purpose, ToKernel};

/// How long the kernel process may take to connect; its own limit is shorter.
const PATIENCE: Duration = Duration::from_secs(15);

/// A connection, and who logs in on it.
pub(super) struct OwnLogin {
    pub(super) socket: OwnedFd,
    pub(super) user: String,
    pub(super) password: Zeroizing<Vec<u8>>,
}

impl OwnLogin {
    /// Whether the way to the server is a Unix socket.
    pub(super) fn is_unix(&self) -> Result<bool> {
        let address = getsockname::<SockaddrStorage>(self.socket.as_raw_fd());
        Ok(address.context("the connection has no address")?.family() == Some(AddressFamily::Unix))
    }
}

/// Who asks, and for what.
pub(super) struct OwnHops {
    pipeline: Rc<RefCell<Pipeline>>,
    link: Rc<AsyncFd<Link>>,
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, Waiting>>,
}

struct Waiting {
    purpose: Purpose,
    answer: oneshot::Sender<Result<OwnLogin, String>>,
}

impl OwnHops {
    pub(super) fn new(pipeline: Rc<RefCell<Pipeline>>, link: Rc<AsyncFd<Link>>) -> Self {
        Self { pipeline, link, next: Cell::new(0), waiting: RefCell::default() }
    }

    /// A connection to a database, not logged in yet.
    pub(super) async fn open(&self, database: u16, purpose: Purpose) -> Result<OwnLogin> {
        let request = self.next.get();
        self.next.set(request + 1);
        let (answer, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(request, Waiting { purpose, answer });
        self.link.get_ref().send(&ToKernel::OpenOwn { request, database, purpose }, &[], &[])?;
        let login = timeout(PATIENCE, receiver).await;
        self.waiting.borrow_mut().remove(&request);
        let login =
            login.context("the kernel process does not answer")?.context("the kernel process has not answered")?;
        login.map_err(|problem| anyhow!("no connection: {problem}"))
    }

    /// The kernel process has answered.
    pub(super) fn connected(
        &self,
        request: u64,
        outcome: Result<OwnHop, String>,
        password: Vec<u8>,
        descriptors: Vec<OwnedFd>,
    ) {
        let password = Zeroizing::new(password);
        let Some(waiting) = self.waiting.borrow_mut().remove(&request) else { return };
        let login = outcome.and_then(|hop| {
            self.pipeline.borrow_mut().own_connection(hop.cookie, waiting.purpose);
            let socket = descriptors.into_iter().next().ok_or("a connection came without its descriptor")?;
            Ok(OwnLogin { socket, user: hop.user, password })
        });
        // Whoever has given up takes nothing: the connection is closed.
        let _ = waiting.answer.send(login);
    }
}
