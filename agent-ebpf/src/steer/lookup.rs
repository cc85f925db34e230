//! One connection attempt: whose is it, and is it steered?

use agent_common::steering::{Counters, Destination, Rule, SOURCE_HEAD_BITS, Source, Tuple, flag};
use aya_ebpf::bindings::bpf_sk_lookup;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::sk_lookup;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::SkLookupContext;

use crate::choose::{Choice, choose};
use crate::maps::{COUNTERS, DIRECT, EXEMPT, RULES};

/// `enum sk_action` of `include/uapi/linux/bpf.h`. A drop is answered with a reset: the client reads "connection refused".
const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;

/// `AF_INET`, `AF_INET6`, `IPPROTO_TCP`.
const FAMILY_INET: u32 = 2;
const FAMILY_INET6: u32 = 10;
const PROTOCOL_TCP: u32 = 6;

/// The ends of the attempt, in the forms of the maps.
pub(crate) struct Attempt {
    pub(crate) tuple: Tuple,
    pub(crate) is_v6: bool,
}

/// `struct bpf_sk_lookup`, since 5.9. Programs of one namespace run one after the other, and a socket that any of them
/// chose wins over every drop.
#[sk_lookup]
fn steer(ctx: SkLookupContext) -> u32 {
    let Some(attempt) = attempt(ctx.lookup) else { return SK_PASS };
    let Some(rule) = rule_of(&attempt) else { return SK_PASS };
    if rule.flags & flag::ON == 0 {
        return SK_PASS;
    }
    let Some(counters) = COUNTERS.get_ptr_mut(rule.counters) else { return SK_PASS };
    decide(&ctx, &attempt, rule, counters)
}

#[inline(always)]
fn decide(ctx: &SkLookupContext, attempt: &Attempt, rule: &Rule, counters: *mut Counters) -> u32 {
    // SAFETY: `counters` is this processor's value in the map; an update that preemption loses makes it one lower. The
    // context is valid while the program runs.
    unsafe {
        if rule.flags & flag::GUARD != 0 {
            (*counters).guarded += 1;
            return SK_DROP;
        }
        if !core::ptr::read_volatile(&raw const (*ctx.lookup).__bindgen_anon_1.__bindgen_anon_1.sk).is_null() {
            (*counters).other_program += 1;
            return SK_PASS;
        }
        let now = bpf_ktime_get_ns();
        if is_exempt(&attempt.tuple, now) {
            (*counters).exempt += 1;
            return SK_PASS;
        }
        if is_direct(attempt, rule) {
            (*counters).direct += 1;
            return SK_PASS;
        }
        match choose(ctx, attempt, rule, now, counters) {
            Choice::Steered => (*counters).steered += 1,
            Choice::OtherProgram => (*counters).other_program += 1,
            Choice::NoListener if rule.flags & flag::FAIL_CLOSED == 0 => (*counters).passed_open += 1,
            Choice::NoListener => {
                (*counters).dropped_closed += 1;
                return SK_DROP;
            }
        }
    }
    SK_PASS
}

/// Reads one field of the context: by itself and as wide as it is declared (volatile), because the verifier translates
/// exactly such loads.
macro_rules! field {
    ($lookup:expr, $($field:tt)+) => {
        core::ptr::read_volatile(&raw const (*$lookup).$($field)+)
    };
}

/// `None` where it is not TCP. The fields of the other family are zero; all are read before the first branch, or the
/// compiler would join the loads of both families behind a computed address, which the verifier refuses.
#[inline(always)]
fn attempt(lookup: *const bpf_sk_lookup) -> Option<Attempt> {
    // SAFETY: the context is valid while the program runs.
    let (family, protocol, ports, v4, source, destination) = unsafe {
        (
            field!(lookup, family),
            field!(lookup, protocol),
            (u16::from_be(field!(lookup, remote_port)), field!(lookup, local_port) as u16),
            (field!(lookup, remote_ip4), field!(lookup, local_ip4)),
            words(
                field!(lookup, remote_ip6[0]),
                field!(lookup, remote_ip6[1]),
                field!(lookup, remote_ip6[2]),
                field!(lookup, remote_ip6[3]),
            ),
            words(
                field!(lookup, local_ip6[0]),
                field!(lookup, local_ip6[1]),
                field!(lookup, local_ip6[2]),
                field!(lookup, local_ip6[3]),
            ),
        )
    };
    if protocol != PROTOCOL_TCP {
        return None;
    }
    let is_v6 = match family {
        FAMILY_INET => false,
        FAMILY_INET6 => true,
        _ => return None,
    };
    let (source, destination) = if is_v6 { (source, destination) } else { (mapped(v4.0), mapped(v4.1)) };
    Some(Attempt { tuple: Tuple { source, destination, source_port: ports.0, destination_port: ports.1 }, is_v6 })
}

#[inline(always)]
fn mapped(v4: u32) -> [u8; 16] {
    words(0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), v4)
}

/// An address from its words, which are as the network orders them.
#[inline(always)]
fn words(a: u32, b: u32, c: u32, d: u32) -> [u8; 16] {
    let [a, b, c, d] = [a.to_ne_bytes(), b.to_ne_bytes(), c.to_ne_bytes(), d.to_ne_bytes()];
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
}

/// The rule for the destination, the closest first: as the kernel chooses among listeners.
#[inline(always)]
fn rule_of(attempt: &Attempt) -> Option<&'static Rule> {
    let mut destination =
        Destination { address: attempt.tuple.destination, port: attempt.tuple.destination_port, reserved: 0 };
    if let Some(rule) = rule(&destination) {
        return Some(rule);
    }
    if !attempt.is_v6 {
        destination.address = Destination::ANY_V4;
        if let Some(rule) = rule(&destination) {
            return Some(rule);
        }
    }
    destination.address = Destination::ANY;
    rule(&destination)
}

#[inline(always)]
fn rule(destination: &Destination) -> Option<&'static Rule> {
    // SAFETY: the pointer comes from the map and is readable until this program has ended. A rule that is changed meanwhile
    // may be read by halves: user space changes one flag at a time, and the fields do not depend on each other.
    RULES.get_ptr(destination).map(|rule| unsafe { &*rule })
}

#[inline(always)]
fn is_exempt(tuple: &Tuple, now: u64) -> bool {
    // SAFETY: as above.
    EXEMPT.get_ptr(tuple).is_some_and(|until| unsafe { *until } > now)
}

#[inline(always)]
fn is_direct(attempt: &Attempt, rule: &Rule) -> bool {
    let family = if attempt.is_v6 { 6 } else { 4 };
    let source = Source { database: rule.database, family, address: attempt.tuple.source };
    DIRECT.get(Key::new(SOURCE_HEAD_BITS + 128, source)).is_some()
}
