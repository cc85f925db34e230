//! Small state that belongs to one socket or one task and goes with it: no bound to choose, nothing to evict.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::{BPF_F_CLONE, BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type};
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_sk_storage_get, bpf_task_storage_get};

/// Calls of the encrypted read and write functions in flight in a server's thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Calls {
    /// The session that this thread serves; 0 until it is known.
    pub(crate) session: u64,
    pub(crate) read: InFlight,
    pub(crate) write: InFlight,
}

/// A call whose return is awaited.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct InFlight {
    pub(crate) stack_pointer: u64,
    /// 0: no call is in flight.
    pub(crate) buffer: u64,
}

/// A map definition in BTF form; the loader reads its types, nobody reads its values.
#[repr(C)]
struct Definition<V, const TYPE: usize, const FLAGS: usize = { BPF_F_NO_PREALLOC as usize }> {
    r#type: *const [i32; TYPE],
    key: *const i32,
    value: *const V,
    map_flags: *const [i32; FLAGS],
}

// SAFETY: the pointers are placeholders that are never followed.
unsafe impl<V, const TYPE: usize, const FLAGS: usize> Sync for Definition<V, TYPE, FLAGS> {}

impl<V, const TYPE: usize, const FLAGS: usize> Definition<V, TYPE, FLAGS> {
    const fn new() -> Self {
        Self { r#type: ptr::null(), key: ptr::null(), value: ptr::null(), map_flags: ptr::null() }
    }

    #[inline(always)]
    const fn as_map(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }
}

#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "CLIENT_SOCKETS")]
static CLIENT_SOCKETS: Definition<u32, { bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize }> = Definition::new();

/// The proxy's listeners, by database id. What they accept inherits it with the kernel's copy of the socket.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "FRONTS")]
static FRONTS: Definition<
    u32,
    { bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize },
    { (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize },
> = Definition::new();

#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "CALLS")]
static CALLS: Definition<Calls, { bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as usize }> = Definition::new();

/// Whether the client at this socket is already identified.
///
/// `bpf_sk_storage_get` in tracing programs: since 5.11. `sk` must be a tracepoint's trusted argument.
#[inline(always)]
pub(crate) fn is_identified(sk: *mut c_void) -> bool {
    // SAFETY: without a flag to create, the helper only looks.
    unsafe { !bpf_sk_storage_get(CLIENT_SOCKETS.as_map(), sk, ptr::null_mut(), 0).is_null() }
}

/// The database whose proxy listens at, or accepted, this TCP socket.
///
/// `BPF_F_CLONE`: since 5.4. `sk` must be the trusted argument of a tracepoint or an iterator.
#[inline(always)]
pub(crate) fn front_of(sk: *mut c_void) -> Option<u32> {
    // SAFETY: without a flag to create, the helper only looks; a value is four bytes.
    unsafe { bpf_sk_storage_get(FRONTS.as_map(), sk, ptr::null_mut(), 0).cast::<u32>().as_ref().copied() }
}

/// The client at this socket is identified from now on. Without memory it will be identified once more.
#[inline(always)]
pub(crate) fn set_identified(sk: *mut c_void) {
    // SAFETY: a new value is zeroed.
    unsafe {
        bpf_sk_storage_get(CLIENT_SOCKETS.as_map(), sk, ptr::null_mut(), u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE))
    };
}

/// The state of the current thread, created if need be; `None` without memory.
///
/// `bpf_task_storage_get`: since 5.11.
#[inline(always)]
pub(crate) fn calls() -> Option<&'static mut Calls> {
    // SAFETY: the current task is trusted; a new value is zeroed; only this thread asks for its own.
    unsafe {
        bpf_task_storage_get(
            CALLS.as_map(),
            bpf_get_current_task_btf(),
            ptr::null_mut(),
            u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE),
        )
        .cast::<Calls>()
        .as_mut()
    }
}
