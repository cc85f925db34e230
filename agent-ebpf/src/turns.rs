//! Connections to an address at which all workers of the proxy listen go to them by turns. A hash, which the kernel takes
//! otherwise, would give one worker six of eight connections, and their statements would wait for it.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use aya_ebpf::macros::socket_filter;
use aya_ebpf::programs::SkBuffContext;

use crate::maps::TURNS;

/// Which listener of the group gets the connection, for `SO_ATTACH_REUSEPORT_EBPF` (TCP since 4.6). For a number that the group does not
/// have, because a worker has ended, the kernel takes the hash. Two processors that read the same turn both take it: the
/// difference is one connection.
#[socket_filter]
fn take_turn(_ctx: SkBuffContext) -> i64 {
    let Some(turns) = TURNS.get_ptr_mut(0) else { return 0 };
    // SAFETY: the pointer comes from the map, whose words any value is good for; the helper has no arguments.
    unsafe {
        let before = core::ptr::read_volatile(turns);
        let (whose, after) = before.take(before.workers, bpf_get_prandom_u32());
        core::ptr::write_volatile(turns, after);
        i64::from(whose)
    }
}
