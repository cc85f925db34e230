//! Maps and load-time constants. Every map has a bound; what does not fit is counted.

use agent_common::kind;
use agent_common::listener::{TcpListener, UnixListener};
use agent_common::offsets::Offsets;
use agent_common::refusal::{DESTINATIONS_MAX, GROUPS_MAX, Group, LEASES_MAX, Lease, RefusedDestination, SOURCES_MAX};
use agent_common::session::{Endpoints, Session};
use agent_common::settings::{PORT_SET_WORDS, ProbeCounts, Settings, counter};
use agent_common::steering::Source;
use agent_common::turns::Turns;
use aya_ebpf::bindings::{BPF_F_RDONLY_PROG, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};

#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::POISONED;

#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings::DEFAULT;

/// Records to user space, in the order in which they were reserved. User space sets the size.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// Observed sessions by socket cookie. User space sets the size.
#[map]
pub(crate) static SESSIONS: HashMap<u64, Session> = HashMap::with_max_entries(16384, 0);

/// Session served by a thread group. One per server process (PostgreSQL serves one session per process).
#[map]
pub(crate) static OWNERS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(16384, 0);

/// Client processes of sessions: their exec, fork and exit is reported.
#[map]
pub(crate) static CLIENT_PROCESSES: LruHashMap<u32, u64> = LruHashMap::with_max_entries(16384, 0);

/// Database listeners on TCP.
#[map]
pub(crate) static TCP_LISTENERS: HashMap<TcpListener, u32> = HashMap::with_max_entries(8192, 0);

/// Ports that database listeners use in any network namespace: the first filter of connecting clients.
/// Value: database id for configured ports (a listener that appears is taken at once), or `u32::MAX`.
#[map]
pub(crate) static PORTS: HashMap<u16, u32> = HashMap::with_max_entries(8192, 0);

/// The same ports as a set of bits, 64 in each entry: what every receive and send on the host is asked first. A bit is
/// never taken back, because sessions outlive their listener.
#[map]
pub(crate) static PORT_SET: Array<u64> = Array::with_max_entries(PORT_SET_WORDS, 0);

/// Database listeners on Unix sockets, by the kernel address of the bound address; see [`UnixListener`].
#[map]
pub(crate) static UNIX_LISTENERS: HashMap<u64, UnixListener> = HashMap::with_max_entries(8192, 0);

/// Whose turn it is at the proxy's own addresses. User space says how many take turns.
#[map]
pub(crate) static TURNS: Array<Turns> = Array::with_max_entries(1, 0);

/// Local TCP clients from their handshake until the server's socket appears: endpoints to cookie.
#[map]
pub(crate) static CONNECTING: LruHashMap<Endpoints, u64> = LruHashMap::with_max_entries(8192, 0);

/// The proxy's sockets to servers, marked before they connect. Value: `HOP_*`. User space sets the size.
#[map]
pub(crate) static HOPS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(16384, 0);

/// Addresses of servers that local processes may not connect to.
#[map]
pub(crate) static REFUSED_DESTINATIONS: HashMap<RefusedDestination, u32> =
    HashMap::with_max_entries(DESTINATIONS_MAX, BPF_F_RDONLY_PROG);

/// Until when, for each database.
#[map]
pub(crate) static REFUSAL_LEASES: HashMap<u32, Lease> = HashMap::with_max_entries(LEASES_MAX, BPF_F_RDONLY_PROG);

/// Which processes, for each database.
#[map]
pub(crate) static REFUSAL_GROUPS: HashMap<Group, u32> = HashMap::with_max_entries(GROUPS_MAX, BPF_F_RDONLY_PROG);

/// Sources that may connect directly.
#[map]
pub(crate) static REFUSAL_SOURCES: LpmTrie<Source, u32> = LpmTrie::with_max_entries(SOURCES_MAX, BPF_F_RDONLY_PROG);

/// Records lost per kind because the ring was full.
#[map]
pub(crate) static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(kind::COUNT, 0);

/// See [`counter`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

/// Hits per probe attachment.
#[map]
pub(crate) static PROBES: PerCpuArray<ProbeCounts> = PerCpuArray::with_max_entries(256, 0);

/// A session before its first byte. In a map because 256 bytes are half of a BPF stack.
#[map]
pub(crate) static NEW_SESSION: Array<Session> = Array::with_max_entries(1, 0);

/// Bytes that this processor has put into the ring since it last looked how full it is.
#[map]
static UNCHECKED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

pub(crate) fn offsets() -> &'static Offsets {
    // SAFETY: a volatile reference keeps the compiler from folding the values of the object file.
    unsafe { &*core::hint::black_box(&raw const OFFSETS) }
}

pub(crate) fn settings() -> Settings {
    // SAFETY: reads an aligned, initialised static; volatile because user space replaced its value.
    unsafe { core::ptr::read_volatile(&raw const SETTINGS) }
}

pub(crate) fn count_loss(kind: u32) {
    increment(&LOSSES, kind, 1);
}

pub(crate) fn count(counter: u32, by: u64) {
    increment(&COUNTERS, counter, by);
}

fn increment(map: &PerCpuArray<u64>, index: u32, by: u64) {
    if let Some(value) = map.get_ptr_mut(index) {
        // SAFETY: a per-CPU slot; a lost update under preemption only makes a counter one lower.
        unsafe { *value += by };
    }
}

/// `BPF_RB_AVAIL_DATA`: asks how much the reader has not taken yet.
const AVAILABLE_DATA: u64 = 0;

/// Flags for a submit: the reader is woken only when enough is waiting, otherwise its timer collects.
pub(crate) fn wake_flags() -> u64 {
    flags_at(EVENTS.query(AVAILABLE_DATA))
}

/// Flags for a content record of this size; `None` when the rest of the ring is kept for records of other kinds.
///
/// To ask for the ring's fill costs as much as to write a small record, so each processor asks once for every
/// `fill_check_bytes` that it writes.
pub(crate) fn content_flags(size: u64) -> Option<u64> {
    let unchecked = UNCHECKED.get_ptr_mut(0)?;
    // SAFETY: a per-CPU slot; a lost update under preemption only makes the next look earlier or later by one record.
    let written = unsafe { *unchecked } + size;
    let settings = settings();
    if written < u64::from(settings.fill_check_bytes) {
        // SAFETY: as above.
        unsafe { *unchecked = written };
        return Some(u64::from(BPF_RB_NO_WAKEUP));
    }
    let waiting = EVENTS.query(AVAILABLE_DATA);
    if waiting >= u64::from(settings.content_fill_max) {
        return None;
    }
    // SAFETY: as above.
    unsafe { *unchecked = 0 };
    Some(flags_at(waiting))
}

#[inline(always)]
fn flags_at(waiting: u64) -> u64 {
    let flag = if waiting >= u64::from(settings().wake_fill) { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    u64::from(flag)
}
