//! A control group of the test's own, for processes that the agent shall treat otherwise.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::{process, wait};

/// A control group of the unified hierarchy; removed when the value is dropped, when its processes have ended.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// A place below the root of the hierarchy; no group is there yet.
    ///
    /// # Errors
    /// When the hierarchy is not mounted.
    pub fn place() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mut unified = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let folder = words.next()?;
            (words.next() == Some("cgroup2")).then_some(folder)
        });
        let root = unified.next().context("no unified hierarchy of control groups is mounted")?;
        let name = format!("warder-test-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        Ok(Self(Path::new(root).join(name)))
    }

    /// Makes the group there.
    ///
    /// # Errors
    /// When there is one.
    pub fn make(&self) -> Result<()> {
        fs::create_dir(&self.0).with_context(|| self.0.display().to_string())
    }

    /// Place and group.
    ///
    /// # Errors
    /// As [`Cgroup::place`].
    pub fn create() -> Result<Self> {
        let made = Self::place()?;
        made.make()?;
        Ok(made)
    }

    /// Takes the group away; its processes have to end first.
    ///
    /// # Errors
    /// When they do not.
    pub fn remove(&self) -> Result<()> {
        wait::until("an empty control group", wait::PATIENCE, || Ok(fs::remove_dir(&self.0).is_ok().then_some(())))
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// A command that moves itself into a group below this one and becomes `command`: same pid, same arguments.
    ///
    /// # Errors
    /// When the group below cannot be made.
    pub fn enter(&self, command: &Command) -> Result<Command> {
        let below = self.0.join("below");
        fs::create_dir_all(&below)?;
        let mut entering = process::command_dependent("TERM", "sh");
        entering.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(below.join("cgroup.procs"));
        entering.arg(command.get_program()).args(command.get_args());
        entering.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Ok(entering)
    }

    /// How many programs processes keep attached to it: links that some process holds.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn links(&self) -> Result<usize> {
        let line = format!("cgroup_id:\t{}", fs::metadata(&self.0)?.ino());
        let held = |pid: PathBuf| {
            let descriptors = fs::read_dir(pid.join("fdinfo")).into_iter().flatten().flatten();
            let texts = descriptors.filter_map(|entry| fs::read_to_string(entry.path()).ok());
            texts.filter(|text| text.lines().any(|has| has == line)).count()
        };
        Ok(fs::read_dir("/proc")?.flatten().map(|entry| held(entry.path())).sum())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let below = self.0.join("below");
        for folder in [below, self.0.clone()].into_iter().filter(|folder| folder.exists()) {
            let gone = || Ok(fs::remove_dir(&folder).is_ok().then_some(()));
            if let Err(error) = wait::until("an empty control group", wait::PATIENCE, gone) {
                eprintln!("warning: {}: {error:#}", folder.display());
            }
        }
    }
}
