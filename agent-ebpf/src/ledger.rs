//! The byte ledger: every byte on a database socket is counted here, whoever moved it and by which call.
//!
//! `sock_send_length` and `sock_recv_length` fire exactly once for every send and receive path. Where the socket
//! carries plaintext, the content is read here too: the buffer is the argument of the system call.

use core::ffi::c_void;

use agent_common::content::{SIDE_CLIENT, SIDE_SERVER};
use agent_common::kind;
use agent_common::session::{CHANNEL_PLAIN, CHANNEL_UNDECIDED, FAMILY_UNIX, LEG_FRONT, Session};
use agent_common::settings::counter;
use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::generated::{
    bpf_get_current_task_btf, bpf_get_socket_cookie, bpf_skc_to_unix_sock, bpf_task_pt_regs,
};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::content::walk;
use crate::maps::{OWNERS, PORT_SET, SESSIONS, count, offsets};
use crate::process::{current_pid, report_current, track_current};
use crate::read::{kernel_or_zero, member, user};
use crate::session::{NO_LISTENER, first_touch_unix, is_hop, is_internet, unix_listener};
use crate::storage::{calls, is_identified, set_identified};

/// `MSG_PEEK`: the bytes stay in the socket and will be counted when they are really read.
const MSG_PEEK: i32 = 2;

/// `sock_recv_length(struct sock *sk, int ret, int flags)`, since 6.3. Fires also for a failed call.
#[btf_tracepoint(function = "sock_recv_length")]
fn received(ctx: BtfTracePointContext) -> i32 {
    let sk: *mut c_void = ctx.arg(0);
    let result: i32 = ctx.arg(1);
    let flags: i32 = ctx.arg(2);
    let Some((session, cookie)) = find(sk) else { return 0 };
    // SAFETY: the pointer comes from the map; one thread at a time receives on a session's socket.
    unsafe {
        if (*session).owner == 0 {
            own(session, cookie);
        }
        if result <= 0 || flags & MSG_PEEK != 0 {
            return 0;
        }
        (*session).client.counts.socket_bytes += result as u64;
    }
    content(session, cookie, SIDE_CLIENT, result as u32);
    0
}

/// `sock_send_length(struct sock *sk, int ret, int flags)`, since 6.3.
#[btf_tracepoint(function = "sock_send_length")]
fn sent(ctx: BtfTracePointContext) -> i32 {
    let sk: *mut c_void = ctx.arg(0);
    let result: i32 = ctx.arg(1);
    let Some((session, cookie)) = find(sk) else {
        unix_client(sk);
        return 0;
    };
    if result <= 0 {
        return 0;
    }
    // SAFETY: the pointer comes from the map; one thread at a time sends on a session's socket.
    unsafe { (*session).server.counts.socket_bytes += result as u64 };
    content(session, cookie, SIDE_SERVER, result as u32);
    0
}

/// The session of a socket. Sockets that cannot be a database server's cost a few loads: this runs for every receive
/// and every send on the host.
#[inline(always)]
fn find(sk: *mut c_void) -> Option<(*mut Session, u64)> {
    // SAFETY: `sk` is the trusted socket argument of a tracepoint.
    let family: u16 = unsafe { member(sk, offsets().sock_family) };
    if is_internet(family) {
        if !is_watched(sk) {
            return None;
        }
    } else if family != FAMILY_UNIX || bound_address(sk) == 0 {
        // A Unix client's socket has no address, unless the client gave it one: then the lookup tells.
        return None;
    }
    let cookie = cookie(sk);
    if let Some(session) = SESSIONS.get_ptr_mut(cookie) {
        return Some((session, cookie));
    }
    if family != FAMILY_UNIX || first_touch_unix(sk, cookie) == 0 {
        return None;
    }
    SESSIONS.get_ptr_mut(cookie).map(|session| (session, cookie))
}

/// Whether this TCP socket has a port that a database listens on, or did. A socket whose connection was reset has lost
/// its port: it may be one.
#[inline(always)]
pub(crate) fn is_watched(sk: *mut c_void) -> bool {
    // SAFETY: `sk` is the trusted socket argument of a tracepoint.
    let port: u16 = unsafe { member(sk, offsets().sock_port) };
    port == 0 || PORT_SET.get(u32::from(port / 64)).is_some_and(|word| word >> (port % 64) & 1 == 1)
}

/// `unix_sk(sk)->addr`; 0 without one, and for every other family. `bpf_skc_to_unix_sock`: since 5.16.
#[inline(always)]
fn bound_address(sk: *mut c_void) -> u64 {
    // SAFETY: `sk` is the trusted socket argument of a tracepoint; the helper checks the family.
    unsafe {
        let unix = bpf_skc_to_unix_sock(sk);
        if unix.is_null() { 0 } else { member(unix.cast(), offsets().unix_address) }
    }
}

/// The socket's cookie; it is generated when somebody asks for it first.
#[inline(always)]
pub(crate) fn cookie(sk: *mut c_void) -> u64 {
    // SAFETY: `sk` is the trusted socket argument of a tracepoint.
    unsafe {
        let cookie: u64 = member(sk, offsets().sock_cookie);
        if cookie == 0 { bpf_get_socket_cookie(sk) } else { cookie }
    }
}

/// The current process is the first to receive on this session's socket: it serves it.
#[inline(never)]
fn own(session: *mut Session, cookie: u64) -> u32 {
    // SAFETY: the pointer comes from the session map; see `received`.
    unsafe {
        (*session).owner = current_pid();
        if (*session).leg == LEG_FRONT {
            // A worker of the proxy: it holds many, and is nobody's server.
            return 0;
        }
    }
    let _ = OWNERS.insert(current_pid(), cookie, 0);
    if let Some(calls) = calls() {
        calls.session = cookie;
    }
    report_current(kind::OWNED, cookie, 0)
}

/// The client's end of a Unix session is recognised at its first send, in the context of the sending process.
///
/// Server and client each generate their own cookie before they look at the other's: whoever comes second sees both.
#[inline(always)]
fn unix_client(sk: *mut c_void) {
    // SAFETY: `sk` is the trusted socket argument of a tracepoint; the helper checks the family.
    let peer: u64 = unsafe {
        let unix = bpf_skc_to_unix_sock(sk);
        if unix.is_null() { 0 } else { member(unix.cast(), offsets().unix_peer) }
    };
    if peer != 0 && !is_identified(sk) {
        identify_unix_client(sk, peer);
    }
}

#[inline(never)]
fn identify_unix_client(sk: *mut c_void, peer: u64) -> u32 {
    if unix_listener(peer) == NO_LISTENER {
        return 0;
    }
    set_identified(sk);
    let cookie = cookie(sk);
    if is_hop(cookie) {
        return 0;
    }
    let server: u64 = kernel_or_zero(peer, offsets().sock_cookie);
    track_current();
    report_current(kind::CONNECTED, cookie, server)
}

/// Feeds the plaintext of this call to the message walk.
#[inline(always)]
fn content(session: *mut Session, cookie: u64, side: u8, length: u32) {
    // SAFETY: the pointer comes from the map.
    let channel = unsafe { (*session).channel };
    if channel != CHANNEL_PLAIN && channel != CHANNEL_UNDECIDED {
        return;
    }
    match buffer() {
        Some(buffer) => {
            walk(session, cookie, side, buffer, length);
        }
        None => count(counter::UNREAD_CALLS, 1),
    }
}

/// User address of the data that the current system call moved; `None` for calls that are not understood
/// (several buffers, `sendfile`, io_uring): their bytes are counted but not covered.
#[inline(always)]
fn buffer() -> Option<u64> {
    // SAFETY: helpers without preconditions; the registers belong to the current task.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const pt_regs;
    let (call, second) = call_and_second_argument(registers);
    match call {
        call::READ | call::WRITE | call::SENDTO | call::RECVFROM => Some(second),
        call::SENDMSG | call::RECVMSG => one_vector(user(second + 16)?, user(second + 24)?),
        _ => None,
    }
}

/// Base of the only `struct iovec` of a vector.
#[inline(always)]
fn one_vector(vector: u64, length: u64) -> Option<u64> {
    if length == 1 { user(vector) } else { None }
}

#[cfg(bpf_target_arch = "x86_64")]
mod call {
    pub(super) const READ: u64 = 0;
    pub(super) const WRITE: u64 = 1;
    pub(super) const SENDTO: u64 = 44;
    pub(super) const RECVFROM: u64 = 45;
    pub(super) const SENDMSG: u64 = 46;
    pub(super) const RECVMSG: u64 = 47;
}

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn call_and_second_argument(registers: *const pt_regs) -> (u64, u64) {
    // SAFETY: a BTF pointer of the kernel's pt_regs: the loads are checked by the verifier.
    unsafe { ((*registers).orig_rax, (*registers).rsi) }
}

#[cfg(bpf_target_arch = "aarch64")]
mod call {
    pub(super) const READ: u64 = 63;
    pub(super) const WRITE: u64 = 64;
    pub(super) const SENDTO: u64 = 206;
    pub(super) const RECVFROM: u64 = 207;
    pub(super) const SENDMSG: u64 = 211;
    pub(super) const RECVMSG: u64 = 212;
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn call_and_second_argument(registers: *const pt_regs) -> (u64, u64) {
    // SAFETY: a BTF pointer of the kernel's pt_regs: the loads are checked by the verifier.
    unsafe { ((*registers).regs[8], (*registers).regs[1]) }
}
