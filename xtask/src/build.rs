//! Builds the eBPF programs and, with them embedded, the agent.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::progress::step;
use crate::shell::{cargo, foreground, target_directory, workspace};
use crate::{ebpf, setup};

/// Builds `target/release/warder` and returns its path.
///
/// # Errors
/// When a toolchain is missing or something does not compile.
pub(crate) fn release() -> Result<PathBuf> {
    setup::for_build()?;
    let object = step("build: eBPF programs", || ebpf::build(&workspace()))?;
    step("build: agent", || {
        let mut build = cargo();
        build.args(["build", "--release", "--package", "agent"]).env("WARDER_BPF_OBJECT", object);
        foreground(&mut build)?;
        let binary = target_directory().join("release").join("warder");
        ensure!(binary.is_file(), "{} was not built", binary.display());
        Ok(binary)
    })
}
