//! What the core may not look at itself: the control group and the executable of a client's process.
//!
//! The executable goes to the core as an open file, and the core reads it: this process parses no foreign file.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;

use capture::processes;
use model::process::ProcessKey;

/// Inode number of the first namespace of control groups, fixed since 4.6.
const INITIAL_CGROUP_NAMESPACE: u64 = 0xefff_fffb;
/// `/proc` shows start times in ticks of `USER_HZ`.
const NANOS_PER_TICK: u64 = 10_000_000;

/// What was found; nothing of a process that is gone.
#[derive(Debug, Default)]
pub(super) struct Description {
    /// Path from the root of the unified hierarchy.
    pub(super) cgroup: Option<String>,
    pub(super) executable: Option<File>,
}

/// Looks at a process.
pub(super) fn describe(process: ProcessKey) -> Description {
    let pid = process.pid;
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok();
    let cgroup = cgroup.as_deref().filter(|_| sees_whole_hierarchy()).and_then(unified).map(str::to_owned);
    let executable = File::open(format!("/proc/{pid}/exe")).ok();
    // Only a look afterwards shows whose they are: the number could have gone to another process meanwhile.
    let is_it = processes::start(pid).is_some_and(|start| start / NANOS_PER_TICK == process.start.0 / NANOS_PER_TICK);
    if is_it { Description { cgroup, executable } } else { Description::default() }
}

/// In another namespace paths begin somewhere in the hierarchy, and anybody could choose the names below.
pub(super) fn sees_whole_hierarchy() -> bool {
    fs::metadata("/proc/self/ns/cgroup").is_ok_and(|found| found.ino() == INITIAL_CGROUP_NAMESPACE)
}

/// The path in the unified hierarchy (cgroups(7), `/proc/PID/cgroup`).
pub(super) fn unified(memberships: &str) -> Option<&str> {
    memberships.lines().find_map(|line| line.strip_prefix("0::")).filter(|path| path.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use model::time::BootTime;

    use super::*;

    #[test]
    fn the_path_in_the_unified_hierarchy_counts() {
        assert_eq!(unified("0::/system.slice/app.service\n"), Some("/system.slice/app.service"));
        assert_eq!(unified("4:memory:/docker/1\n1:name=systemd:/a\n0::/b\n"), Some("/b"));
        assert_eq!(unified("4:memory:/docker/1\n"), None);
        assert_eq!(unified("0::\n"), None);
    }

    #[test]
    fn a_process_is_described_and_another_with_its_number_is_not() {
        let pid = std::process::id();
        let start = BootTime(processes::start(pid).unwrap());
        let own = describe(ProcessKey { pid, start });
        let (opened, itself) = (own.executable.unwrap().metadata().unwrap(), fs::metadata("/proc/self/exe").unwrap());
        assert_eq!((opened.dev(), opened.ino()), (itself.dev(), itself.ino()));
        let earlier = BootTime(start.0 - NANOS_PER_TICK);
        let other = describe(ProcessKey { pid, start: earlier });
        assert!(other.executable.is_none() && other.cgroup.is_none());
    }
}
