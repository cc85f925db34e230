//! Steering: the kernel hands connections for a database to the proxy, in the database's network namespace.
//!
//! One program, run for a connection attempt that no established socket takes (`sk_lookup`, since 5.9). It looks at the
//! destination and touches nothing that no rule names. It parses nothing and copies nothing.
//!
//! An object of its own, without a map of the observing programs: it is pinned, so that the fail mode holds while no agent
//! runs at all.
//!
//! It does not ask whether the database listens. The helper for that does not exist here, and the answer would be old when
//! the proxy's hop leaves: the proxy learns it from the hop, and resets the client's connection before a byte was sent.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    expect(unsafe_code, reason = "context and map values are raw pointers; SAFETY is stated at each place")
)]

#[cfg(target_arch = "bpf")]
mod choose;
#[cfg(target_arch = "bpf")]
mod lookup;
#[cfg(target_arch = "bpf")]
mod maps;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // SAFETY: the program contains no path that panics; the verifier would reject a reachable one.
    unsafe { core::hint::unreachable_unchecked() }
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
