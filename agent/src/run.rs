//! `warder run`.

/// Runs the agent.
pub fn run(_config: crate::config::Config) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet: this build has no capture; use a later one")
}
