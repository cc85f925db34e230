//! Local processes that connect to a database past its proxy are refused, where the configuration names their control
//! group. The only programs of this object that change anything: loaded and attached on request, never pinned.
//!
//! `cgroup/connect4` and `cgroup/connect6` run in the process that connects, before a packet leaves, for every way to
//! connect a TCP socket (connect, a send with MSG_FASTOPEN, io_uring). The kernel takes the control group of the *socket*,
//! which is that of the process that made it; the process that connects is asked for its own here. Where anything is not
//! known, nothing is refused: the session is seen and told as a bypass then.

use agent_common::kind;
use agent_common::refusal::{Group, LEVELS_MAX, Lease, Refused, RefusedDestination, lease};
use agent_common::steering::{SOURCE_HEAD_BITS, Source};
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_netns_cookie, bpf_get_retval, bpf_get_socket_cookie, bpf_ktime_get_ns,
};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::SockAddrContext;

use crate::maps::{
    EVENTS, REFUSAL_GROUPS, REFUSAL_LEASES, REFUSAL_SOURCES, REFUSED_DESTINATIONS, content_flags, count_loss,
};
use crate::process::identify_current;
use crate::session::is_hop;

/// What a program of this type answers. A refusal is `EPERM` for the process.
const REFUSE: i32 = 0;
const PASS: i32 = 1;

/// `SOCK_STREAM`.
const STREAM: u32 = 1;

const ANY_V4: [u8; 16] = mapped([0, 0, 0, 0]);
const LOCALHOST_V4: [u8; 16] = mapped([127, 0, 0, 1]);
const ANY_V6: [u8; 16] = [0; 16];
const LOCALHOST_V6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// A process that connects.
struct Attempt {
    address: [u8; 16],
    port: u16,
    /// What the socket is bound to, or [`ANY_V6`] or [`ANY_V4`].
    source: [u8; 16],
}

/// Reads one field of a context: by itself and as wide as it is declared (volatile), because the verifier translates
/// exactly such loads.
macro_rules! field {
    ($context:expr, $($field:tt)+) => {
        core::ptr::read_volatile(&raw const (*$context).$($field)+)
    };
}

/// `struct bpf_sock_addr`, since 4.17; namespace cookie and ancestors since 5.7, `bpf_get_retval` since 5.18.
#[cgroup_sock_addr(connect4)]
fn refuse_v4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is valid while the program runs; its socket is never null.
    let (kind, port, address, source) = unsafe {
        let socket = (*ctx.sock_addr).__bindgen_anon_1.sk;
        (
            field!(ctx.sock_addr, type_),
            field!(ctx.sock_addr, user_port),
            field!(ctx.sock_addr, user_ip4),
            if socket.is_null() { 0 } else { field!(socket, src_ip4) },
        )
    };
    if kind != STREAM {
        return PASS;
    }
    let attempt = Attempt {
        address: mapped(address.to_ne_bytes()),
        port: u16::from_be(port as u16),
        source: mapped(source.to_ne_bytes()),
    };
    decide(&ctx, &attempt)
}

/// The same; also IPv4 in the form of IPv6.
#[cgroup_sock_addr(connect6)]
fn refuse_v6(ctx: SockAddrContext) -> i32 {
    // SAFETY: as above.
    let (kind, port, address, source) = unsafe {
        let socket = (*ctx.sock_addr).__bindgen_anon_1.sk;
        (
            field!(ctx.sock_addr, type_),
            field!(ctx.sock_addr, user_port),
            words([
                field!(ctx.sock_addr, user_ip6[0]),
                field!(ctx.sock_addr, user_ip6[1]),
                field!(ctx.sock_addr, user_ip6[2]),
                field!(ctx.sock_addr, user_ip6[3]),
            ]),
            if socket.is_null() {
                ANY_V6
            } else {
                words([
                    field!(socket, src_ip6[0]),
                    field!(socket, src_ip6[1]),
                    field!(socket, src_ip6[2]),
                    field!(socket, src_ip6[3]),
                ])
            },
        )
    };
    if kind != STREAM {
        return PASS;
    }
    decide(&ctx, &Attempt { address, port: u16::from_be(port as u16), source })
}

#[inline(always)]
const fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

/// An address from its words, which are as the network orders them.
#[inline(always)]
fn words(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: both are sixteen bytes without invalid values.
    unsafe { core::mem::transmute(words) }
}

#[inline(always)]
fn decide(ctx: &SockAddrContext, attempt: &Attempt) -> i32 {
    let context: *mut bpf_sock_addr = ctx.sock_addr;
    // SAFETY: the context is valid while the program runs.
    let (namespace, earlier) = unsafe { (bpf_get_netns_cookie(context.cast()), bpf_get_retval()) };
    let Some((destination, database)) = destination(attempt, namespace) else { return PASS };
    // Another program has refused it already, or this one, at a control group further up.
    if earlier != 0 || !is_leased_and_not_allowed(attempt, database, destination.namespace != 0) {
        return PASS;
    }
    // SAFETY: as above.
    let cookie = unsafe { bpf_get_socket_cookie(context.cast()) };
    if is_hop(cookie) || !is_in_refused_group(database) {
        return PASS;
    }
    tell(cookie, attempt, namespace, database);
    REFUSE
}

/// What is refused and for which database: the exact address in this network namespace, then in any, then loopback.
#[inline(always)]
fn destination(attempt: &Attempt, namespace: u64) -> Option<(RefusedDestination, u32)> {
    let mut wanted =
        RefusedDestination { address: meant(attempt.address), namespace, port: attempt.port, reserved: [0; 6] };
    if let Some(database) = database(&wanted) {
        return Some((wanted, database));
    }
    if is_loopback_v4(&wanted.address) {
        wanted.address = RefusedDestination::LOOPBACK_V4;
    } else {
        wanted.namespace = 0;
    }
    database(&wanted).map(|database| (wanted, database))
}

/// To connect to no address is to connect to this host.
#[inline(always)]
fn meant(address: [u8; 16]) -> [u8; 16] {
    if address == ANY_V4 {
        LOCALHOST_V4
    } else if address == ANY_V6 {
        LOCALHOST_V6
    } else {
        address
    }
}

#[inline(always)]
fn is_loopback_v4(address: &[u8; 16]) -> bool {
    address[12] == 127 && address[..12] == LOCALHOST_V4[..12]
}

#[inline(always)]
fn database(wanted: &RefusedDestination) -> Option<u32> {
    // SAFETY: the pointer comes from the map and is readable until this program has ended.
    REFUSED_DESTINATIONS.get_ptr(wanted).map(|database| unsafe { *database })
}

/// The refusal of this database holds now, and no rule allows the source. `is_here`: the server is in the network
/// namespace of the socket.
#[inline(always)]
fn is_leased_and_not_allowed(attempt: &Attempt, database: u32, is_here: bool) -> bool {
    let Some(held) = REFUSAL_LEASES.get_ptr(database) else { return false };
    // SAFETY: as above. Read by halves, an old and a new lease differ in the time only.
    let Lease { until, flags } = unsafe { *held };
    // SAFETY: no arguments.
    if until <= unsafe { bpf_ktime_get_ns() } {
        return false;
    }
    let is_v4 = attempt.address[..12] == LOCALHOST_V4[..12] || attempt.address == ANY_V4;
    let (flag, family) = if is_v4 { (lease::HAS_SOURCES_V4, 4) } else { (lease::HAS_SOURCES_V6, 6) };
    if flags & flag == 0 {
        return true;
    }
    let is_bound = attempt.source != ANY_V6 && attempt.source != ANY_V4;
    let address = match (is_bound, is_here) {
        (true, _) => attempt.source,
        // The kernel takes the address that is connected to, which is its own; of loopback the first.
        (false, true) if is_loopback_v4(&attempt.address) => LOCALHOST_V4,
        (false, true) => meant(attempt.address),
        // Only the route will tell.
        (false, false) => return false,
    };
    let source = Source { database: database as u16, family, address };
    REFUSAL_SOURCES.get(Key::new(SOURCE_HEAD_BITS + 128, source)).is_none()
}

/// The current process is in the control group that is named for the database, or below it.
#[inline(always)]
fn is_in_refused_group(database: u32) -> bool {
    for level in 1..LEVELS_MAX {
        // SAFETY: a plain number; 0 beyond the group of the process.
        let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
        if cgroup == 0 {
            break;
        }
        if REFUSAL_GROUPS.get_ptr(Group { cgroup, database, reserved: 0 }).is_some() {
            return true;
        }
    }
    false
}

/// Puts it on record. Who connects in a loop must not take the room of others: content and refusals leave the end of the
/// ring to what begins and ends sessions.
#[inline(always)]
fn tell(cookie: u64, attempt: &Attempt, namespace: u64, database: u32) {
    let Some(flags) = content_flags(size_of::<Refused>() as u64) else { return count_loss(kind::REFUSED) };
    let Some(mut entry) = EVENTS.reserve::<Refused>(0) else { return count_loss(kind::REFUSED) };
    let record = entry.as_mut_ptr();
    // SAFETY: a reserved, writable record; every field is written.
    unsafe {
        identify_current(&raw mut (*record).process, kind::REFUSED, cookie, 0);
        (*record).destination =
            RefusedDestination { address: attempt.address, namespace, port: attempt.port, reserved: [0; 6] };
        (*record).database = database;
        (*record).reserved = 0;
    }
    entry.submit(flags);
}
