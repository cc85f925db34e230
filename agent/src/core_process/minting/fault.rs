//! Steps at which a test kills this process: only where it was built to be killed (feature `fault-points`).

/// What was just done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is written down that a role is made.
    Recorded,
    /// The role is there; the worker does not know it yet.
    Created,
    /// It is written down that the access ends.
    Decided,
    /// Nobody can log in any more.
    Disabled,
    /// Its sessions have ended.
    Terminated,
    /// The role is gone; nobody has written it down.
    Dropped,
    /// It is written down that a role is an orphan.
    Swept,
}

/// A step was done.
#[cfg(not(feature = "fault-points"))]
pub(super) const fn reached(_: Step) {}

/// The file that `WARDER_FAULT_FILE` names has the word of a step: at this step the process dies, once.
#[cfg(feature = "fault-points")]
pub(super) fn reached(step: Step) {
    let Some(path) = std::env::var_os("WARDER_FAULT_FILE") else { return };
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    if wanted.trim().eq_ignore_ascii_case(&format!("{step:?}")) && std::fs::remove_file(&path).is_ok() {
        let _cannot_return = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    }
}
