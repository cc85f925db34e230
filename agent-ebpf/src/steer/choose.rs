//! Which of the proxy's listeners takes a connection.

use agent_common::steering::{Counters, Rule, SLOTS_MAX, Tuple};
use aya_ebpf::bindings::BPF_SK_LOOKUP_F_NO_REUSEPORT;
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use aya_ebpf::programs::SkLookupContext;

use crate::lookup::Attempt;
use crate::maps::{CHOSEN, CHOSEN_PLACES, HEARTBEATS, LISTENERS, TURNS};

/// `EEXIST`: another program has chosen a socket. We do not ask to replace it.
const ALREADY_CHOSEN: i32 = -17;

/// What became of the search.
pub(crate) enum Choice {
    Steered,
    NoListener,
    OtherProgram,
}

/// Looks at each slot once, beginning with the one whose turn it is: a hash would give one worker six of eight connections,
/// and their statements would wait for it.
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
    let begin = begin(&attempt.tuple, rule, slots);
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

/// The slot for a connection attempt: that of the same attempt before, or the next in turn. The kernel asks again for the last
/// packet of a handshake where SYN cookies are in use, and there it has to find the listener that sent the cookie.
#[inline(always)]
fn begin(tuple: &Tuple, rule: &Rule, slots: u32) -> u32 {
    const SLOT: u64 = 0xff;
    let mark = u64::from(hash(tuple, rule.seed)) << 32 | u64::from(hash(tuple, !rule.seed));
    let place = (mark >> 32) as u32 % CHOSEN_PLACES;
    let (Some(chosen), Some(turns)) = (CHOSEN.get_ptr_mut(place), TURNS.get_ptr_mut(rule.counters)) else { return 0 };
    // SAFETY: the pointers come from maps, whose words any value is good for; the helper has no arguments. Two processors that
    // read the same turn both take it: the difference is one connection.
    unsafe {
        let before = core::ptr::read_volatile(chosen);
        if before & !SLOT == mark & !SLOT {
            return (before & SLOT) as u32 % slots;
        }
        let (whose, after) = core::ptr::read_volatile(turns).take(slots, bpf_get_prandom_u32());
        core::ptr::write_volatile(turns, after);
        core::ptr::write_volatile(chosen, mark & !SLOT | u64::from(whose));
        whose
    }
}

/// Mixes the client's address and port (the multiplier is of the murmur finaliser).
#[inline(always)]
fn hash(tuple: &Tuple, seed: u32) -> u32 {
    let a = &tuple.source;
    let mut mixed = seed ^ u32::from(tuple.source_port);
    mixed = mix(mixed ^ u32::from_ne_bytes([a[0], a[1], a[2], a[3]]));
    mixed = mix(mixed ^ u32::from_ne_bytes([a[4], a[5], a[6], a[7]]));
    mixed = mix(mixed ^ u32::from_ne_bytes([a[8], a[9], a[10], a[11]]));
    mix(mixed ^ u32::from_ne_bytes([a[12], a[13], a[14], a[15]]))
}

#[inline(always)]
fn mix(value: u32) -> u32 {
    let value = (value ^ (value >> 16)).wrapping_mul(0x85eb_ca6b);
    value ^ (value >> 13)
}
