//! Builds the eBPF programs and, with them embedded, the agent.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use warder_tests::tooling;

use crate::progress::{note, step};
use crate::shell::{cargo, foreground, target_directory, workspace};
use crate::{ebpf, setup};

/// Builds the eBPF programs, for the build scripts that embed them.
///
/// # Errors
/// When a toolchain is missing or they do not compile.
pub(crate) fn programs() -> Result<ebpf::Objects> {
    setup::for_build()?;
    step("build: eBPF programs", || ebpf::build(&workspace()))
}

/// Builds `target/release/warder` and returns its path. Where `WARDER_BIN` names an agent, that one is used instead
/// (to compare two builds, or to test a packaged one).
///
/// # Errors
/// When a toolchain is missing or something does not compile.
pub(crate) fn release() -> Result<PathBuf> {
    agent("release", &["--release", "--package", "agent"])
}

/// The same for tests: it can be made to die at a step of its work.
///
/// # Errors
/// As [`release`].
pub(crate) fn release_for_tests() -> Result<PathBuf> {
    agent("release", &["--release", "--package", "agent", "--features", "agent/fault-points"])
}

/// The same with debug assertions and overflow checks, for tests: `target/debug/warder`, built with what the tests are
/// built with.
///
/// # Errors
/// When a toolchain is missing or something does not compile.
pub(crate) fn checked(features: &str) -> Result<PathBuf> {
    agent("debug", &["--workspace", "--exclude", "agent-ebpf", "--features", features, "--bin", "warder"])
}

fn agent(folder: &str, options: &[&str]) -> Result<PathBuf> {
    if std::env::var_os("WARDER_BIN").is_some() {
        let binary = tooling::agent_binary()?;
        note(&format!("WARDER_BIN: using {} as it is", binary.display()));
        return Ok(binary);
    }
    let objects = programs()?;
    step("build: agent", || {
        let mut build = cargo();
        build.arg("build").args(options).envs(objects.environment());
        foreground(&mut build)?;
        let binary = target_directory().join(folder).join("warder");
        ensure!(binary.is_file(), "{} was not built", binary.display());
        Ok(binary)
    })
}
