//! What the iterators write: one record per socket, read from the iterator's descriptor.

use crate::session::{Endpoints, UNIX_PATH_MAX};

/// A socket as an iterator saw it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ScannedSocket {
    /// Socket cookie.
    pub cookie: u64,
    /// Address of the kernel's `struct sock`: joins the two ends of a Unix connection. Never leaves the kernel process.
    pub address: u64,
    /// Unix: `struct sock` of the peer; 0 without one.
    pub peer_address: u64,
    /// Unix: the shared bound address; an accepted socket has its listener's.
    pub bound_address: u64,
    /// Inode number of the socket; 0 where no descriptor refers to it.
    pub inode: u64,
    /// TCP addresses; zero for Unix.
    pub endpoints: Endpoints,
    /// `FAMILY_*`
    pub family: u16,
    /// TCP state (`TCP_LISTEN` = 10, `TCP_ESTABLISHED` = 1, also for Unix).
    pub state: u16,
    /// Unix: pid that called connect.
    pub peer_pid: u32,
    /// Unix: its effective uid.
    pub peer_uid: u32,
    /// TCP, marked as the proxy's (listener, or accepted by one): database id + 1; 0 otherwise.
    pub front: u32,
}
const _: () = assert!(size_of::<ScannedSocket>() == 96);

/// A [`ScannedSocket`] is followed by the path that it is bound to (zeros for TCP), padded to a multiple of 8.
pub const SCANNED_PATH_BYTES: usize = UNIX_PATH_MAX + 4;
