//! Runs every fuzz target of `fuzz/` for a short time, on the stable toolchain and without cargo-fuzz.
//!
//! libFuzzer (in the crate `libfuzzer-sys`) needs code that counts its branches. The flags below are those that
//! cargo-fuzz passes for `--sanitizer none`; none of them needs a nightly compiler.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use warder_tests::process;

use crate::progress::note;
use crate::setup;
use crate::shell::{cargo, foreground, target_directory, workspace};

/// Coverage counters for libFuzzer, and checks that a release build leaves out.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Coverflow-checks",
];

/// Memory that a target may use, in MiB; inputs are small.
const MEMORY_MAX_MIB: u32 = 1024;

/// Builds and runs every target for `seconds`.
///
/// # Errors
/// When there is no target, one does not compile, or one finds an input that makes it fail (it says which).
pub(crate) fn run(seconds: u32) -> Result<()> {
    let manifest = workspace().join("fuzz").join("Cargo.toml");
    ensure!(manifest.is_file(), "there are no fuzz targets: {} is missing", manifest.display());
    setup::for_fuzz()?;
    let host = host()?;
    let output = target_directory().join("fuzz");
    let mut build = cargo();
    build.args(["build", "--release", "--quiet", "--target", &host, "--manifest-path"]).arg(&manifest);
    // An explicit target keeps the flags away from build scripts.
    build.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f")).env("CARGO_TARGET_DIR", &output);
    foreground(&mut build)?;
    let names = targets(&manifest)?;
    ensure!(!names.is_empty(), "{} names no target", manifest.display());
    for name in names {
        note(&format!("{name} for {seconds} s"));
        run_target(&output.join(&host).join("release").join(&name), &name, seconds)?;
    }
    Ok(())
}

fn run_target(binary: &Path, name: &str, seconds: u32) -> Result<()> {
    // New inputs go to the first folder; the others are read. A failing input is kept where the message says.
    let corpus = folder(&["corpus", name])?;
    let artifacts = folder(&["artifacts", name])?;
    let mut command = std::process::Command::new(binary);
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-rss_limit_mb={MEMORY_MAX_MIB}"));
    command.arg(format!("-artifact_prefix={}/", artifacts.display())).args(["-print_final_stats=1", "-verbosity=0"]);
    command.arg(corpus);
    let seeds = workspace().join("fuzz").join("seeds").join(name);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    foreground(&mut command)
}

fn folder(parts: &[&str]) -> Result<PathBuf> {
    let path = parts.iter().fold(workspace().join("fuzz"), |path, part| path.join(part));
    std::fs::create_dir_all(&path).with_context(|| format!("{} could not be made", path.display()))?;
    Ok(path)
}

/// Names of the programs of the package.
fn targets(manifest: &Path) -> Result<Vec<String>> {
    let mut command = cargo();
    let output =
        process::run(command.args(["metadata", "--format-version=1", "--no-deps", "--manifest-path"]).arg(manifest))?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let targets = list(&metadata, "packages").into_iter().flat_map(|package| list(&package, "targets"));
    let programs = targets.filter(|target| list(target, "kind").iter().any(|kind| kind == "bin"));
    Ok(programs.filter_map(|target| Some(target.get("name")?.as_str()?.to_owned())).collect())
}

/// The target triple of this machine.
fn host() -> Result<String> {
    let output = process::run(std::process::Command::new("rustc").arg("-vV"))?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).context("rustc does not say its host")
}
