//! Maps of steering. User space writes all but the counters and the turns.

use agent_common::steering::{Counters, DIRECT_MAX, Destination, EXEMPT_MAX, RULES_MAX, Rule, SLOTS, Source, Tuple};
use agent_common::turns::Turns;
use core::cell::UnsafeCell;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_SOCKMAP;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, bpf_map_def};
use aya_ebpf::helpers::generated::{bpf_map_lookup_elem, bpf_sk_assign, bpf_sk_release};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray};
use aya_ebpf::programs::SkLookupContext;

/// What is steered.
#[map]
pub(crate) static RULES: HashMap<Destination, Rule> = HashMap::with_max_entries(RULES_MAX, BPF_F_RDONLY_PROG);

/// The proxy's listening sockets. The kernel takes a socket out when it is closed, in whatever way.
#[map]
pub(crate) static LISTENERS: Sockets = Sockets::with_max_entries(SLOTS);

/// When the owner of a listener was last seen alive, in nanoseconds of `CLOCK_MONOTONIC`; 0 is never. Workers write it
/// through memory of their own.
#[map]
pub(crate) static HEARTBEATS: Array<u64> = Array::with_max_entries(SLOTS, BPF_F_MMAPABLE);

/// Whose turn it is, for each rule. Nobody else reads it.
#[map]
pub(crate) static TURNS: Array<Turns> = Array::with_max_entries(RULES_MAX, 0);

/// What was chosen for the connection attempts of the last moments, at a place that follows from their mark: the mark, and in its
/// last byte the slot. Nobody else reads it.
#[map]
pub(crate) static CHOSEN: Array<u64> = Array::with_max_entries(CHOSEN_PLACES, 0);

/// Places of [`CHOSEN`], a power of two.
pub(crate) const CHOSEN_PLACES: u32 = 4096;

/// The proxy's hops while they connect.
#[map]
pub(crate) static EXEMPT: HashMap<Tuple, u64> = HashMap::with_max_entries(EXEMPT_MAX, BPF_F_RDONLY_PROG);

/// Sources that are never steered.
#[map]
pub(crate) static DIRECT: LpmTrie<Source, u32> = LpmTrie::with_max_entries(DIRECT_MAX, BPF_F_RDONLY_PROG);

/// What became of connection attempts, for each rule.
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(RULES_MAX, 0);

/// A socket map whose values are as wide as a socket's cookie, so that user space can ask which socket is in a slot (the
/// library's own has 4 bytes, which the kernel refuses to look up).
#[repr(transparent)]
pub(crate) struct Sockets {
    definition: UnsafeCell<bpf_map_def>,
}

// SAFETY: only the address of the definition is used; the loader reads it from the object file.
unsafe impl Sync for Sockets {}

impl Sockets {
    const fn with_max_entries(max_entries: u32) -> Self {
        let definition = bpf_map_def {
            type_: BPF_MAP_TYPE_SOCKMAP,
            key_size: size_of::<u32>() as u32,
            value_size: size_of::<u64>() as u32,
            max_entries,
            map_flags: 0,
            id: 0,
            pinning: 0,
        };
        Self { definition: UnsafeCell::new(definition) }
    }

    /// Gives the connection attempt to the socket of a slot: `bpf_sk_assign(struct bpf_sk_lookup *, struct bpf_sock *, u64)`,
    /// since 5.9. The error is the helper's, or `ENOENT` where the slot is empty.
    #[inline(always)]
    pub(crate) fn assign(&self, ctx: &SkLookupContext, slot: u32, flags: u64) -> Result<(), i32> {
        const NO_ENTRY: i32 = -2;
        // SAFETY: the map's address, and a key on the stack. The socket is referenced until it is released, on every path.
        unsafe {
            let socket = bpf_map_lookup_elem(self.definition.get().cast(), (&raw const slot).cast());
            if socket.is_null() {
                return Err(NO_ENTRY);
            }
            let result = bpf_sk_assign(ctx.as_ptr(), socket, flags);
            bpf_sk_release(socket);
            if result == 0 { Ok(()) } else { Err(result as i32) }
        }
    }
}
