//! Reads of kernel and user memory that fail instead of faulting.

use agent_common::offsets::POISON;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};

/// Reads a `T` at `base + offset` in kernel memory; `None` for a null base, a poisoned offset or a fault.
#[inline(always)]
pub(crate) fn kernel<T: Copy>(base: u64, offset: u32) -> Option<T> {
    if base == 0 || offset == POISON {
        return None;
    }
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes size_of::<T>() bytes to a buffer of that size, or fails.
    let result = unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, (base + u64::from(offset)) as *const _)
    };
    // SAFETY: zero means that the whole value was written.
    (result == 0).then(|| unsafe { value.assume_init() })
}

/// Loads a `T` at `base + offset` directly: a nanosecond where [`kernel`] takes a helper call.
///
/// # Safety
/// `base` must be a pointer whose type the verifier knows (a tracepoint's argument, or the result of a helper that
/// casts). It then checks at load time that a member of this size is at `offset`, which is a constant to it because
/// the map of the globals is frozen; the kernel turns a fault into zeros. With a poisoned offset the load is refused.
#[inline(always)]
pub(crate) unsafe fn member<T: Copy>(base: *const core::ffi::c_void, offset: u32) -> T {
    // SAFETY: the caller's promise.
    unsafe { *base.cast::<u8>().add(offset as usize).cast::<T>() }
}

/// Like [`kernel`], zero where it cannot be read.
#[inline(always)]
pub(crate) fn kernel_or_zero<T: Copy + Default>(base: u64, offset: u32) -> T {
    kernel(base, offset).unwrap_or_default()
}

/// Reads a `T` in the memory of the current task.
#[inline(always)]
pub(crate) fn user<T: Copy>(address: u64) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes size_of::<T>() bytes to a buffer of that size, or fails.
    let result = unsafe { bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _) };
    // SAFETY: zero means that the whole value was written.
    (result == 0).then(|| unsafe { value.assume_init() })
}
