//! Doing something in another network namespace.
//!
//! A thread's namespace decides where its sockets are made; sockets stay where they were made. So a short-lived thread goes
//! there, and no other thread of the process ever changes its place.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `SO_NETNS_COOKIE` of `include/uapi/asm-generic/socket.h`.
const NETNS_COOKIE: libc::c_int = 71;

/// Inode of the network namespace of the calling thread.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn own() -> io::Result<u64> {
    std::fs::metadata("/proc/thread-self/ns/net").map(|metadata| metadata.ino())
}

/// Inode of a namespace: its identity.
///
/// # Errors
/// When the descriptor cannot be asked.
pub fn inode(namespace: BorrowedFd<'_>) -> io::Result<u64> {
    File::from(namespace.try_clone_to_owned()?).metadata().map(|metadata| metadata.ino())
}

/// Cookie of a namespace: what programs of the kernel know it by. `SO_NETNS_COOKIE`, since 5.14.
///
/// # Errors
/// When the namespace cannot be entered, or the kernel is older.
pub fn cookie(namespace: BorrowedFd<'_>) -> io::Result<u64> {
    inside(namespace, || {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let (mut cookie, mut length) = (0u64, libc::socklen_t::try_from(size_of::<u64>()).unwrap_or(0));
        let (value, socket) = (std::ptr::from_mut(&mut cookie).cast(), socket.as_raw_fd());
        // SAFETY: the kernel writes at most `length` bytes, the size of `cookie`.
        let asked = unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, NETNS_COOKIE, value, &raw mut length) };
        if asked == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
    })
}

/// Runs `work` in a network namespace (an open `/proc/PID/ns/net` or a file of `/var/run/netns`).
///
/// # Errors
/// Those of `work`, and when the namespace cannot be entered.
pub fn inside<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    if inode(namespace)? == own()? {
        return work();
    }
    let there = || {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(there).join().unwrap_or_else(|panic| resume_unwind(panic)))
}

/// A thread's own namespace, for a thread that visits others: where a thread for each visit would cost too much.
#[derive(Debug)]
pub(crate) struct Home {
    descriptor: File,
    inode: u64,
}

impl Home {
    /// Where the calling thread is.
    pub(crate) fn here() -> io::Result<Self> {
        let descriptor = File::open("/proc/thread-self/ns/net")?;
        let inode = descriptor.metadata()?.ino();
        Ok(Self { descriptor, inode })
    }

    /// Does `work` in another namespace and comes back. If the way back fails the process ends: every later socket of this
    /// thread would be in the wrong place.
    pub(crate) fn visit<T>(&self, namespace: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        /// Comes back, also when `work` panics.
        struct Return<'a>(&'a File);
        impl Drop for Return<'_> {
            fn drop(&mut self) {
                if setns(self.0, CloneFlags::CLONE_NEWNET).is_err() {
                    std::process::abort();
                }
            }
        }
        if inode(namespace)? == self.inode {
            return work();
        }
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        let _return = Return(&self.descriptor);
        work()
    }
}
