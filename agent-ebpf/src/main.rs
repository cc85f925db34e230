//! The kernel witness: sees every database session, counts its bytes, copies what was asked and what became of it.
//!
//! These programs observe only, but for those of two files (`refuse.rs`, `turns.rs`), which are loaded where the configuration
//! asks for them. They decide nothing about SQL. One file per concern; the data types are in `agent-common` under the same names.
//!
//! On any other target than BPF this crate is an empty program, so that plain `cargo check --workspace` works.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        unsafe_code,
        reason = "every BPF helper and every kernel read is an unsafe call; SAFETY is stated per file"
    )
)]

#[cfg(target_arch = "bpf")]
mod content;
#[cfg(target_arch = "bpf")]
mod encrypted;
#[cfg(target_arch = "bpf")]
mod ledger;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod process;
#[cfg(target_arch = "bpf")]
mod read;
#[cfg(target_arch = "bpf")]
mod refuse;
#[cfg(target_arch = "bpf")]
mod scan;
#[cfg(target_arch = "bpf")]
mod session;
#[cfg(target_arch = "bpf")]
mod storage;
#[cfg(target_arch = "bpf")]
mod turns;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // SAFETY: the programs contain no path that panics; the verifier would reject a reachable one.
    unsafe { core::hint::unreachable_unchecked() }
}

/// Several helpers (cookies, task registers, boot clock) are reserved to GPL-compatible programs.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
