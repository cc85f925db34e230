//! `warder run`: the log, then the kernel process.

use anyhow::Result;

use crate::config::Config;
use crate::kernel_process;

/// Unless `WARDER_LOG` says otherwise. rmcp tells of each request, and what its client calls itself.
const LOG: &str = "info,rmcp=off";

/// Runs the agent until it is stopped.
pub fn run(config: &Config) -> Result<()> {
    start_log();
    kernel_process::run(config)
}

/// The log goes to standard error, where a service manager collects it; `WARDER_LOG` filters it.
pub(crate) fn start_log() {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::try_from_env("WARDER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOG));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
