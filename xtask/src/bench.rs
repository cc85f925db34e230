//! `cargo xtask bench`: what observation costs, compared in one run with what one would use instead; and what each
//! part costs by itself.

mod document;
mod machine;
mod mask;
mod memory;
mod observe;
mod parts;
mod proxy;
mod replay;
mod statistics;
mod table;

use anyhow::Result;

/// What is measured.
#[derive(clap::Subcommand)]
pub(crate) enum Subject {
    /// pgbench -S under the agent, under pgaudit and under log_statement = all; memory with idle sessions
    Observe(observe::Options),
    /// Memory of the agent, without sessions, with real idle ones and with replayed ones
    Memory(memory::Options),
    /// What a relay in front of the server costs: HAProxy, PgBouncer and Warder against direct access; idle sessions
    Proxy(proxy::Options),
    /// What masking costs: long results, memory while they pass, point selects
    Mask(mask::Options),
    /// What each part costs by itself: a statement decoded, joined, counted, redacted, written; an idle session
    Parts,
}

/// Runs a benchmark.
pub(crate) fn run(subject: &Subject) -> Result<()> {
    match subject {
        Subject::Observe(options) => observe::run(options),
        Subject::Memory(options) => memory::run(options),
        Subject::Proxy(options) => proxy::run(options),
        Subject::Mask(options) => mask::run(options),
        Subject::Parts => parts::run(),
    }
}

/// Kernel, processors and server: what the figures depend on.
fn machine_description() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let major = warder_tests::tooling::postgres_major().unwrap_or_default();
    format!(
        "Linux {release}, {processors} processors shared with the clients, PostgreSQL {major}, both ends on this machine"
    )
}
