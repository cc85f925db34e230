//! Which of the proxy's listeners takes a connection.

use agent_common::steering::{Counters, Rule, SLOTS_MAX};
use aya_ebpf::bindings::BPF_SK_LOOKUP_F_NO_REUSEPORT;
use aya_ebpf::programs::SkLookupContext;

use crate::lookup::Attempt;
use crate::maps::{HEARTBEATS, LISTENERS, TURNS};

/// `EEXIST`: another program has chosen a socket. We do not ask to replace it.
const ALREADY_CHOSEN: i32 = -17;

/// What became of the search.
pub(crate) enum Choice {
    Steered,
    NoListener,
    OtherProgram,
}

/// Looks at each slot once, beginning with the one whose turn it is: a hash would give one worker six of eight connections,
/// and their statements would wait for it. The kernel asks for the first packet of a handshake; the last one finds what that
/// has left, and only where SYN cookies are in use asks again. A cookie holds for every listener whose queue has overflowed too.
#[inline(always)]
pub(crate) fn choose(
    ctx: &SkLookupContext,
    attempt: &Attempt,
    rule: &Rule,
    now: u64,
    counters: *mut Counters,
) -> Choice {
    let slots = rule.slots;
    if slots == 0 || slots > SLOTS_MAX {
        return Choice::NoListener;
    }
    let first = rule.first_slot + if attempt.is_v6 { SLOTS_MAX } else { 0 };
    let begin = turn(rule.counters) % slots;
    for step in 0..SLOTS_MAX {
        if step >= slots {
            break;
        }
        let slot = first + (begin + step) % slots;
        if !is_alive(slot, now, rule.heartbeat_limit) {
            count_stale(slot, counters);
            continue;
        }
        // The listener that was looked at is the one that gets it, not another of its reuseport group.
        match LISTENERS.assign(ctx, slot, u64::from(BPF_SK_LOOKUP_F_NO_REUSEPORT)) {
            Ok(()) => return Choice::Steered,
            Err(ALREADY_CHOSEN) => return Choice::OtherProgram,
            // No socket, or one that cannot take this family.
            Err(_) => {}
        }
    }
    Choice::NoListener
}

/// Whether the owner of the slot wrote a heartbeat not long ago. One from the future is as wrong as an old one.
#[inline(always)]
fn is_alive(slot: u32, now: u64, limit: u64) -> bool {
    let Some(beat) = HEARTBEATS.get_ptr(slot) else { return false };
    // SAFETY: the pointer comes from the map; aligned, written as a whole by its owner.
    let beat = unsafe { core::ptr::read_volatile(beat) };
    beat != 0 && now.saturating_sub(beat) <= limit && beat.saturating_sub(now) <= limit
}

/// A heartbeat that was written once and is old: its owner hangs or has gone.
#[inline(always)]
fn count_stale(slot: u32, counters: *mut Counters) {
    let Some(beat) = HEARTBEATS.get_ptr(slot) else { return };
    // SAFETY: both pointers come from maps; a lost update makes the counter one lower.
    unsafe {
        if core::ptr::read_volatile(beat) != 0 {
            (*counters).stale += 1;
        }
    }
}

/// The next turn of a rule. Two processors that read the same one both take it: the difference is one connection.
#[inline(always)]
fn turn(rule: u32) -> u32 {
    let Some(turns) = TURNS.get_ptr_mut(rule) else { return 0 };
    // SAFETY: the pointer comes from the map; aligned, read and written as a whole.
    unsafe {
        let turn = core::ptr::read_volatile(turns);
        core::ptr::write_volatile(turns, turn.wrapping_add(1));
        turn
    }
}
