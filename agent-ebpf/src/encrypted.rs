//! Plaintext of encrypted sessions, at the server's own functions: no keys, no termination, no certificate.
//!
//! `ssize_t be_tls_read(Port *port, void *ptr, size_t len, int *waitfor)` and
//! `ssize_t be_tls_write(Port *port, const void *ptr, size_t len, int *waitfor)` (PostgreSQL >= 9.5), and the
//! pair `be_gssapi_read`, `be_gssapi_write` (>= 12, without `waitfor`).
//! The attach cookie is the index of the attachment in `PROBES`; bit 31 says GSS.

use agent_common::content::{SIDE_CLIENT, SIDE_SERVER};
use agent_common::session::{CHANNEL_GSS, CHANNEL_TLS, CHANNEL_UNREAD, PHASE_EITHER, PHASE_MESSAGES, PHASE_STARTUP};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use crate::content::walk;
use crate::maps::{OWNERS, PROBES, SESSIONS};
use crate::process::current_pid;
use crate::storage::{Calls, InFlight, calls};

/// Bit of the attach cookie: the attachment is one of the GSS functions.
const COOKIE_GSS: u64 = 1 << 31;

/// `be_tls_read`, `be_gssapi_read`: entry.
#[uprobe]
fn encrypted_read(ctx: ProbeContext) -> u32 {
    enter(&ctx, SIDE_CLIENT)
}

/// `be_tls_read`, `be_gssapi_read`: return value is the number of plaintext bytes.
#[uretprobe]
fn encrypted_read_return(ctx: RetProbeContext) -> u32 {
    leave(&ctx, SIDE_CLIENT)
}

/// `be_tls_write`, `be_gssapi_write`: entry.
#[uprobe]
fn encrypted_write(ctx: ProbeContext) -> u32 {
    enter(&ctx, SIDE_SERVER)
}

/// `be_tls_write`, `be_gssapi_write`: return value is the number of plaintext bytes.
#[uretprobe]
fn encrypted_write_return(ctx: RetProbeContext) -> u32 {
    leave(&ctx, SIDE_SERVER)
}

/// Remembers the buffer. The same call reported by a second attachment (one inode seen through two mounts)
/// has the same stack pointer: it is counted as a duplicate, and only one return will find the entry.
#[inline(always)]
fn enter(ctx: &ProbeContext, side: u8) -> u32 {
    // SAFETY: helpers without preconditions; the registers are those of the probed call.
    let (cookie, stack_pointer) = unsafe { (bpf_get_attach_cookie(ctx.as_ptr()), stack_pointer(ctx)) };
    let Some(buffer) = ctx.arg::<u64>(1) else { return 0 };
    let Some(calls) = calls() else { return 0 };
    let call = slot(calls, side);
    let duplicate = call.stack_pointer == stack_pointer && call.buffer == buffer;
    if let Some(counts) = PROBES.get_ptr_mut((cookie & 0xff) as u32) {
        // SAFETY: a per-CPU slot.
        unsafe {
            (*counts).hits += 1;
            (*counts).duplicates += u64::from(duplicate);
        }
    }
    *call = InFlight { stack_pointer, buffer };
    0
}

#[inline(always)]
fn slot(calls: &mut Calls, side: u8) -> &mut InFlight {
    if side == SIDE_CLIENT { &mut calls.read } else { &mut calls.write }
}

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
unsafe fn stack_pointer(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context of a uprobe is the user's pt_regs.
    unsafe { (*ctx.regs).rsp }
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
unsafe fn stack_pointer(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context of a uprobe is the user's pt_regs.
    unsafe { (*ctx.regs).sp }
}

#[inline(always)]
fn leave(ctx: &RetProbeContext, side: u8) -> u32 {
    // SAFETY: a helper without preconditions.
    let attachment = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let Some(calls) = calls() else { return 0 };
    let buffer = core::mem::take(&mut slot(calls, side).buffer);
    let result: i64 = ctx.ret();
    if buffer == 0 || result <= 0 || result > i64::from(i32::MAX) {
        return 0;
    }
    if calls.session == 0 {
        // The session is older than the agent, and this plaintext was in the server's memory before it.
        let Some(cookie) = OWNERS.get_ptr(current_pid()) else { return 0 };
        // SAFETY: the pointer comes from the map.
        calls.session = unsafe { *cookie };
    }
    let cookie = calls.session;
    let Some(session) = SESSIONS.get_ptr_mut(cookie) else { return 0 };
    let channel = if attachment & COOKIE_GSS == 0 { CHANNEL_TLS } else { CHANNEL_GSS };
    // SAFETY: the pointer comes from the map; only the serving thread changes a session's content state.
    unsafe {
        if (*session).channel == CHANNEL_UNREAD {
            return 0;
        }
        if (*session).channel != channel {
            // A session older than the agent: until now its ciphertext was taken for plaintext.
            (*session).channel = channel;
            (*session).server.phase = PHASE_MESSAGES;
            if (*session).client.phase != PHASE_STARTUP {
                (*session).client.phase = PHASE_EITHER;
            }
            for direction in [&raw mut (*session).client, &raw mut (*session).server] {
                (*direction).remaining = 0;
                (*direction).partial_length = 0;
            }
        }
        let direction = if side == SIDE_CLIENT { &raw mut (*session).client } else { &raw mut (*session).server };
        if (*direction).counts.content_calls == 0 && (*direction).counts.socket_bytes > result as u64 {
            (*direction).counts.handshake_bytes = (*direction).counts.socket_bytes - result as u64;
        }
        (*direction).counts.content_calls += 1;
    }
    walk(session, cookie, side, buffer, result as u32)
}
