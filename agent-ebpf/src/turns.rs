//! Connections to an address at which all workers of the proxy listen go to them by turns. A hash, which the kernel takes
//! otherwise, would give one worker six of eight connections, and their statements would wait for it.

use aya_ebpf::macros::socket_filter;
use aya_ebpf::programs::SkBuffContext;

use crate::maps::TURNS;

/// Which listener of the group gets the connection, for `SO_ATTACH_REUSEPORT_EBPF` (4.5). For a number that the group does not
/// have, because a worker has ended, the kernel takes the hash. Two processors that read the same turn both take it: the
/// difference is one connection.
#[socket_filter]
fn take_turn(_ctx: SkBuffContext) -> i64 {
    let Some(turns) = TURNS.get_ptr_mut(0) else { return 0 };
    // SAFETY: the pointer comes from the map; both words are aligned, read and written as a whole.
    unsafe {
        let turn = core::ptr::read_volatile(&raw const (*turns).next);
        core::ptr::write_volatile(&raw mut (*turns).next, turn.wrapping_add(1));
        i64::from(turn % core::ptr::read_volatile(&raw const (*turns).listeners).max(1))
    }
}
