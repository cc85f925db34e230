//! What the kernel process and a proxy worker say to each other: on the worker's standard input what it shall do, on a
//! second pair the hops to servers that it asks for.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::config::proxy::{Guard, Proxy};

/// Version of the messages: both ends are the same binary, and check it.
pub(crate) const VERSION: u32 = 1;

/// To a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// First message. Descriptors: the ring (three), the socket for hops, the line to the core; the worker's own
    /// bulletin, and those of all workers in their order, to be read.
    Hello(Box<WorkerHello>),
    /// The heartbeats of a database's steering. One descriptor. Steered listeners that follow belong to it.
    Heartbeats { database: u16 },
    /// The steering that was announced last is in place: listeners of those before it get no connections any more.
    Replaced { database: u16 },
    /// Accept here. One descriptor: the listening socket; only the worker holds it from now on.
    Listen { database: u16, kind: ListenerKind, slot: Option<Slot> },
    /// The server's access rules, as texts (the first is the main file, the others what it includes), and the addresses
    /// of its interfaces with their masks. Too long for a packet: one descriptor, a file in memory with this as JSON.
    Access { database: u16 },
    /// The access rules cannot be read.
    NoAccess { database: u16 },
    /// A certificate. The packet's record is the chain and the key, PEM, one behind the other. Where clients are asked for
    /// certificates, one descriptor: a file in memory with [`ClientAuthorityTexts`] as JSON.
    Certificate { database: u16, chain_bytes: usize },
    /// The policies of a database. Too long for a packet: one descriptor, a file in memory with [`PolicyTexts`] as JSON.
    Policies { database: u16 },
    /// The service account of a database, whose name is in the configuration. The packet's record is what proves it.
    ServiceAccount { database: u16, credential: CredentialKind },
    /// End: sessions may go on for the configured time.
    Drain,
}

/// The first message's content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkerHello {
    pub(crate) version: u32,
    /// Which worker, from 0.
    pub(crate) number: u32,
    /// Bounds; those of all workers together are divided already.
    pub(crate) proxy: Proxy,
    /// Longest message that is recorded whole.
    pub(crate) message_bytes_max: u32,
    pub(crate) databases: Vec<GuardedDatabase>,
}

/// What [`ToWorker::Access`] carries.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AccessTexts {
    pub(crate) major: u16,
    /// Name and text, the main file first.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// Addresses of the server's interfaces with their masks.
    pub(crate) interfaces: Vec<(IpAddr, IpAddr)>,
    /// No connection would be decided otherwise through a hop.
    pub(crate) is_surveyed: bool,
}

/// Whose certificates clients may show.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClientAuthorityTexts {
    /// PEM.
    pub(crate) authorities: Vec<u8>,
    /// PEM; empty: revocation is not checked.
    pub(crate) revocations: Vec<u8>,
}

/// What a record that proves a service account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CredentialKind {
    /// Empty.
    Nothing,
    /// A password.
    Password,
    /// A chain and its key, PEM, one behind the other.
    Certificate { chain_bytes: usize },
}

/// What [`ToWorker::Policies`] carries: policies that the kernel process has compiled once already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PolicyTexts {
    /// Number of the set.
    pub(crate) epoch: u64,
    /// Name and text.
    pub(crate) files: Vec<(String, String)>,
    /// Keys of tokens, by the name of the masking file that wants them.
    pub(crate) keys: Vec<(String, KeyBytes)>,
}

/// A key on its way to a worker.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyBytes(pub(crate) Vec<u8>);

impl std::fmt::Debug for KeyBytes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("KeyBytes(..)")
    }
}

/// How often whoever opens hops shows that it is there.
pub(crate) const PULSE: Duration = Duration::from_millis(250);
/// Without a pulse for so long a worker takes no more connections: it could not serve them.
pub(crate) const PULSE_LIMIT: Duration = Duration::from_secs(2);

/// A database with a proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GuardedDatabase {
    pub(crate) id: u16,
    pub(crate) name: String,
    pub(crate) port: Option<u16>,
    pub(crate) guard: Guard,
}

/// How clients come to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ListenerKind {
    Steered,
    Plain,
    UnixSocket,
}

/// A listener's place in the kernel's map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) number: u32,
    pub(crate) is_v6: bool,
}

/// From a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// It is there and takes listeners.
    Ready,
    /// Something that an operator should read.
    Warning(String),
}

/// Asks for a hop. One descriptor: the client's accepted socket, which tells who the client is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HopAsk {
    pub(crate) id: u64,
    pub(crate) database: u16,
    pub(crate) kind: ListenerKind,
    /// Ciphertext is going to be relayed unread: the kernel witness shall read this session.
    pub(crate) unread: bool,
}

/// From whoever opens hops.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromSteward {
    /// To what a worker asked.
    Answer(HopAnswer),
    /// Hops can be opened: several times a second.
    Pulse,
}

/// The answer. One descriptor if there is a hop.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HopAnswer {
    pub(crate) id: u64,
    pub(crate) outcome: Result<HopEnd, HopRefusal>,
}

/// The socket of a hop.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct HopEnd {
    pub(crate) cookie: u64,
    /// The address that the server sees; `None` for a Unix socket.
    pub(crate) source: Option<SocketAddr>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum HopRefusal {
    /// The server: `errno`.
    System(i32),
    /// There is no such database, or not this way to it.
    NoWay,
    /// Too many are being opened.
    Busy,
}

/// A text that is too long for a packet, in a file without a name.
pub(crate) fn in_memory(bytes: &[u8]) -> Result<OwnedFd> {
    use std::io::{Seek as _, Write as _};
    let memory = memfd_create(c"warder-texts", MFdFlags::MFD_CLOEXEC).context("there is no memory")?;
    let mut file = File::from(memory);
    file.write_all(bytes).context("there is no memory")?;
    file.rewind().context("a file in memory cannot be rewound")?;
    Ok(file.into())
}
