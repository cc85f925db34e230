//! `cargo xtask bench`: what observation costs, compared in one run with what one would use instead; and what each
//! part costs by itself.

mod document;
mod machine;
mod memory;
mod observe;
mod parts;
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
    /// What each part costs by itself: a statement decoded, joined, counted, redacted, written; an idle session
    Parts,
}

/// Runs a benchmark.
pub(crate) fn run(subject: &Subject) -> Result<()> {
    match subject {
        Subject::Observe(options) => observe::run(options),
        Subject::Memory(options) => memory::run(options),
        Subject::Parts => parts::run(),
    }
}
