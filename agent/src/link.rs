//! The line between the kernel process and the core: an inherited `SOCK_SEQPACKET` pair, one message a packet.
//!
//! A message is a line of JSON; a found session's raw record follows it. Descriptors travel with the first message.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use export::config::ExportConfig;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, sendmsg,
    setsockopt, socketpair, sockopt,
};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::config::identity::Identity;
use crate::config::login::Minted;
use crate::config::proxy::Mode;
use crate::config::{Journal, Redaction};
use crate::control::SteerVerb;

/// Version of the messages: both ends are the same binary, and check it.
pub(crate) const VERSION: u32 = 1;
/// Largest packet: a record of 2 KiB, or the statistics of all programs, and room to spare.
const PACKET_BYTES_MAX: usize = 64 * 1024;
/// How long a message may wait for a core that does not read.
const SEND_PATIENCE: TimeVal = TimeVal::new(5, 0);
/// Pause before a message that found no room is tried again.
const ROOM_PAUSE: Duration = Duration::from_millis(2);
/// Descriptors of the first message: to a core ring, four maps, control socket, exec socket, texts; to a worker six, and one
/// log for each of 32 workers.
const DESCRIPTORS_MAX: usize = 48;

/// What the kernel process says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToCore {
    /// First message; carries the descriptors. The last is a file in memory with [`CoreTexts`] as JSON: they are too long
    /// for a packet.
    Hello(Box<Hello>),
    /// A database is going to be observed; answered with [`ToKernel::Named`].
    Database { id: u16, name: String },
    /// A record about a session that an iterator found; its bytes follow.
    Found { origin: FoundOrigin, title: Option<(String, String)> },
    /// A probe was attached or dropped.
    Probe { attachment: u32, function: String, attached: bool },
    /// Run time of the programs within sampled windows.
    Programs(Vec<(String, u64, u64)>),
    /// A scan has ended.
    Scanned { requested: bool, micros: u64, error: Option<String> },
    /// Addresses of this host, in all network namespaces that were scanned.
    LocalAddresses(Vec<std::net::IpAddr>),
    /// The first scan has ended and the proxy does what the configuration wants, or has said why not: people may ask.
    Settled,
    /// A proxy worker has this ring. Three descriptors.
    WorkerRing,
    /// A proxy worker asks here who acts on its connections. One descriptor.
    WorkerLine,
    /// Connections of a database are meant to go through the proxy from now on, or not any more.
    Guarded { database: u16, guard: Option<Guarding> },
    /// How steering is, for metrics and for people: whenever it changes, and every few seconds.
    Steering(Vec<SteeringState>),
    /// What [`ToKernel::Describe`] asks for; a descriptor of the executable, where it could be opened.
    Described { request: u64, cgroup: Option<String> },
    /// The policies of a database, now and whenever they change. One descriptor: a file in memory with
    /// [`PolicyTexts`](crate::worker_link::PolicyTexts) as JSON.
    Policies(PolicyPlace),
    /// The answer to [`ToKernel::OpenOwn`]. With a hop: its descriptor, and the password behind the message.
    OwnHop { request: u64, outcome: Result<OwnHop, String> },
    /// The outcome of [`ToKernel::Enclose`]: the number of the control group.
    Enclosed { request: u64, outcome: Result<u64, String> },
    /// No process is left in these control groups of [`ToKernel::Enclose`].
    Emptied(Vec<u64>),
    /// The outcome of [`ToKernel::Steer`].
    Steered { request: u64, outcome: Result<Vec<SteeringState>, String> },
    /// Something happened to the proxy that belongs into the record.
    Mediation(ProxyEvent),
    /// The agent stops on request: write it down and end.
    Stop,
}

/// A database that has policies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PolicyPlace {
    pub(crate) database: u16,
    pub(crate) name: String,
    pub(crate) environment: String,
    /// Minutes.
    pub(crate) utc_offset: i16,
    pub(crate) mode: Mode,
}

/// A connection of the core's own to a database.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OwnHop {
    /// Of its socket here: by it the witness's session is known as the agent's own.
    pub(crate) cookie: u64,
    /// Role to log in as.
    pub(crate) user: String,
}

/// What the core connects to a database for: each purpose has a login of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// To read what it has.
    Catalogue,
    /// To make roles, and to take them away.
    Minting,
    /// To end what a session of a service account still does whose access has ended.
    Ending,
}

/// How a database is guarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Guarding {
    /// TCP connections are steered: boot time, nanoseconds.
    pub(crate) since: u64,
    /// The Unix socket is taken over: boot time, nanoseconds.
    pub(crate) socket_since: u64,
    /// Ports that are steered: inode of the network namespace, port.
    pub(crate) steered: Vec<(u32, u16)>,
    /// Spans in which connections passed because no worker lived, boot time in nanoseconds; `None`: they still do.
    pub(crate) failed_open: Vec<(u64, Option<u64>)>,
    /// Networks that may connect directly: name, address, length of the prefix.
    pub(crate) direct: Vec<(String, std::net::IpAddr, u8)>,
}

/// What happened to the proxy, in words for the record and the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ProxyEvent {
    /// A worker has ended by itself and is started again.
    WorkerEnded { worker: u32, how: String },
    /// TCP connections are steered from now on, or not any more.
    Steered { database: u16, is_on: bool },
    /// The Unix socket is taken over from now on, or not any more.
    SocketTaken { database: u16, is_taken: bool },
    /// The database has made its Unix socket anew; it is taken over again.
    SocketRetaken { database: u16, uncovered_nanos: u64 },
    /// Policies decide from now on: number of the set, policies in it.
    PoliciesLoaded { database: u16, epoch: u64, policies: usize },
    /// Policies have changed and cannot be used; those before them go on.
    PoliciesRefused { database: u16, why: String },
    /// The kernel does not steer any more although it should.
    SteeringLost { database: u16, why: String },
}

/// How steering of one database is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SteeringState {
    pub(crate) database: String,
    /// TCP connections are steered.
    pub(crate) steered: bool,
    /// The Unix socket is taken over.
    pub(crate) socket_taken: bool,
    /// Without a live worker connections are refused.
    pub(crate) fail_closed: bool,
    /// Listeners that take connections now, and all.
    pub(crate) listeners_live: u32,
    pub(crate) listeners: u32,
    /// Workers that have one of these.
    pub(crate) workers_live: u32,
    /// Age of the oldest heartbeat, nanoseconds.
    pub(crate) heartbeat_age: Option<u64>,
    /// Of each worker.
    pub(crate) heartbeats: Vec<(u32, u64)>,
    /// Connections since the steering was made.
    pub(crate) connections: SteeringCounts,
    /// What is done with local processes that go past the proxy; `None`: nothing.
    pub(crate) refusal: Option<RefusalState>,
    /// What an operator should know: differences, warnings.
    pub(crate) remarks: Vec<String>,
}

/// Whether local processes are refused that go past the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusalState {
    /// Folder of the control group.
    pub(crate) cgroup: String,
    /// The programs are attached to it.
    pub(crate) attached: bool,
    /// They refuse now: somebody serves who goes through the proxy.
    pub(crate) refusing: bool,
}

/// What became of connections to a steered port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SteeringCounts {
    pub(crate) steered: u64,
    pub(crate) hop: u64,
    pub(crate) direct: u64,
    pub(crate) passed_open: u64,
    pub(crate) dropped_closed: u64,
}

/// What the core says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToKernel {
    /// The name of a database is known: its sessions may come.
    Named,
    /// Look for listeners and sessions now.
    Scan {
        /// Also describe sessions that the kernel programs know: the core lost events.
        everything: bool,
        /// An operator waits for the answer.
        requested: bool,
    },
    /// These clients' connections to a taken-over Unix socket have ended.
    ForgetFronts(Vec<u64>),
    /// Look at a client's process; answered with [`ToCore::Described`]. Its start is boot time, nanoseconds.
    Describe { request: u64, pid: u32, start: u64 },
    /// Give a process a control group of its own, for the tree that it begins; answered with [`ToCore::Enclosed`]. One
    /// descriptor: the process.
    Enclose { request: u64 },
    /// Connect to a database for the core itself; answered with [`ToCore::OwnHop`].
    OpenOwn { request: u64, database: u16, purpose: Purpose },
    /// Steer, stop steering, or tell how steering is; answered with [`ToCore::Steered`].
    Steer { request: u64, what: SteerVerb, database: Option<String> },
}

/// Where a found session comes from.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum FoundOrigin {
    /// It is older than the agent.
    Start,
    /// Its opening was missed.
    Missed,
}

/// What the core needs to begin.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: u32,
    /// Another core has read from the ring before.
    pub(crate) replaces: bool,
    pub(crate) level: String,
    pub(crate) kernel: String,
    pub(crate) host: u128,
    pub(crate) boot: u128,
    pub(crate) databases: Vec<(u16, String)>,
    /// Databases whose requests are recorded before they are forwarded.
    pub(crate) announced: Vec<u16>,
    /// Databases whose catalogue is read, and how often, in seconds.
    pub(crate) catalogues: Vec<(u16, u64)>,
    pub(crate) journal: Journal,
    pub(crate) metrics_listen: Option<std::net::SocketAddr>,
    pub(crate) redaction: Redaction,
    pub(crate) exports: Vec<ExportConfig>,
    pub(crate) viewers: u32,
    pub(crate) argv: ArgvMode,
    pub(crate) ring_bytes: u32,
    pub(crate) sessions_max: u32,
}

/// What of the configuration is too long for a packet.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CoreTexts {
    pub(crate) identity: Identity,
    /// Databases whose sessions get roles of their own.
    pub(crate) minting: Vec<(u16, Minted)>,
    /// Databases whose sessions share the login of a service account that the core can use.
    pub(crate) accounts: Vec<u16>,
}

/// How command lines are shown.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum ArgvMode {
    None,
    Redacted,
    Full,
}

/// One end.
#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

/// A packet as it arrived.
#[derive(Debug)]
pub(crate) struct Packet<M> {
    pub(crate) message: M,
    /// Bytes after the message.
    pub(crate) record: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Link {
    /// Both ends; the second is for the child.
    pub(crate) fn pair() -> Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .context("no socket pair for the core process")?;
        // A core that hangs must not hang the kernel process with it.
        setsockopt(&ours, sockopt::SendTimeout, &SEND_PATIENCE).context("no time limit for the core process")?;
        Ok((Self(ours), theirs))
    }

    /// The end that was passed as a descriptor.
    pub(crate) const fn passed(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// The child's end: its standard input.
    pub(crate) fn inherited() -> Result<Self> {
        let descriptor = std::io::stdin().as_fd().try_clone_to_owned().context("no inherited socket")?;
        let kind = nix::sys::socket::getsockopt(&descriptor, sockopt::SockType);
        ensure!(kind == Ok(SockType::SeqPacket), "this command is started by `warder run`, not by hand");
        Ok(Self(descriptor))
    }

    pub(crate) fn send(&self, message: &impl Serialize, record: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        self.send_with(message, record, descriptors, MsgFlags::empty())
    }

    /// Sends now or not at all.
    pub(crate) fn try_send(
        &self,
        message: &impl Serialize,
        record: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<()> {
        self.send_with(message, record, descriptors, MsgFlags::MSG_DONTWAIT)
    }

    /// Sends as soon as there is room: many may speak at once, and the other end reads one after the other.
    pub(crate) async fn send_within(&self, patience: Duration, message: &impl Serialize, record: &[u8]) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            match self.try_send(message, record, &[]) {
                Err(error) if is_full(&error) && Instant::now() < deadline => sleep(ROOM_PAUSE).await,
                sent => return sent,
            }
        }
    }

    fn send_with(
        &self,
        message: &impl Serialize,
        record: &[u8],
        descriptors: &[BorrowedFd<'_>],
        flags: MsgFlags,
    ) -> Result<()> {
        let mut line = serde_json::to_vec(message).context("a message could not be encoded")?;
        line.push(b'\n');
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
        let parts = [IoSlice::new(&line), IoSlice::new(record)];
        sendmsg::<()>(self.0.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL | flags, None)
            .context("the other process of Warder has ended")?;
        Ok(())
    }

    /// Whether [`Link::receive`] would return at once.
    pub(crate) fn is_readable(&self) -> bool {
        let mut waiting = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// The next message; `None` when the other end is closed.
    pub(crate) fn receive<M: for<'a> Deserialize<'a>>(&self) -> Result<Option<Packet<M>>> {
        let length = recv(self.0.as_raw_fd(), &mut [], MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC)
            .context("the line to the other process of Warder is broken")?;
        ensure!(length <= PACKET_BYTES_MAX, "a message of {length} bytes is too long");
        // What comes behind a message may be a token: no copy of it stays. Only as much as there is: a whole buffer is
        // cleared twice for each of hundreds of logins.
        let mut buffer = Zeroizing::new(vec![0; length]);
        let mut control = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut control), flags)
            .context("the line to the other process of Warder is broken")?;
        let descriptors = received
            .cmsgs()
            .context("descriptors did not arrive whole")?
            .filter_map(|message| match message {
                ControlMessageOwned::ScmRights(raw) => Some(raw),
                _ => None,
            })
            .flatten()
            .map(own)
            .collect();
        if received.bytes == 0 {
            return Ok(None);
        }
        let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else { bail!("a message has no end") };
        let record = buffer.split_off(end + 1);
        let message = serde_json::from_slice(&buffer).context("a message is not understood")?;
        Ok(Some(Packet { message, record, descriptors }))
    }
}

/// Whether a message did not find room in time.
pub(crate) fn is_full(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Errno>() == Some(&Errno::EAGAIN)
}

#[expect(unsafe_code, reason = "received descriptors arrive as plain numbers")]
fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel installed this descriptor for us with the message just now; nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
