//! Sessions: the socket that a database server accepted, its addresses and its byte ledger.

use crate::Header;

/// `AF_UNIX`
pub const FAMILY_UNIX: u16 = 1;
/// `AF_INET`
pub const FAMILY_INET: u16 = 2;
/// `AF_INET6`
pub const FAMILY_INET6: u16 = 10;

/// Longest path of a Unix socket address (`sun_path`).
pub const UNIX_PATH_MAX: usize = 108;

/// Both ends of a TCP connection as the named socket sees them. IPv4 as `::ffff:a.b.c.d`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Own address, network byte order.
    pub own: [u8; 16],
    /// Peer address, network byte order.
    pub peer: [u8; 16],
    /// Own port, host byte order.
    pub own_port: u16,
    /// Peer port, host byte order.
    pub peer_port: u16,
    /// Inode number of the network namespace.
    pub network_namespace: u32,
}
const _: () = assert!(size_of::<Endpoints>() == 40);

/// A session was accepted.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Kind [`crate::kind::OPENED`].
    pub header: Header,
    /// The server's accepted socket.
    pub cookie: u64,
    /// The client's socket where it is local and already known; 0 otherwise.
    pub client_cookie: u64,
    /// Database id of the listener.
    pub database: u32,
    /// `FAMILY_*`
    pub family: u16,
    /// `LEG_*`
    pub leg: u8,
    /// Zero.
    pub reserved: u8,
    /// TCP: addresses. Zero for Unix.
    pub endpoints: Endpoints,
    /// Unix: pid of the process that called connect, initial pid namespace; 0 for TCP.
    pub peer_pid: u32,
    /// Unix: its effective uid; `u32::MAX` for TCP.
    pub peer_uid: u32,
    /// Unix: the bound path; zeros for TCP.
    pub path: [u8; UNIX_PATH_MAX],
    /// Zero.
    pub reserved_end: [u8; 4],
}
const _: () = assert!(size_of::<Opened>() == 200);

/// A session ended.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// Kind [`crate::kind::CLOSED`].
    pub header: Header,
    /// The session.
    pub cookie: u64,
    /// Final counts.
    pub ledger: Ledger,
    /// How far the client's plaintext was told, in bytes: a reader that is behind has lost the difference.
    pub told_client: u64,
    /// The same of the server's plaintext.
    pub told_server: u64,
}
const _: () = assert!(size_of::<Closed>() == 40 + size_of::<Ledger>());

/// Byte counts of one direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectionCounts {
    /// Bytes on the socket.
    pub socket_bytes: u64,
    /// Plaintext bytes that passed the content probes.
    pub content_bytes: u64,
    /// Bytes copied to user space.
    pub captured_bytes: u64,
    /// TLS or GSS: socket bytes at the first content, that is negotiation and handshake.
    pub handshake_bytes: u64,
    /// TLS or GSS: calls that returned content (each is at most one record, or `content / 16384 + 1` records).
    pub content_calls: u64,
    /// Typed messages that began in the content (start-up packets and the answers to them have no type).
    pub messages: u64,
}
const _: () = assert!(size_of::<DirectionCounts>() == 48);

/// Byte counts of a session.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Ledger {
    /// Client to server.
    pub received: DirectionCounts,
    /// Server to client.
    pub sent: DirectionCounts,
    /// `CHANNEL_*`
    pub channel: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Ledger>() == 104);

/// Content is read at the socket calls; encryption is not yet decided.
pub const CHANNEL_UNDECIDED: u32 = 0;
/// Content is read at the socket calls.
pub const CHANNEL_PLAIN: u32 = 1;
/// Content is read at the server's TLS functions; the socket carries ciphertext.
pub const CHANNEL_TLS: u32 = 2;
/// Content is read at the server's GSS functions; the socket carries ciphertext.
pub const CHANNEL_GSS: u32 = 3;

/// Content is not read: a proxy's worker does it. Bytes are counted as for every session.
pub const CHANNEL_UNREAD: u32 = 4;

/// A client's own connection to the server.
pub const LEG_DIRECT: u8 = 0;
/// A client's connection to the proxy.
pub const LEG_FRONT: u8 = 1;
/// The proxy's connection to the server.
pub const LEG_HOP: u8 = 2;

/// Value of the map `HOPS`: the content of this hop is read.
pub const HOP_READ: u32 = 1;
/// Value of the map `HOPS`: the content of this hop is not read, the proxy's worker does it.
pub const HOP_UNREAD: u32 = 2;
/// Bit in [`crate::listener::UnixListener::database`]: the listener is the proxy's, the rest is the database's id.
pub const LISTENER_IS_FRONT: u32 = 1 << 31;

/// State of one direction of the message walk.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Direction {
    /// Counts.
    pub counts: DirectionCounts,
    /// Position in the plaintext stream of the next byte.
    pub offset: u64,
    /// Position of the next byte that user space has not been told about (it is behind while a skip is pending).
    pub told: u64,
    /// What was left out since the last record; see [`crate::content::Skip`].
    pub skips: [crate::content::Skip; 2],
    /// Body bytes of the message in progress that are still to come.
    pub remaining: u32,
    /// Of these, how many may still be copied.
    pub allowance: u32,
    /// First bytes of a header that is split between two calls, big-endian.
    pub partial: u64,
    /// Body bytes of a message in progress at `told`.
    pub told_resume: u32,
    /// How many bytes `partial` holds.
    pub partial_length: u8,
    /// Type byte of the message in progress.
    pub message: u8,
    /// `PHASE_*`
    pub phase: u8,
    /// Skips in use, 0 to 2.
    pub skips_used: u8,
}
const _: () = assert!(size_of::<Direction>() == 120);

/// Typed messages: one type byte, four bytes of length.
pub const PHASE_MESSAGES: u8 = 0;
/// Client: an untyped start-up packet is expected.
pub const PHASE_STARTUP: u8 = 1;
/// Server: the one-byte answer to SSLRequest is expected.
pub const PHASE_TLS_ANSWER: u8 = 2;
/// Server: the one-byte answer to GSSENCRequest is expected.
pub const PHASE_GSS_ANSWER: u8 = 3;
/// The stream is not understood; a call that begins with a valid header ends this.
pub const PHASE_LOST: u8 = 4;
/// The first byte decides between a start-up packet and a typed message (session older than the agent).
pub const PHASE_EITHER: u8 = 5;

/// `told_resume`: inside a message header, its length is not known yet.
pub const RESUME_UNKNOWN: u32 = u32::MAX;

/// Value of the map `SESSIONS`, keyed by socket cookie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Session {
    /// Client to server.
    pub client: Direction,
    /// Server to client.
    pub server: Direction,
    /// Thread group that serves the session; 0 before the first receive.
    pub owner: u32,
    /// Database id.
    pub database: u32,
    /// `CHANNEL_*`
    pub channel: u32,
    /// `FAMILY_*`
    pub family: u16,
    /// `LEG_*`
    pub leg: u8,
    /// 1: the connection is gone and iterators do not show its socket any more, but a process holds it and may read what
    /// had arrived. The session ends when the socket is destroyed.
    pub is_reset: u8,
}
const _: () = assert!(size_of::<Session>() == 256);
