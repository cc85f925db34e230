//! Effective user and group of one thread, for the moment in which the kernel notes them on a socket.
//!
//! The C library's functions change all threads of a process, so the system calls are made directly. Real and saved ids
//! stay: the other user may neither signal nor trace this process, and the way back is open.

use std::io;
use std::os::fd::BorrowedFd;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

/// Effective user and group that a client had when it connected (`SO_PEERCRED`), or a server when it listened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Peer {
    /// Of an accepted socket. A worker that asks for a hop hands over the socket itself, instead of saying whose it is.
    ///
    /// # Errors
    /// When it is not a Unix socket.
    pub fn of(accepted: BorrowedFd<'_>) -> io::Result<Self> {
        let found = getsockopt(&accepted, PeerCredentials)?;
        Ok(Self { uid: found.uid(), gid: found.gid() })
    }
}

/// Takes the thread back to what it was. If that fails the process ends: a thread that goes on as a client, or with the
/// groups of nobody, would be wrong in ways that nobody sees.
struct Return(Ids);

impl Drop for Return {
    fn drop(&mut self) {
        // The user first: it brings the capabilities back that the others need.
        let back = set_uid(self.0.uid).and_then(|()| set_gid(self.0.gid)).and_then(|()| set_groups(&self.0.groups));
        if back.is_err() || effective() != (self.0.uid, self.0.gid) {
            std::process::abort();
        }
    }
}

/// Runs `work` while this thread is effectively `peer`, without any supplementary group.
///
/// Files are still accessed as before: that `peer` may use the path was checked when it connected to ours, which has the
/// owner and mode of the server's; by then it may have used a group that this thread does not have.
///
/// # Errors
/// Those of `work`; and when the identity cannot be taken, then nothing ran.
pub(crate) fn being<T>(peer: Peer, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // -1 means "unchanged" to the kernel: the client would be us.
    if peer.uid == u32::MAX || peer.gid == u32::MAX {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let (uid, gid) = effective();
    let before = Ids { uid, gid, groups: groups()? };
    let _return = Return(before);
    set_groups(&[])?;
    set_gid(peer.gid)?;
    set_uid(peer.uid)?;
    if effective() != (peer.uid, peer.gid) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    set_file_uid(uid);
    work()
}

// The system calls, on this thread only.

/// Keeps an id as it is.
const SAME: u32 = u32::MAX;

/// What a thread is, as far as it is changed here.
struct Ids {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

fn call(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn effective() -> (u32, u32) {
    // SAFETY: no arguments, cannot fail.
    let (uid, gid) = unsafe { (libc::syscall(libc::SYS_geteuid), libc::syscall(libc::SYS_getegid)) };
    (u32::try_from(uid).unwrap_or(SAME), u32::try_from(gid).unwrap_or(SAME))
}

fn groups() -> io::Result<Vec<u32>> {
    // SAFETY: a length of zero asks for the number; nothing is written.
    let count = unsafe { libc::syscall(libc::SYS_getgroups, 0, std::ptr::null_mut::<u32>()) };
    let mut groups = vec![0u32; usize::try_from(count).map_err(|_negative| io::Error::last_os_error())?];
    // SAFETY: the kernel writes at most as many ids of four bytes; only this thread changes them.
    let count = unsafe { libc::syscall(libc::SYS_getgroups, groups.len(), groups.as_mut_ptr()) };
    groups.truncate(usize::try_from(count).map_err(|_negative| io::Error::last_os_error())?);
    Ok(groups)
}

fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads that many ids.
    call(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
}

fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: plain numbers. Changes this thread only.
    call(unsafe { libc::syscall(libc::SYS_setresgid, SAME, gid, SAME) })
}

fn set_uid(uid: u32) -> io::Result<()> {
    // SAFETY: as above.
    call(unsafe { libc::syscall(libc::SYS_setresuid, SAME, uid, SAME) })
}

/// File accesses go on as this user; the answer is the user before, never an error.
fn set_file_uid(uid: u32) {
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_setfsuid, uid) };
}
