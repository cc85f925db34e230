//! `warder run`: the log, then the kernel process.

use anyhow::Result;
use tracing::warn;

use crate::config::Config;
use crate::{kernel_process, privileges};

/// Unless `WARDER_LOG` says otherwise. rmcp tells of each request, and what its client calls itself.
const LOG: &str = "info,rmcp=off";

/// The client's connection and the hop.
const DESCRIPTORS_OF_SESSION: u64 = 2;
/// What a worker opens beside its sessions, listeners of many databases included.
const DESCRIPTORS_BESIDE: u64 = 512;

/// Runs the agent until it is stopped.
pub fn run(config: &Config) -> Result<()> {
    start_log();
    warn_of_few_descriptors(config, privileges::raise_descriptor_limit()?);
    kernel_process::run(config)
}

/// A worker that has no descriptor left leaves further clients waiting in the queue of its listener.
fn warn_of_few_descriptors(config: &Config, limit: u64) {
    let has_proxy = config.databases.iter().any(|database| database.guard.is_some());
    let needed = descriptors_needed(config.proxy.sessions_max, config.proxy.workers);
    if has_proxy && limit < needed {
        warn!(
            "a process may open {limit} files, which is not enough for [proxy] sessions_max = {}: further clients would wait \
             -> LimitNOFILE={needed} for the service, or a lower sessions_max",
            config.proxy.sessions_max
        );
    }
}

/// By a worker that has its share of all sessions.
fn descriptors_needed(sessions_max: u32, workers: u32) -> u64 {
    u64::from(sessions_max.div_ceil(workers)) * DESCRIPTORS_OF_SESSION + DESCRIPTORS_BESIDE
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_needs_descriptors_for_its_share_rounded_up() {
        assert_eq!(descriptors_needed(10_000, 2), 10_000 + DESCRIPTORS_BESIDE);
        assert_eq!(descriptors_needed(10_000, 3), 2 * 3_334 + DESCRIPTORS_BESIDE);
        assert_eq!(descriptors_needed(1, 32), DESCRIPTORS_OF_SESSION + DESCRIPTORS_BESIDE);
    }
}
