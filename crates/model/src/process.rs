//! Who is at the other end: a process as the kernel saw it at the moment that mattered.
//!
//! The parts that many processes have in common are shared: every backend of a server has the same executable,
//! command line and ancestors.

use std::sync::Arc;

use crate::time::BootTime;

/// A process for its whole life: pids are re-used, (pid, start) is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Thread-group id in the initial pid namespace.
    pub pid: u32,
    /// Start of the group leader, boot clock.
    pub start: BootTime,
}

/// The file that a process executes, identified by inode; the path alone is no identity
/// (a user can create any path in a mount namespace of their own).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Executable {
    /// Path within the mount namespace of the process, by a bounded walk; lossy UTF-8.
    pub path: String,
    /// Device number of the inode, as the kernel encodes it in `s_dev` (`major << 20 | minor`).
    pub device: u32,
    /// Inode number.
    pub inode: u64,
    /// Change time of the inode, nanoseconds since 1970.
    pub changed: u64,
    /// The path was longer than the walk's bound: its beginning is missing.
    pub truncated: bool,
    /// The file had been unlinked when it was looked at.
    pub deleted: bool,
    /// The file is anonymous memory (`memfd_create`).
    pub memory: bool,
}

/// Command line, after redaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arguments {
    /// Arguments in order, lossy UTF-8, secrets replaced. Empty if the configuration says `argv = "none"`.
    pub values: Vec<String>,
    /// The command line was longer than the capture bound: its end is missing.
    pub truncated: bool,
}

/// One parent, grandparent, ... of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ancestor {
    /// Which process.
    pub key: ProcessKey,
    /// Real user id.
    pub uid: u32,
    /// Thread name of the group leader (15 bytes at most).
    pub name: String,
}

/// Where the knowledge about a process comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProcessSource {
    /// Captured in the kernel, in the context of the process itself.
    Kernel,
    /// Read from `/proc` afterwards (a session older than the agent).
    Proc,
}

/// A process at the moment it touched a database session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Which process.
    pub key: ProcessKey,
    /// Thread name of the group leader (15 bytes at most).
    pub name: String,
    /// What it executes.
    pub executable: Arc<Executable>,
    /// Its command line, redacted.
    pub arguments: Arc<Arguments>,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// Real group id in the initial user namespace.
    pub gid: u32,
    /// Audit login uid; `None` where no login set one.
    pub login_uid: Option<u32>,
    /// Controlling terminal as `major << 20 | minor`; `None` without one.
    pub tty: Option<u32>,
    /// Id of its cgroup in the unified hierarchy (inode of the cgroup directory).
    pub cgroup: u64,
    /// Mount namespace (inode number).
    pub mount_namespace: u32,
    /// Parents, nearest first, bounded.
    pub ancestors: Arc<[Ancestor]>,
    /// How it is known.
    pub source: ProcessSource,
}

/// Why a process is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownProcess {
    /// The client is on another host, or behind an address translation: no local socket matches.
    Remote,
    /// The event that carries it has not arrived (yet), or was lost.
    NotSeen,
    /// The process had ended before it could be looked at.
    Gone,
}
