//! Iterators: the sockets that exist, for sessions older than the agent and to heal after a loss.
//!
//! They see the network namespace of the process that opened them (`bpf_iter_init_seq_net`), so user space opens
//! one per namespace.

use agent_common::scan::{SCANNED_PATH_BYTES, ScannedSocket};
use agent_common::session::{Endpoints, FAMILY_UNIX};
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_seq_write};

use crate::maps::offsets;
use crate::read::kernel_or_zero;
use crate::session::{endpoints, family, is_internet, peer_credentials, unix_path};
use crate::storage::front_of;

/// `struct bpf_iter_meta`, UAPI-like: verified through BTF.
#[repr(C)]
struct Meta {
    seq: *mut core::ffi::c_void,
}

/// `struct bpf_iter__tcp { meta; sk_common; uid }` and `struct bpf_iter__unix { meta; unix_sk; uid }`.
#[repr(C)]
struct Context {
    meta: *mut Meta,
    socket: *mut core::ffi::c_void,
}

/// `bpf_iter__tcp`, since 5.9.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
extern "C" fn scan_tcp(ctx: *mut core::ffi::c_void) -> i32 {
    write(ctx)
}

/// `bpf_iter__unix`, since 5.15.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/unix")]
extern "C" fn scan_unix(ctx: *mut core::ffi::c_void) -> i32 {
    write(ctx)
}

#[inline(always)]
fn write(ctx: *mut core::ffi::c_void) -> i32 {
    let ctx = ctx.cast::<Context>();
    // SAFETY: the verifier types the context by the iterator's BTF; the socket may be null at the end.
    let (meta, socket) = unsafe { ((*ctx).meta, (*ctx).socket) };
    if socket.is_null() {
        return 0;
    }
    // SAFETY: `socket` is the trusted argument of the iterator and not null; `seq` comes from its meta.
    let (cookie, seq) = unsafe { (bpf_get_socket_cookie(socket), (*meta).seq) };
    let mut record = ScannedSocket {
        cookie,
        address: socket as u64,
        peer_address: 0,
        bound_address: 0,
        inode: inode(socket as u64),
        endpoints: Endpoints { own: [0; 16], peer: [0; 16], own_port: 0, peer_port: 0, network_namespace: 0 },
        family: family(socket as u64),
        state: u16::from(kernel_or_zero::<u8>(socket as u64, offsets().sock_state)),
        peer_pid: 0,
        peer_uid: u32::MAX,
        front: front_of(socket).map_or(0, |database| database + 1),
    };
    fill(&mut record);
    // SAFETY: the record is initialised; the helper copies it.
    unsafe { bpf_seq_write(seq.cast(), (&raw const record).cast(), size_of::<ScannedSocket>() as u32) };
    write_path(seq, socket as u64);
    0
}

/// In a frame of its own, as [`write_path`].
#[inline(never)]
fn fill(record: &mut ScannedSocket) -> u32 {
    let sk = record.address;
    if is_internet(record.family) {
        record.endpoints = endpoints(sk);
    } else if record.family == FAMILY_UNIX {
        record.peer_address = kernel_or_zero(sk, offsets().unix_peer);
        record.bound_address = kernel_or_zero(sk, offsets().unix_address);
        (record.peer_pid, record.peer_uid) = peer_credentials(sk);
    }
    0
}

/// In a frame of its own: record and path together are half of a BPF stack.
#[inline(never)]
fn write_path(seq: *mut core::ffi::c_void, sk: u64) -> u32 {
    let mut path = [0_u8; SCANNED_PATH_BYTES];
    if family(sk) == FAMILY_UNIX {
        // SAFETY: `path` has more than UNIX_PATH_MAX bytes.
        unsafe { unix_path(sk, path.as_mut_ptr()) };
    }
    // SAFETY: `seq` comes from the iterator's meta; the path is initialised.
    unsafe { bpf_seq_write(seq.cast(), path.as_ptr().cast(), SCANNED_PATH_BYTES as u32) };
    0
}

/// `SOCK_INODE(sk->sk_socket)->i_ino`; 0 for a socket that no descriptor refers to yet.
#[inline(always)]
fn inode(sk: u64) -> u64 {
    let at = offsets();
    let socket: u64 = kernel_or_zero(sk, at.sock_socket);
    if socket == 0 || at.socket_inode == u32::MAX {
        return 0;
    }
    kernel_or_zero(socket + u64::from(at.socket_inode), at.inode_number)
}
