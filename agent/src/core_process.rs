//! The unprivileged core process.

/// Runs the core on its inherited socket.
pub fn run() -> anyhow::Result<()> {
    anyhow::bail!("not wired yet: this build has no core; use a later one")
}
