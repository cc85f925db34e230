//! What the kernel witness says, in user-space words. Content travels beside it, as [`crate::wire::Input`].

use std::net::SocketAddr;
use std::sync::Arc;

use crate::id::{DatabaseId, SocketCookie};
use crate::mediation::Leg;
use crate::process::{Process, ProcessKey};
use crate::session::{Encryption, Ledger, Origin, Transport};
use crate::time::BootTime;

/// One event of the kernel witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// A database server's socket was accepted (or found by an iterator).
    Opened {
        /// The server's accepted socket: the session.
        cookie: SocketCookie,
        /// When.
        at: BootTime,
        /// Which database listener it came from.
        database: DatabaseId,
        /// Addresses.
        transport: Transport,
        /// The client's socket, where it is local and already known.
        client_cookie: Option<SocketCookie>,
        /// `SO_PEERCRED` of a Unix socket: pid and uid.
        peer_credentials: Option<(u32, u32)>,
        /// Seen live or found.
        origin: Origin,
        /// Which part of the client's way it is.
        leg: Leg,
    },
    /// A server process touched the session for the first time.
    Owned {
        /// The session.
        cookie: SocketCookie,
        /// When.
        at: BootTime,
        /// The server process.
        process: Arc<Process>,
        /// User and database from the process title, for sessions older than the agent.
        title: Option<(String, String)>,
    },
    /// A local process is the client of a session (TCP: at connect; Unix: at its first send).
    Connected {
        /// The client's own socket.
        client_cookie: SocketCookie,
        /// The session, where it is already known; otherwise `Opened` will name `client_cookie`.
        cookie: Option<SocketCookie>,
        /// When.
        at: BootTime,
        /// The client process.
        process: Arc<Process>,
    },
    /// A local process wanted to connect to a database past its proxy, and was refused.
    Refused {
        /// When.
        at: BootTime,
        /// Which database.
        database: DatabaseId,
        /// Where it wanted to connect to.
        server: SocketAddr,
        /// The process.
        process: Arc<Process>,
    },
    /// The client process of a session could not be found.
    ClientGone {
        /// The session.
        cookie: SocketCookie,
    },
    /// A process that holds a session executed another program.
    Executed {
        /// When.
        at: BootTime,
        /// The process after the exec.
        process: Arc<Process>,
    },
    /// A client process of a session forked: the child may hold the session too.
    Forked {
        /// When.
        at: BootTime,
        /// The parent.
        parent: ProcessKey,
        /// The child.
        child: ProcessKey,
    },
    /// A process that holds a session ended.
    Exited {
        /// When.
        at: BootTime,
        /// Which process.
        process: ProcessKey,
    },
    /// The session's encryption was decided by the kernel programs.
    Encrypted {
        /// The session.
        cookie: SocketCookie,
        /// What they saw.
        encryption: Encryption,
    },
    /// The current byte ledger of a session.
    Counted {
        /// The session.
        cookie: SocketCookie,
        /// Its bytes.
        ledger: Ledger,
    },
    /// The server's socket was closed.
    Closed {
        /// The session.
        cookie: SocketCookie,
        /// When.
        at: BootTime,
        /// Final byte ledger.
        ledger: Ledger,
        /// Seen live, or noticed by an iterator (then `at` is when it was noticed).
        missed: bool,
    },
    /// Events were lost between kernel and agent.
    Lost {
        /// When it was noticed.
        at: BootTime,
        /// Which kind of event (fixed set of names, see the metrics documentation).
        kind: &'static str,
        /// At which stage (`kernel`, `core`).
        stage: &'static str,
        /// How many since the last such event.
        count: u64,
    },
}
