//! The line between the kernel process and the core: an inherited `SOCK_SEQPACKET` pair, one message a packet.
//!
//! A message is a line of JSON; a found session's raw record follows it. Descriptors travel with the first message.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result, bail, ensure};
use export::config::ExportConfig;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, setsockopt,
    socketpair, sockopt,
};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};

use crate::config::{Journal, Redaction};

/// Version of the messages: both ends are the same binary, and check it.
pub(crate) const VERSION: u32 = 1;
/// Largest packet: a record of 2 KiB, or the statistics of all programs, and room to spare.
const PACKET_BYTES_MAX: usize = 64 * 1024;
/// How long a message may wait for a core that does not read.
const SEND_PATIENCE: TimeVal = TimeVal::new(5, 0);
/// Descriptors of the first message: ring, four maps, control socket.
const DESCRIPTORS_MAX: usize = 8;

/// What the kernel process says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToCore {
    /// First message; carries the descriptors.
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
    /// The agent stops on request: write it down and end.
    Stop,
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
    pub(crate) journal: Journal,
    pub(crate) metrics_listen: Option<std::net::SocketAddr>,
    pub(crate) redaction: Redaction,
    pub(crate) exports: Vec<ExportConfig>,
    pub(crate) viewers: u32,
    pub(crate) argv: ArgvMode,
    pub(crate) ring_bytes: u32,
    pub(crate) sessions_max: u32,
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

    /// The child's end: its standard input.
    pub(crate) fn inherited() -> Result<Self> {
        let descriptor = std::io::stdin().as_fd().try_clone_to_owned().context("no inherited socket")?;
        let kind = nix::sys::socket::getsockopt(&descriptor, sockopt::SockType);
        ensure!(kind == Ok(SockType::SeqPacket), "this command is started by `warder run`, not by hand");
        Ok(Self(descriptor))
    }

    pub(crate) fn send(&self, message: &impl Serialize, record: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let mut line = serde_json::to_vec(message).context("a message could not be encoded")?;
        line.push(b'\n');
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
        let parts = [IoSlice::new(&line), IoSlice::new(record)];
        sendmsg::<()>(self.0.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None)
            .context("the other process of Warder has ended")?;
        Ok(())
    }

    /// The next message; `None` when the other end is closed.
    pub(crate) fn receive<M: for<'a> Deserialize<'a>>(&self) -> Result<Option<Packet<M>>> {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
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
        let length = received.bytes;
        if length == 0 {
            return Ok(None);
        }
        buffer.truncate(length);
        let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else { bail!("a message has no end") };
        let record = buffer.split_off(end + 1);
        let message = serde_json::from_slice(&buffer).context("a message is not understood")?;
        Ok(Some(Packet { message, record, descriptors }))
    }
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
