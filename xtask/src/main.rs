//! Every task of the repository: `cargo xtask demo`, `cargo xtask test`, ...
//!
//! Tasks install what they need on a Debian or Ubuntu machine with Rust and root ([`setup`]), tell what they do on
//! standard error, and leave nothing behind but `target/` and the cache of installed drivers.

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "tasks live in real time: progress and benchmarks need the clock")]

mod bench;
mod build;
mod demo;
mod ebpf;
mod fuzz;
mod interrupt;
mod layering;
mod people;
mod progress;
mod scene;
mod setup;
mod shell;
mod suite;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Tasks of the Warder repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what the other tasks need; they do it themselves, too.
    Setup,
    /// Builds the eBPF programs and the agent: target/release/warder.
    Build,
    /// Builds everything, starts a private PostgreSQL and the agent, plays a scene of clients, prints the timeline.
    Demo(demo::Options),
    /// Runs every check and test; needs root, because the end-to-end tests load eBPF programs.
    Test(suite::Options),
    /// Runs every fuzz target for a while
    Fuzz {
        /// Seconds for each target
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Measures what observation costs.
    Bench {
        #[command(subcommand)]
        subject: bench::Subject,
    },
}

fn main() -> ExitCode {
    let outcome = run(Arguments::parse().task);
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup => setup::everything()?,
        Task::Build => drop(build::release()?),
        Task::Demo(options) => demo::run(&options)?,
        Task::Test(options) => return suite::run(&options),
        Task::Fuzz { seconds } => fuzz::run(seconds)?,
        Task::Bench { subject } => bench::run(&subject)?,
    }
    Ok(ExitCode::SUCCESS)
}
