//! Sessions begin and end: TCP by the socket's state, Unix by the first touch of the server and the end of its process.

use agent_common::content::{SIDE_CLIENT, SIDE_SERVER};
use agent_common::listener::{Listening, TcpListener};
use agent_common::session::{
    CHANNEL_UNREAD, Closed, Endpoints, FAMILY_INET, FAMILY_INET6, FAMILY_UNIX, HOP_READ, LEG_DIRECT, LEG_FRONT,
    LEG_HOP, LISTENER_IS_FRONT, Ledger, Opened, Session, UNIX_PATH_MAX,
};
use agent_common::settings::counter;
use agent_common::{ABI_VERSION, Header, kind};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_probe_read_kernel, bpf_probe_read_kernel_str,
};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use aya_log_ebpf::warn;

use crate::content::tell_rest;
use crate::ledger::{cookie, is_watched};
use crate::maps::{
    CONNECTING, EVENTS, HOPS, NEW_SESSION, PORTS, SESSIONS, TCP_LISTENERS, UNIX_LISTENERS, count, count_loss, offsets,
    wake_flags,
};
use crate::process::{current_pid, report_current, track_current};
use crate::read::{kernel, kernel_or_zero};
use crate::storage::front_of;

// States of `include/net/tcp_states.h`; UAPI since `bpf_sock_ops`.
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const SYN_RECV: i32 = 3;
const FIN_WAIT1: i32 = 4;
const CLOSE: i32 = 7;
const LAST_ACK: i32 = 9;
const LISTEN: i32 = 10;

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, since 4.16.
///
/// To LISTEN and to SYN_SENT it runs in the calling process; passively to ESTABLISHED in softirq, where the
/// current process means nothing.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn state_changed(ctx: BtfTracePointContext) -> i32 {
    let sk: *mut core::ffi::c_void = ctx.arg(0);
    let old: i32 = ctx.arg(1);
    let new: i32 = ctx.arg(2);
    match (old, new) {
        (_, LISTEN) => listening(sk as u64),
        (_, SYN_SENT) => connecting(sk),
        (SYN_SENT, ESTABLISHED) => connected(sk),
        (SYN_RECV, ESTABLISHED) => accepted(sk),
        (_, FIN_WAIT1 | LAST_ACK) => {
            // SAFETY: `sk` is the trusted socket argument of the tracepoint.
            close(unsafe { bpf_get_socket_cookie(sk) });
        }
        (_, CLOSE) => {
            // SAFETY: as above.
            reset(unsafe { bpf_get_socket_cookie(sk) });
        }
        _ => {}
    }
    0
}

/// `tcp_destroy_sock(struct sock *sk)`, since 4.16: no process holds the socket any more.
#[btf_tracepoint(function = "tcp_destroy_sock")]
fn destroyed(ctx: BtfTracePointContext) -> i32 {
    let sk: *mut core::ffi::c_void = ctx.arg(0);
    if is_watched(sk) {
        close(cookie(sk));
    }
    0
}

/// The connection is gone, by a reset or a time-out; or the server closes it without a word, and the socket is destroyed
/// at once. What had arrived before stays for the server to read, and it does what it reads: a session ends with the
/// socket, not with its connection.
#[inline(always)]
fn reset(cookie: u64) {
    if let Some(session) = SESSIONS.get_ptr_mut(cookie) {
        // SAFETY: the pointer comes from the map.
        unsafe { (*session).is_reset = 1 };
    }
}

#[inline(always)]
fn peer_port(sk: u64) -> u16 {
    u16::from_be(kernel_or_zero(sk, offsets().sock_peer_port))
}

#[inline(always)]
fn network_namespace(sk: u64) -> u32 {
    let net: u64 = kernel_or_zero(sk, offsets().sock_net);
    kernel_or_zero(net, offsets().net_inum)
}

#[inline(always)]
fn own_listener(sk: u64) -> TcpListener {
    TcpListener {
        address: own_address(sk),
        network_namespace: network_namespace(sk),
        port: kernel_or_zero(sk, offsets().sock_port),
        reserved: 0,
    }
}

/// Own address of a TCP socket; IPv4 as mapped IPv6.
#[inline(always)]
fn own_address(sk: u64) -> [u8; 16] {
    let at = offsets();
    if kernel_or_zero::<u16>(sk, at.sock_family) == FAMILY_INET6 {
        return kernel_or_zero(sk, at.sock_own_v6);
    }
    mapped(kernel_or_zero(sk, at.sock_own_v4))
}

/// Addresses of a TCP socket; IPv4 as mapped IPv6 so that both ends of a connection have one form.
#[inline(always)]
pub(crate) fn endpoints(sk: u64) -> Endpoints {
    let at = offsets();
    let mut ends = Endpoints {
        own: [0; 16],
        peer: [0; 16],
        own_port: kernel_or_zero(sk, at.sock_port),
        peer_port: peer_port(sk),
        network_namespace: network_namespace(sk),
    };
    if kernel_or_zero::<u16>(sk, at.sock_family) == FAMILY_INET6 {
        ends.own = kernel_or_zero(sk, at.sock_own_v6);
        ends.peer = kernel_or_zero(sk, at.sock_peer_v6);
    } else {
        ends.own = mapped(kernel_or_zero(sk, at.sock_own_v4));
        ends.peer = mapped(kernel_or_zero(sk, at.sock_peer_v4));
    }
    ends
}

#[inline(always)]
fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

#[inline(always)]
fn listening(sk: u64) {
    let listener = own_listener(sk);
    let Some(mut entry) = EVENTS.reserve::<Listening>(0) else {
        count_loss(kind::LISTENING);
        return;
    };
    // SAFETY: no arguments.
    let at = unsafe { bpf_ktime_get_boot_ns() };
    entry.write(Listening {
        header: Header { kind: kind::LISTENING, abi: ABI_VERSION, at },
        listener,
        pid: current_pid(),
        reserved: 0,
    });
    entry.submit(wake_flags());
}

/// A local process connects to a port that databases use: it is identified in its own context (an io_uring
/// worker belongs to the same thread group).
#[inline(always)]
fn connecting(sk: *mut core::ffi::c_void) {
    if PORTS.get_ptr(peer_port(sk as u64)).is_none() {
        return;
    }
    // SAFETY: `sk` is the trusted socket argument of the tracepoint.
    let cookie = unsafe { bpf_get_socket_cookie(sk) };
    if is_hop(cookie) {
        // Whoever opens it is not the session's client: that one is at the proxy's other side.
        return;
    }
    track_current();
    report_current(kind::CONNECTED, cookie, 0);
}

/// Whether this socket is marked as the proxy's way to a server.
#[inline(always)]
pub(crate) fn is_hop(client_cookie: u64) -> bool {
    HOPS.get_ptr(client_cookie).is_some()
}

/// The client's half is established before the server's: leave its cookie where [`accepted`] looks.
#[inline(always)]
fn connected(sk: *mut core::ffi::c_void) {
    if PORTS.get_ptr(peer_port(sk as u64)).is_none() {
        return;
    }
    let ends = as_server_sees(endpoints(sk as u64));
    // SAFETY: `sk` is the trusted socket argument of the tracepoint.
    let cookie = unsafe { bpf_get_socket_cookie(sk) };
    let _ = CONNECTING.insert(ends, cookie, 0);
    let anywhere = Endpoints { network_namespace: 0, ..ends };
    let _ = CONNECTING.insert(anywhere, cookie, 0);
}

#[inline(always)]
fn as_server_sees(client: Endpoints) -> Endpoints {
    Endpoints {
        own: client.peer,
        peer: client.own,
        own_port: client.peer_port,
        peer_port: client.own_port,
        network_namespace: client.network_namespace,
    }
}

/// Cookie of the local client of these endpoints, 0 where none is known: first in the same network namespace,
/// then (not for loopback, which every namespace has) in any.
#[inline(always)]
fn take_client(ends: &Endpoints) -> u64 {
    let anywhere = Endpoints { network_namespace: 0, ..*ends };
    let is_v4 = ends.peer[..12] == mapped([0; 4])[..12];
    let loopback = if is_v4 { ends.peer[12] == 127 } else { ends.peer[..15] == [0; 15] };
    let mut found = 0;
    if let Some(cookie) = CONNECTING.get_ptr(ends) {
        // SAFETY: the pointer comes from the map.
        found = unsafe { *cookie };
        let _ = CONNECTING.remove(ends);
    } else if !loopback && let Some(cookie) = CONNECTING.get_ptr(anywhere) {
        // SAFETY: the pointer comes from the map.
        found = unsafe { *cookie };
    }
    let _ = CONNECTING.remove(anywhere);
    found
}

/// What a new session is.
#[derive(Clone, Copy)]
struct New {
    cookie: u64,
    database: u32,
    family: u16,
    leg: u8,
    channel: u32,
}

impl New {
    /// A session with a server, or with the proxy in its place.
    #[inline(always)]
    fn of(cookie: u64, client: u64, database: u32, family: u16, is_front: bool) -> Self {
        let undecided = Self { cookie, database, family, leg: LEG_DIRECT, channel: 0 };
        if is_front {
            return Self { leg: LEG_FRONT, channel: CHANNEL_UNREAD, ..undecided };
        }
        let Some(mark) = HOPS.get_ptr(client) else { return undecided };
        // SAFETY: the pointer comes from the map.
        let is_read = unsafe { *mark } == HOP_READ;
        Self { leg: LEG_HOP, channel: if is_read { 0 } else { CHANNEL_UNREAD }, ..undecided }
    }
}

/// The database whose listener accepted a connection. A configured port is a database's wherever somebody listens on
/// it; any other belongs to the one listener that user space has judged.
#[inline(always)]
fn database_of(listener: TcpListener, family: u16, by_port: u32) -> Option<u32> {
    if by_port != u32::MAX {
        return Some(by_port);
    }
    for candidate in listener.candidates(family).into_iter().flatten() {
        if let Some(database) = TCP_LISTENERS.get_ptr(candidate) {
            // SAFETY: as above.
            return Some(unsafe { *database });
        }
    }
    None
}

#[inline(always)]
fn accepted(sk: *mut core::ffi::c_void) {
    let listener = own_listener(sk as u64);
    let Some(by_port) = PORTS.get_ptr(listener.port) else { return };
    // SAFETY: the pointer comes from the map.
    let by_port = unsafe { *by_port };
    let family = family(sk as u64);
    // A steered connection has the database's own address: only the mark tells whose listener accepted it.
    let (database, is_front) = match front_of(sk) {
        Some(database) => (database, true),
        None => match database_of(listener, family, by_port) {
            Some(database) => (database, false),
            None => return,
        },
    };
    let ends = endpoints(sk as u64);
    let client = take_client(&ends);
    // SAFETY: `sk` is the trusted socket argument of the tracepoint.
    let cookie = unsafe { bpf_get_socket_cookie(sk) };
    let new = New::of(cookie, client, database, family, is_front);
    if insert(&new).is_some() {
        report_opened(&new, client, sk as u64, Some(&ends));
    }
}

/// What [`unix_listener`] says of a socket that no database's listener has accepted.
pub(crate) const NO_LISTENER: u32 = u32::MAX;

/// The database whose listener has accepted this Unix socket, with `LISTENER_IS_FRONT`. In a frame of its own.
#[inline(never)]
pub(crate) fn unix_listener(sk: u64) -> u32 {
    const WORDS: usize = UNIX_PATH_MAX / size_of::<u32>();
    let bound: u64 = kernel_or_zero(sk, offsets().unix_address);
    if bound == 0 {
        return NO_LISTENER;
    }
    let Some(listener) = UNIX_LISTENERS.get_ptr(bound) else { return NO_LISTENER };
    let mut path = [0_u32; WORDS];
    // SAFETY: `path` has UNIX_PATH_MAX bytes; `listener` comes from the map and begins with as many.
    unsafe {
        unix_path(sk, path.as_mut_ptr().cast());
        let expected = (&raw const (*listener).path).cast::<u32>();
        for (index, word) in path.iter().enumerate() {
            if *word != *expected.add(index) {
                return NO_LISTENER;
            }
        }
        (*listener).database
    }
}

/// A socket that is not known touches data: is it the server's end of a Unix session?
#[inline(never)]
pub(crate) fn first_touch_unix(sk: *mut core::ffi::c_void, cookie: u64) -> u32 {
    let at = offsets();
    let database = unix_listener(sk as u64);
    if database == NO_LISTENER {
        return 0;
    }
    let peer: u64 = kernel_or_zero(sk as u64, at.unix_peer);
    let client: u64 = kernel_or_zero(peer, at.sock_cookie);
    let is_front = database & LISTENER_IS_FRONT != 0;
    let new = New::of(cookie, client, database & !LISTENER_IS_FRONT, FAMILY_UNIX, is_front);
    if insert(&new).is_none() {
        return 0;
    }
    report_opened(&new, client, sk as u64, None);
    1
}

#[inline(always)]
fn insert(new: &New) -> Option<()> {
    let cookie = new.cookie;
    let fresh = NEW_SESSION.get_ptr(0)?;
    // SAFETY: the pointer comes from an array map and is valid for the program's run.
    if SESSIONS.insert(cookie, unsafe { &*fresh }, u64::from(BPF_NOEXIST)).is_err() {
        if SESSIONS.get_ptr(cookie).is_none() {
            count(counter::SESSIONS_REFUSED, 1);
            warn!((), "socket {} is not observed: the session map is full", cookie);
        }
        return None;
    }
    let session = SESSIONS.get_ptr_mut(cookie)?;
    // SAFETY: the session was inserted just now; nobody else writes these fields.
    unsafe {
        (*session).database = new.database;
        (*session).family = new.family;
        (*session).leg = new.leg;
        (*session).channel = new.channel;
    }
    Some(())
}

#[inline(always)]
fn report_opened(new: &New, client_cookie: u64, sk: u64, tcp: Option<&Endpoints>) {
    let Some(mut entry) = EVENTS.reserve::<Opened>(0) else {
        count_loss(kind::OPENED);
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: `record` points to a reserved record; every field is written.
    unsafe {
        (*record).header = Header { kind: kind::OPENED, abi: ABI_VERSION, at: bpf_ktime_get_boot_ns() };
        (*record).cookie = new.cookie;
        (*record).client_cookie = client_cookie;
        (*record).database = new.database;
        (*record).family = new.family;
        (*record).leg = new.leg;
        (*record).reserved = 0;
        (*record).peer_pid = 0;
        (*record).peer_uid = u32::MAX;
        (*record).path = [0; UNIX_PATH_MAX];
        (*record).reserved_end = [0; 4];
        match tcp {
            Some(ends) => (*record).endpoints = *ends,
            None => {
                (*record).endpoints =
                    Endpoints { own: [0; 16], peer: [0; 16], own_port: 0, peer_port: 0, network_namespace: 0 };
                let (pid, uid) = peer_credentials(sk);
                (*record).peer_pid = pid;
                (*record).peer_uid = uid;
                unix_path(sk, (&raw mut (*record).path).cast());
            }
        }
    }
    entry.submit(wake_flags());
}

/// Pid (initial pid namespace) and effective uid of the process that called connect, as for `SO_PEERCRED`.
#[inline(always)]
pub(crate) fn peer_credentials(sk: u64) -> (u32, u32) {
    let at = offsets();
    let pid: u64 = kernel_or_zero(sk, at.sock_peer_pid);
    let cred: u64 = kernel_or_zero(sk, at.sock_peer_cred);
    (kernel_or_zero(pid, at.pid_numbers), kernel(cred, at.cred_uid).unwrap_or(u32::MAX))
}

/// Copies the bound path of a Unix socket. An abstract name begins with a NUL, which is shown as `@`.
#[inline(always)]
pub(crate) unsafe fn unix_path(sk: u64, target: *mut u8) {
    /// Offset of `sun_path` in `struct sockaddr_un`.
    const SUN_PATH: u64 = 2;
    let at = offsets();
    let bound: u64 = kernel_or_zero(sk, at.unix_address);
    if bound == 0 {
        return;
    }
    let name = bound + u64::from(at.unix_address_name) + SUN_PATH;
    if kernel::<u8>(name, 0) != Some(0) {
        // SAFETY: the caller passes a buffer of UNIX_PATH_MAX bytes.
        unsafe { bpf_probe_read_kernel_str(target.cast(), UNIX_PATH_MAX as u32, name as *const _) };
        return;
    }
    // An abstract name is as long as its address says; no NUL ends it.
    let length: u32 = kernel_or_zero(bound, at.unix_address_length);
    // The compiler would compare `length` instead; the verifier needs to see the bound of `bytes`.
    let bytes = core::hint::black_box(length.saturating_sub(SUN_PATH as u32 + 1)) & 0x7f;
    if bytes == 0 || bytes > UNIX_PATH_MAX as u32 - 1 {
        return;
    }
    // SAFETY: `@` and at most UNIX_PATH_MAX - 1 bytes fit.
    unsafe {
        *target = b'@';
        bpf_probe_read_kernel(target.add(1).cast(), bytes, (name + 1) as *const _);
    }
}

/// The server process of a session ends. A Unix socket has no state to watch: this is its end.
#[inline(always)]
pub(crate) fn owner_exited(cookie: u64) {
    let Some(session) = SESSIONS.get_ptr(cookie) else { return };
    // SAFETY: the pointer comes from the map.
    if unsafe { (*session).family } == FAMILY_UNIX {
        close(cookie);
    }
}

#[inline(never)]
pub(crate) fn close(cookie: u64) -> u32 {
    let Some(session) = SESSIONS.get_ptr_mut(cookie) else { return 0 };
    tell_rest(session, cookie, SIDE_CLIENT);
    tell_rest(session, cookie, SIDE_SERVER);
    match EVENTS.reserve::<Closed>(0) {
        Some(mut entry) => {
            let record = entry.as_mut_ptr();
            // SAFETY: `record` points to a reserved record; `session` comes from the map.
            unsafe {
                (*record).header = Header { kind: kind::CLOSED, abi: ABI_VERSION, at: bpf_ktime_get_boot_ns() };
                (*record).cookie = cookie;
                write_ledger(&raw mut (*record).ledger, session);
                (*record).told_client = (*session).client.told;
                (*record).told_server = (*session).server.told;
            }
            entry.submit(wake_flags());
        }
        None => count_loss(kind::CLOSED),
    }
    let _ = SESSIONS.remove(cookie);
    0
}

#[inline(always)]
unsafe fn write_ledger(ledger: *mut Ledger, session: *const Session) {
    // SAFETY: the caller passes a writable ledger and a session of the map.
    unsafe {
        (*ledger).received = (*session).client.counts;
        (*ledger).sent = (*session).server.counts;
        (*ledger).channel = (*session).channel;
        (*ledger).reserved = 0;
    }
}

/// Families other than these never carry a database session.
#[inline(always)]
pub(crate) fn family(sk: u64) -> u16 {
    kernel_or_zero(sk, offsets().sock_family)
}

/// Whether `family` is IPv4 or IPv6.
#[inline(always)]
pub(crate) fn is_internet(family: u16) -> bool {
    family == FAMILY_INET || family == FAMILY_INET6
}
