//! Processes, identified in the kernel at the moment they act.

use crate::Header;

/// Path components that the walk follows at most.
pub const PATH_COMPONENTS_MAX: usize = 32;
/// Bytes of path, components leaf first, each followed by a NUL.
pub const PATH_BYTES_MAX: usize = 768;
/// Longest name of one path component, with its NUL.
pub const COMPONENT_BYTES_MAX: usize = 256;
/// Bytes of command line, arguments separated by NUL.
pub const ARGUMENTS_BYTES_MAX: usize = 1024;
/// Parents that are followed.
pub const ANCESTORS_MAX: usize = 8;

/// The executable had been unlinked.
pub const EXECUTABLE_DELETED: u32 = 1;
/// The path is longer than the walk's bound.
pub const EXECUTABLE_TRUNCATED: u32 = 2;
/// The path could not be read at all.
pub const EXECUTABLE_UNREADABLE: u32 = 4;
/// The command line is longer than the bound.
pub const ARGUMENTS_TRUNCATED: u32 = 8;
/// The command line could not be read.
pub const ARGUMENTS_UNREADABLE: u32 = 16;

/// One parent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Ancestor {
    /// Start time, boot clock, nanoseconds. 0: unused entry.
    pub start: u64,
    /// Thread-group id, initial pid namespace.
    pub pid: u32,
    /// Real uid, initial user namespace.
    pub uid: u32,
    /// Thread name of the group leader.
    pub name: [u8; 16],
}
const _: () = assert!(size_of::<Ancestor>() == 32);

/// A process with the role in which it was seen.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Identified {
    /// Kind [`crate::kind::OWNED`], [`crate::kind::CONNECTED`] or [`crate::kind::EXECUTED`].
    pub header: Header,
    /// `OWNED`: the session. `CONNECTED`: the client's socket. `EXECUTED`: 0.
    pub cookie: u64,
    /// `CONNECTED`: the session, where known. Otherwise 0.
    pub other_cookie: u64,
    /// Start of the group leader, boot clock, nanoseconds.
    pub start: u64,
    /// Cgroup id in the unified hierarchy.
    pub cgroup: u64,
    /// Inode of the executable.
    pub executable_inode: u64,
    /// Its change time, seconds.
    pub executable_changed_seconds: u64,
    /// Its change time, nanoseconds.
    pub executable_changed_nanos: u32,
    /// Device of its file system, as in `s_dev`.
    pub executable_device: u32,
    /// Thread-group id, initial pid namespace.
    pub pid: u32,
    /// Real uid.
    pub uid: u32,
    /// Real gid.
    pub gid: u32,
    /// Audit login uid; `u32::MAX`: unset.
    pub login_uid: u32,
    /// Controlling terminal, `major << 20 | minor`; `u32::MAX`: none.
    pub tty: u32,
    /// Inode number of the mount namespace.
    pub mount_namespace: u32,
    /// `EXECUTABLE_*` and `ARGUMENTS_*` bits.
    pub flags: u32,
    /// Valid bytes of `path`.
    pub path_bytes: u32,
    /// Valid bytes of `arguments`.
    pub arguments_bytes: u32,
    /// Valid entries of `ancestors`.
    pub ancestors_used: u32,
    /// Thread name of the group leader.
    pub name: [u8; 16],
    /// Nearest first.
    pub ancestors: [Ancestor; ANCESTORS_MAX],
    /// Path components, leaf first, each followed by a NUL.
    pub path: [u8; PATH_BYTES_MAX],
    /// Command line.
    pub arguments: [u8; ARGUMENTS_BYTES_MAX],
}
const _: () = assert!(size_of::<Identified>() == 2176);

/// A client process forked.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Forked {
    /// Kind [`crate::kind::FORKED`].
    pub header: Header,
    /// Start of the parent.
    pub parent_start: u64,
    /// Start of the child.
    pub child_start: u64,
    /// Parent.
    pub parent: u32,
    /// Child.
    pub child: u32,
}
const _: () = assert!(size_of::<Forked>() == 40);

/// A process that holds a session ended.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Exited {
    /// Kind [`crate::kind::EXITED`].
    pub header: Header,
    /// Its start.
    pub start: u64,
    /// Which.
    pub pid: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Exited>() == 32);
