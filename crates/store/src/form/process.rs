//! The process object.

use std::borrow::Cow;

use model::process::{Ancestor, Process, ProcessSource, UnknownProcess};
use model::time::WallTime;
use serde::{Deserialize, Serialize};

use super::identity::Device;
use super::is_false;
use crate::time::Timestamp;

/// A process as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessForm<'a> {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Start, microseconds since boot.
    pub start_us: u64,
    /// Thread name of the group leader.
    pub name: Cow<'a, str>,
    /// Path of the executable in the mount namespace of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<Cow<'a, str>>,
    /// Device of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe_device: Option<Device>,
    /// Inode of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe_inode: Option<u64>,
    /// Change time of that inode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe_changed: Option<Timestamp>,
    /// `truncated`, `deleted`, `memory`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exe_flags: Vec<Cow<'a, str>>,
    /// Command line, redacted; absent where it is not recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<Cow<'a, str>>,
    /// The end of the command line is missing.
    #[serde(skip_serializing_if = "is_false")]
    pub argv_truncated: bool,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Audit login uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// Controlling terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tty: Option<Device>,
    /// Id of its cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<u64>,
    /// Mount namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_namespace: Option<u32>,
    /// `kernel` or `proc`.
    pub source: Cow<'a, str>,
    /// Parents, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<AncestorForm<'a>>,
}

/// One parent as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AncestorForm<'a> {
    /// Process id.
    pub pid: u32,
    /// Start, microseconds since boot.
    pub start_us: u64,
    /// Real user id.
    pub uid: u32,
    /// Thread name of the group leader.
    pub name: Cow<'a, str>,
}

impl<'a> From<&'a Process> for ProcessForm<'a> {
    fn from(process: &'a Process) -> Self {
        let executable = &process.executable;
        // No inode has number 0: then the executable could not be looked at (a kernel thread, or it was gone).
        let identified = executable.inode != 0;
        let flags =
            [(executable.truncated, "truncated"), (executable.deleted, "deleted"), (executable.memory, "memory")];
        Self {
            pid: process.key.pid,
            start_us: process.key.start.0 / 1000,
            name: (&*process.name).into(),
            exe: (!executable.path.is_empty()).then(|| (&*executable.path).into()),
            exe_device: identified.then_some(Device(executable.device)),
            exe_inode: identified.then_some(executable.inode),
            exe_changed: identified.then_some(Timestamp(WallTime(executable.changed))),
            exe_flags: flags.into_iter().filter(|(set, _)| *set).map(|(_, word)| word.into()).collect(),
            argv: process.arguments.values.iter().map(|value| (&**value).into()).collect(),
            argv_truncated: process.arguments.truncated,
            uid: process.uid,
            gid: process.gid,
            login_uid: process.login_uid,
            tty: process.tty.map(Device),
            cgroup: (process.cgroup != 0).then_some(process.cgroup),
            mount_namespace: (process.mount_namespace != 0).then_some(process.mount_namespace),
            source: match process.source {
                ProcessSource::Kernel => "kernel",
                ProcessSource::Proc => "proc",
            }
            .into(),
            ancestors: process.ancestors.iter().map(AncestorForm::from).collect(),
        }
    }
}

impl<'a> From<&'a Ancestor> for AncestorForm<'a> {
    fn from(ancestor: &'a Ancestor) -> Self {
        Self {
            pid: ancestor.key.pid,
            start_us: ancestor.key.start.0 / 1000,
            uid: ancestor.uid,
            name: (&*ancestor.name).into(),
        }
    }
}

/// The word for why a process is unknown.
pub(super) const fn unknown_word(why: UnknownProcess) -> &'static str {
    match why {
        UnknownProcess::Remote => "remote",
        UnknownProcess::NotSeen => "not_seen",
        UnknownProcess::Gone => "gone",
    }
}
