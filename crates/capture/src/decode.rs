//! From the ABI's bytes to the model's words. Command lines are redacted here, before they go any further.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use agent_common::content::{Content, SIDE_CLIENT, Skip};
use agent_common::listener::Listening;
use agent_common::process::{
    ARGUMENTS_TRUNCATED, EXECUTABLE_DELETED, EXECUTABLE_TRUNCATED, Exited, Forked, Identified,
};
use agent_common::refusal::Refused;
use agent_common::session::{
    CHANNEL_GSS, CHANNEL_TLS, Closed, DirectionCounts, Endpoints, FAMILY_UNIX, LEG_DIRECT, LEG_FRONT, LEG_HOP, Ledger,
    Opened, RESUME_UNKNOWN,
};
use agent_common::{ABI_VERSION, Header, kind};
use model::id::{DatabaseId, SocketCookie};
use model::kernel::KernelEvent;
use model::mediation::Leg;
use model::process::{Ancestor, Arguments, Executable, Process, ProcessKey, ProcessSource};
use model::session::{self, Encryption, Origin, Transport};
use model::time::BootTime;
use model::wire::{Input, Side};
use redact::ArgvPolicy;

/// One record of the ring, decoded.
#[derive(Debug)]
pub enum Item<'a> {
    /// Everything but content.
    Event(KernelEvent),
    /// Plaintext of a session.
    Content(ContentRecord<'a>),
    /// The end of a session: the event, and how far its streams were told.
    Closed {
        /// [`KernelEvent::Closed`]
        event: KernelEvent,
        /// Ends of the streams.
        told: Told,
        /// What the session's encryption was in the end.
        encryption: Encryption,
    },
    /// A process listens on a TCP port: it may be a database.
    Listening {
        /// The process.
        pid: u32,
        /// The port.
        port: u16,
    },
}

/// Content of one direction of one session.
#[derive(Clone, Copy, Debug)]
pub struct ContentRecord<'a> {
    /// The session.
    pub cookie: SocketCookie,
    /// When the server read or wrote it.
    pub at: BootTime,
    /// Who sent it.
    pub side: Side,
    /// From here on this direction is not understood in the kernel.
    pub desynchronised: bool,
    /// What the kernel programs knew of the session's encryption.
    pub encryption: Encryption,
    offset: u64,
    resume_in: Option<u64>,
    skips: [Skip; 2],
    bytes: &'a [u8],
}

/// How far the two plaintext streams of a session were told when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    client: u64,
    server: u64,
}

impl Told {
    /// Bytes of a direction that never arrived, if `position` is how far they did; 0 where that is unknown.
    #[must_use]
    pub fn missing(self, side: Side, position: Position) -> u64 {
        let told = if side == Side::Client { self.client } else { self.server };
        position.0.map_or(0, |position| told.saturating_sub(position))
    }
}

/// Where in its plaintext stream a direction is expected to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(Option<u64>);

impl Position {
    /// Nothing has been seen, and nothing has been missed.
    pub const START: Self = Self(Some(0));
    /// The stream was read by another core before: where it continues is seen with the first record.
    pub const UNKNOWN: Self = Self(None);
}

impl ContentRecord<'_> {
    /// Gives the record's pieces in stream order; first a [`Input::Lost`] where `position` shows a jump.
    pub fn inputs(&self, position: &mut Position, sink: &mut dyn FnMut(Input<'_>)) {
        match position.0 {
            Some(expected) if expected == self.offset => {}
            Some(expected) => {
                sink(Input::Lost { bytes: self.offset.checked_sub(expected), resume_in: self.resume_in });
            }
            None if self.resume_in == Some(0) => {}
            None => sink(Input::Lost { bytes: None, resume_in: self.resume_in }),
        }
        let mut next = self.offset;
        for skip in self.skips.iter().filter(|skip| skip.bytes > 0) {
            sink(Input::Skipped { kind: skip.message, bytes: skip.bytes, messages: u64::from(skip.messages) });
            next += skip.bytes;
        }
        if !self.bytes.is_empty() {
            sink(Input::Bytes(self.bytes));
            next += self.bytes.len() as u64;
        }
        position.0 = Some(next);
    }

    /// Whether this is the first content of its direction.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.offset == 0
    }
}

/// Decodes records; remembers the processes it has named so that equal ones share their memory.
pub struct Decoder {
    argv: ArgvPolicy,
    processes: HashMap<ProcessKey, Arc<Process>>,
    executables: Shared<Executable>,
    arguments: Shared<Arguments>,
    ancestors: Shared<[Ancestor]>,
}

/// Values that are equal for many processes, held once.
struct Shared<T: ?Sized>(HashSet<Arc<T>>);

impl<T: ?Sized + Eq + Hash> Shared<T> {
    fn get(&mut self, value: Arc<T>) -> Arc<T> {
        if let Some(known) = self.0.get(&value) {
            return Arc::clone(known);
        }
        if self.0.len() >= PROCESSES_MAX {
            self.0.clear();
        }
        self.0.insert(Arc::clone(&value));
        value
    }
}

/// Processes that are remembered: beyond it the memory is cleared, which costs only sharing.
const PROCESSES_MAX: usize = 4096;

impl Decoder {
    /// A decoder that shows command lines as `argv` says.
    #[must_use]
    pub fn new(argv: ArgvPolicy) -> Self {
        Self {
            argv,
            processes: HashMap::new(),
            executables: Shared(HashSet::new()),
            arguments: Shared(HashSet::new()),
            ancestors: Shared(HashSet::new()),
        }
    }

    /// Decodes one record; `None` for a kind or size that this version does not know.
    pub fn decode<'a>(&mut self, record: &'a [u8]) -> Option<Item<'a>> {
        let header: Header = read(record)?;
        if header.abi != ABI_VERSION {
            return None;
        }
        let at = BootTime(header.at);
        Some(match header.kind {
            kind::CONTENT => Item::Content(content(record)?),
            kind::OPENED => Item::Event(opened(&read(record)?, Origin::Opened)?),
            kind::OWNED => {
                let process = self.process(&read(record)?, ProcessSource::Kernel);
                let cookie = SocketCookie(read::<Identified>(record)?.cookie);
                Item::Event(KernelEvent::Owned { cookie, at, process, title: None })
            }
            kind::CONNECTED => Item::Event(self.connected(&read(record)?, ProcessSource::Kernel)),
            kind::EXECUTED => {
                Item::Event(KernelEvent::Executed { at, process: self.process(&read(record)?, ProcessSource::Kernel) })
            }
            kind::FORKED => Item::Event(forked(&read(record)?)),
            kind::EXITED => Item::Event(exited(&read(record)?)),
            kind::CLOSED => {
                let closed: Closed = read(record)?;
                let cookie = SocketCookie(closed.cookie);
                let event = KernelEvent::Closed { cookie, at, ledger: ledger(&closed.ledger), missed: false };
                let told = Told { client: closed.told_client, server: closed.told_server };
                Item::Closed { event, told, encryption: encryption(closed.ledger.channel) }
            }
            kind::REFUSED => Item::Event(self.refused(&read(record)?)?),
            kind::LISTENING => {
                let listening: Listening = read(record)?;
                Item::Listening { pid: listening.pid, port: listening.listener.port }
            }
            _ => return None,
        })
    }

    /// A record that an iterator found: the same form, made in user space from `/proc`.
    pub fn decode_found(
        &mut self,
        record: &[u8],
        origin: Origin,
        title: Option<(String, String)>,
    ) -> Option<KernelEvent> {
        let header: Header = read(record)?;
        Some(match header.kind {
            kind::OPENED => opened(&read(record)?, origin)?,
            kind::OWNED => {
                let identified: Identified = read(record)?;
                let process = self.process(&identified, ProcessSource::Proc);
                KernelEvent::Owned { cookie: SocketCookie(identified.cookie), at: BootTime(header.at), process, title }
            }
            kind::CONNECTED => self.connected(&read(record)?, ProcessSource::Proc),
            _ => return None,
        })
    }

    fn connected(&mut self, identified: &Identified, source: ProcessSource) -> KernelEvent {
        KernelEvent::Connected {
            client_cookie: SocketCookie(identified.cookie),
            cookie: (identified.other_cookie != 0).then_some(SocketCookie(identified.other_cookie)),
            at: BootTime(identified.header.at),
            process: self.process(identified, source),
        }
    }

    fn refused(&mut self, refused: &Refused) -> Option<KernelEvent> {
        Some(KernelEvent::Refused {
            at: BootTime(refused.process.header.at),
            database: DatabaseId(u16::try_from(refused.database).ok()?),
            server: address(refused.destination.address, refused.destination.port),
            process: self.process(&refused.process, ProcessSource::Kernel),
        })
    }

    fn process(&mut self, identified: &Identified, source: ProcessSource) -> Arc<Process> {
        let mut process = process(identified, self.argv, source);
        if let Some(known) = self.processes.get(&process.key)
            && **known == process
        {
            return Arc::clone(known);
        }
        if self.processes.len() >= PROCESSES_MAX {
            self.processes.clear();
        }
        process.executable = self.executables.get(process.executable);
        process.arguments = self.arguments.get(process.arguments);
        process.ancestors = self.ancestors.get(process.ancestors);
        let process = Arc::new(process);
        self.processes.insert(process.key, Arc::clone(&process));
        process
    }
}

/// Copies a plain-data record out of the bytes; `None` if they are too few.
pub(crate) fn read<T: Abi>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: the length was checked; `Abi` types are valid for every bit pattern; the read needs no alignment.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// The bytes of a plain-data record.
pub(crate) fn bytes_of<T: Abi>(record: &T) -> &[u8] {
    // SAFETY: `Abi` types have no padding; the slice borrows `record`.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast(), size_of::<T>()) }
}

/// Types of `agent-common`: `repr(C)`, integers only, no padding, every bit pattern valid.
///
/// # Safety
/// Implement it only for such types.
pub(crate) unsafe trait Abi: Copy {}
macro_rules! abi {
    ($($name:ty),*) => {$(
        // SAFETY: a type of agent-common whose size assertion rules out padding.
        unsafe impl Abi for $name {}
    )*};
}
abi!(
    Header,
    Content,
    Opened,
    Identified,
    Forked,
    Exited,
    Closed,
    Listening,
    Refused,
    Endpoints,
    agent_common::scan::ScannedSocket,
    agent_common::offsets::Offsets,
    agent_common::settings::Settings
);

fn content(record: &[u8]) -> Option<ContentRecord<'_>> {
    let head: Content = read(record)?;
    let start = size_of::<Content>();
    Some(ContentRecord {
        cookie: SocketCookie(head.cookie),
        at: BootTime(head.header.at),
        side: if head.side == SIDE_CLIENT { Side::Client } else { Side::Server },
        desynchronised: head.desynchronised != 0,
        encryption: encryption(u32::from(head.channel)),
        offset: head.offset,
        resume_in: (head.resume_in != RESUME_UNKNOWN).then_some(u64::from(head.resume_in)),
        skips: head.skips,
        bytes: record.get(start..start + head.bytes as usize)?,
    })
}

fn opened(record: &Opened, origin: Origin) -> Option<KernelEvent> {
    let unix = record.family == FAMILY_UNIX;
    let transport = if unix {
        Transport::Unix { path: text_until_nul(&record.path) }
    } else {
        Transport::Tcp {
            client: address(record.endpoints.peer, record.endpoints.peer_port),
            server: address(record.endpoints.own, record.endpoints.own_port),
            network_namespace: record.endpoints.network_namespace,
        }
    };
    Some(KernelEvent::Opened {
        cookie: SocketCookie(record.cookie),
        at: BootTime(record.header.at),
        database: DatabaseId(u16::try_from(record.database).ok()?),
        transport,
        client_cookie: (record.client_cookie != 0).then_some(SocketCookie(record.client_cookie)),
        peer_credentials: (unix && record.peer_pid != 0).then_some((record.peer_pid, record.peer_uid)),
        origin,
        leg: leg(record.leg)?,
    })
}

const fn leg(leg: u8) -> Option<Leg> {
    match leg {
        LEG_DIRECT => Some(Leg::Direct),
        LEG_FRONT => Some(Leg::Front),
        LEG_HOP => Some(Leg::Hop),
        _ => None,
    }
}

/// IPv4 addresses travel as mapped IPv6.
pub(crate) fn address(bytes: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(), port)
}

pub(crate) fn text_until_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn forked(record: &Forked) -> KernelEvent {
    KernelEvent::Forked {
        at: BootTime(record.header.at),
        parent: ProcessKey { pid: record.parent, start: BootTime(record.parent_start) },
        child: ProcessKey { pid: record.child, start: BootTime(record.child_start) },
    }
}

fn exited(record: &Exited) -> KernelEvent {
    KernelEvent::Exited {
        at: BootTime(record.header.at),
        process: ProcessKey { pid: record.pid, start: BootTime(record.start) },
    }
}

fn process(record: &Identified, argv: ArgvPolicy, source: ProcessSource) -> Process {
    let path = record.path.get(..record.path_bytes as usize).unwrap_or_default();
    let arguments = record.arguments.get(..record.arguments_bytes as usize).unwrap_or_default();
    let ancestors = record.ancestors.get(..record.ancestors_used as usize).unwrap_or_default();
    let path = path_from_components(path);
    Process {
        key: ProcessKey { pid: record.pid, start: BootTime(record.start) },
        name: text_until_nul(&record.name),
        executable: Arc::new(Executable {
            memory: path.starts_with("/memfd:"),
            path,
            device: record.executable_device,
            inode: record.executable_inode,
            changed: record.executable_changed_seconds * 1_000_000_000 + u64::from(record.executable_changed_nanos),
            truncated: record.flags & EXECUTABLE_TRUNCATED != 0,
            deleted: record.flags & EXECUTABLE_DELETED != 0,
        }),
        arguments: Arc::new(Arguments {
            values: redact::arguments(arguments, argv),
            truncated: record.flags & ARGUMENTS_TRUNCATED != 0,
        }),
        uid: record.uid,
        gid: record.gid,
        login_uid: (record.login_uid != u32::MAX).then_some(record.login_uid),
        tty: (record.tty != u32::MAX).then_some(record.tty),
        cgroup: record.cgroup,
        mount_namespace: record.mount_namespace,
        ancestors: ancestors
            .iter()
            .map(|parent| Ancestor {
                key: ProcessKey { pid: parent.pid, start: BootTime(parent.start) },
                uid: parent.uid,
                name: text_until_nul(&parent.name),
            })
            .collect(),
        source,
    }
}

/// The walk went from the leaf to the root; each name ends with a NUL.
fn path_from_components(components: &[u8]) -> String {
    let mut path = String::new();
    let trimmed = components.strip_suffix(&[0]).unwrap_or(components);
    for name in trimmed.split(|byte| *byte == 0).rev() {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(name));
    }
    path
}

/// The model's ledger, with what encryption explains of the difference between socket and content.
pub(crate) fn ledger(counts: &Ledger) -> session::Ledger {
    let encrypted = counts.channel == CHANNEL_TLS || counts.channel == CHANNEL_GSS;
    // Where nothing was read, ciphertext is not explained as a handshake: it may be what the probes do not see.
    let read = counts.received.content_calls > 0 || counts.sent.content_calls > 0;
    let explains = encrypted && read;
    session::Ledger {
        socket_received: counts.received.socket_bytes,
        socket_sent: counts.sent.socket_bytes,
        content_received: counts.received.content_bytes,
        content_sent: counts.sent.content_bytes,
        captured: counts.received.captured_bytes + counts.sent.captured_bytes,
        messages_received: counts.received.messages,
        messages_sent: counts.sent.messages,
        overhead_received_max: if explains { overhead_max(&counts.received) } else { 0 },
        overhead_sent_max: if explains { overhead_max(&counts.sent) } else { 0 },
    }
}

/// Most ciphertext that a TLS or GSS stream can carry beside the content: the handshake, and per record a header,
/// an explicit nonce, padding and a tag. TLS 1.2 with CBC and SHA-384 needs 5 + 16 + 16 + 48 bytes; one record
/// carries at most 16 KiB; a closing alert follows.
fn overhead_max(counts: &DirectionCounts) -> u64 {
    const RECORD_OVERHEAD_MAX: u64 = 85;
    const RECORD_CONTENT_MAX: u64 = 16 * 1024;
    const CLOSING_BYTES_MAX: u64 = 256;
    let handshake = if counts.content_calls == 0 { counts.socket_bytes } else { counts.handshake_bytes };
    let records = counts.content_calls + counts.content_bytes / RECORD_CONTENT_MAX;
    handshake + records * RECORD_OVERHEAD_MAX + CLOSING_BYTES_MAX
}

/// Encryption as the kernel programs saw it.
#[must_use]
pub fn encryption(channel: u32) -> Encryption {
    match channel {
        CHANNEL_TLS => Encryption::Tls,
        CHANNEL_GSS => Encryption::Gss,
        agent_common::session::CHANNEL_PLAIN => Encryption::Plaintext,
        _ => Encryption::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use agent_common::session::{CHANNEL_PLAIN, CHANNEL_TLS, DirectionCounts, Ledger};

    use super::ledger;

    fn counts(socket_bytes: u64, content_bytes: u64, content_calls: u64, handshake_bytes: u64) -> DirectionCounts {
        DirectionCounts { socket_bytes, content_bytes, content_calls, handshake_bytes, ..DirectionCounts::default() }
    }

    #[test]
    fn coverage_of_what_was_not_read() {
        let coverage =
            |channel, received, sent| ledger(&Ledger { received, sent, channel, reserved: 0 }).coverage_ppm();
        let read = (counts(866, 97, 2, 700), counts(2021, 488, 2, 1400));
        assert_eq!(coverage(CHANNEL_TLS, read.0, read.1), Some(1_000_000), "handshake and records explain the rest");
        let greeted = (counts(800, 41, 1, 700), counts(1400, 1, 0, 0));
        assert_eq!(coverage(CHANNEL_TLS, greeted.0, greeted.1), Some(1_000_000), "the server has not answered yet");
        // Only the request for TLS and its answer passed in plaintext: the probes saw nothing of what followed.
        let blind = (counts(866, 8, 0, 0), counts(2021, 1, 0, 0));
        assert_eq!(coverage(CHANNEL_TLS, blind.0, blind.1), Some(9 * 1_000_000 / 2887));
        let plain = (counts(866, 800, 0, 0), counts(2021, 2021, 0, 0));
        assert_eq!(coverage(CHANNEL_PLAIN, plain.0, plain.1), Some(2821 * 1_000_000 / 2887));
    }
}
