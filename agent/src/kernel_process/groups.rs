//! Control groups of `warder exec`: one for each process tree that has a token.
//!
//! A group is made below the one in which the process is, so that the limits, the unit and the container that it has stay
//! as they are. It belongs to root: whoever may write into the group above can take processes out of it, and nobody can
//! put one in. The kernel does the rest: children are born into their parent's group, and a group with a process in it
//! cannot be removed.
//!
//! Not here: whose a tree is (the core knows).

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use identity::bindings::BINDINGS_MAX;
use tracing::warn;

use super::describe::{sees_whole_hierarchy, unified};
use crate::clock;
use crate::tree_group;

/// How often it is looked whether groups have become empty.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);
/// Groups at once; the core has a bound of its own, and this process does not rely on it.
const GROUPS_MAX: usize = BINDINGS_MAX;
/// How deep groups of an earlier agent are looked for, and among how many.
const DEPTH_MAX: usize = 16;
const SEARCHED_MAX: usize = 1 << 16;

/// The groups that there are.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Where the unified hierarchy is mounted.
    root: Option<PathBuf>,
    groups: Vec<Group>,
    next_sweep: u64,
}

#[derive(Debug)]
struct Group {
    path: PathBuf,
    /// Its number: what the kernel programs report of its processes.
    id: u64,
}

impl Groups {
    /// Finds the hierarchy, and what an earlier agent has left in it.
    pub(super) fn find() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let root = mounts.lines().find_map(unified_root).filter(|_| sees_whole_hierarchy());
        let groups = root.as_deref().map(left_by_others).unwrap_or_default();
        Self { root, groups, next_sweep: 0 }
    }

    /// Puts a process into a group of its own; returns the group's number. It must wait meanwhile: a child that it makes
    /// before it is moved stays outside.
    pub(super) fn enclose(&mut self, process: &OwnedFd) -> Result<u64> {
        let root = self.root.as_deref();
        let root = root.context(
            "the agent sees no unified hierarchy of control groups: mount cgroup2, and start the agent on the host itself",
        )?;
        ensure!(self.groups.len() < GROUPS_MAX, "there are too many process trees with a token");
        let pid = pid(process).context("the process has ended")?;
        let above = root.join(parent(pid)?.trim_start_matches('/'));
        let path = above.join(tree_group::name(clock::boot()));
        fs::create_dir(&path).with_context(|| format!("no control group can be made in {}", above.display()))?;
        let made = fill(&path, pid).and_then(|id| {
            // The number was this process's all the time if it is so still.
            ensure!(self::pid(process) == Some(pid), "the process has ended");
            Ok(id)
        });
        if made.is_err() {
            give_back(&path, &above);
        }
        // Kept in any case: while something is in it, it cannot be removed.
        let id = made.as_ref().copied().unwrap_or_default();
        self.groups.push(Group { path, id });
        made
    }

    /// When to look next, boot time in nanoseconds.
    pub(super) fn due(&self) -> u64 {
        if self.groups.is_empty() { u64::MAX } else { self.next_sweep }
    }

    /// Removes groups that no process is in any more; returns their numbers.
    pub(super) fn sweep(&mut self) -> Vec<u64> {
        let period = u64::try_from(SWEEP_PERIOD.as_nanos()).unwrap_or(u64::MAX);
        self.next_sweep = clock::boot().0.saturating_add(period);
        let empty = self.groups.extract_if(.., |group| is_gone(&group.path));
        empty.map(|group| group.id).collect()
    }
}

/// Where the unified hierarchy is mounted, if this line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)) says so; a part
/// of it that is mounted elsewhere does not count.
fn unified_root(line: &str) -> Option<PathBuf> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (part, place) = (fields.next()?, fields.next()?);
    (part == "/" && file_system.starts_with("cgroup2 ")).then(|| PathBuf::from(place))
}

/// The group in which a process is, or, where that is one of these, the one above: a tree within a tree stands beside it.
fn parent(pid: u32) -> Result<String> {
    let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup")).context("the process has ended")?;
    let path = unified(&memberships).context("the process is in no group of the unified hierarchy")?;
    Ok(tree_group::above(path).unwrap_or(path).to_owned())
}

/// Moves a process into a new group; returns the group's number.
fn fill(path: &Path, pid: u32) -> Result<u64> {
    let set = |file: &str, value: &str| {
        let target = path.join(file);
        fs::write(&target, value).with_context(|| format!("{} refuses {value}", target.display()))
    };
    // Groups below it would have other numbers, and their processes would be nobody's.
    set("cgroup.max.descendants", "0")?;
    set("cgroup.procs", &pid.to_string())?;
    Ok(fs::metadata(path).context("the new control group is gone")?.ino())
}

/// Takes back what was put into a group by mistake. A process that ends meanwhile needs nothing.
fn give_back(path: &Path, above: &Path) {
    let members = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for member in members.lines() {
        if let Err(error) = fs::write(above.join("cgroup.procs"), member) {
            warn!(process = member, "a process stays in a control group without a token: {error}");
        }
    }
}

/// Whether a group is removed now, or was before.
fn is_gone(path: &Path) -> bool {
    match fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Pid of a process as this process counts; `None`: it has ended (proc_pid_fdinfo(5)).
fn pid(process: &OwnedFd) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).ok()?;
    let field = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    field.trim().parse().ok()
}

/// Groups that an agent before this one has made. Whose their processes are is forgotten.
fn left_by_others(root: &Path) -> Vec<Group> {
    let mut waiting = vec![(root.to_owned(), 0)];
    let (mut searched, mut found) = (0, Vec::new());
    while let Some((folder, depth)) = waiting.pop().filter(|_| searched < SEARCHED_MAX) {
        searched += 1;
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_str().is_some_and(tree_group::is_one) {
                // Whoever owns a part of the hierarchy can call groups like these; an agent's belong to root.
                let own = entry.metadata().ok().filter(|metadata| metadata.uid() == 0);
                found.extend(own.map(|metadata| Group { path: entry.path(), id: metadata.ino() }));
            } else if depth < DEPTH_MAX {
                waiting.push((entry.path(), depth + 1));
            }
        }
    }
    found.truncate(GROUPS_MAX);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_unified_hierarchy_is_found() {
        let lines = [
            ("35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate", Some("/sys/fs/cgroup")),
            ("35 24 0:30 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 none rw", Some("/sys/fs/cgroup/unified")),
            ("35 24 0:30 /a /sys/fs/cgroup rw - cgroup2 cgroup2 rw", None),
            ("36 24 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", None),
            ("", None),
        ];
        for (line, expected) in lines {
            assert_eq!(unified_root(line).as_deref(), expected.map(Path::new), "{line}");
        }
    }
}
