//! Where the tools are that `cargo xtask` prepares: PostgreSQL's programs and the drivers of other languages.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The distribution's Python: an account without rights may not reach another one that comes first on the search path.
pub const SYSTEM_PYTHON: &str = "/usr/bin/python3";

/// Packages of the Python environment, exact versions.
pub const PYTHON_PACKAGES: &[&str] =
    &["psycopg[binary]==3.3.9", "psycopg2-binary==2.9.13", "asyncpg==0.32.0", "mcp==2.3.0"];

/// Packages of the node environment, exact versions.
pub const NODE_PACKAGES: &[&str] = &["pg@8.23.1", "oidc-provider@9.13.3"];

/// Folder that keeps what is installed for the tests between runs, outside the clone.
///
/// # Errors
/// When neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache_directory() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache"),
    };
    Ok(base.join("warder"))
}

/// The virtual environment with [`PYTHON_PACKAGES`].
///
/// # Errors
/// As [`cache_directory`].
pub fn python_environment() -> Result<PathBuf> {
    Ok(cache_directory()?.join("python"))
}

/// The folder that has [`NODE_PACKAGES`] in its `node_modules`.
///
/// # Errors
/// As [`cache_directory`].
pub fn node_environment() -> Result<PathBuf> {
    Ok(cache_directory()?.join("node"))
}

/// The folder that has the programs of Prometheus, `promtool` among them.
///
/// # Errors
/// As [`cache_directory`].
pub fn prometheus_programs() -> Result<PathBuf> {
    Ok(cache_directory()?.join("prometheus").join("usr").join("bin"))
}

/// Programs of the newest PostgreSQL that the distribution installed; `WARDER_PG_BIN` names another.
///
/// # Errors
/// When there is none: `cargo xtask` installs it.
pub fn postgres_programs() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WARDER_PG_BIN") {
        return Ok(PathBuf::from(path));
    }
    let newest = installed_majors(Path::new("/usr/lib/postgresql")).into_iter().max();
    let major = newest.context("no PostgreSQL server below /usr/lib/postgresql: run `cargo xtask setup`")?;
    Ok(PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")))
}

/// Major version of [`postgres_programs`], from the path of the server.
///
/// # Errors
/// When the server does not say it.
pub fn postgres_major() -> Result<u32> {
    let output =
        crate::process::run(std::process::Command::new(postgres_programs()?.join("postgres")).arg("--version"))?;
    let text = String::from_utf8(output.stdout)?;
    let version = text.split_whitespace().nth(2).with_context(|| format!("unexpected version: {text}"))?;
    Ok(version.split('.').next().unwrap_or(version).trim_end_matches(|c: char| !c.is_ascii_digit()).parse()?)
}

fn installed_majors(parent: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let complete = entries.filter(|entry| entry.path().join("bin/postgres").exists());
    complete.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
}

/// Binary of the agent under test: `WARDER_BIN`.
///
/// # Errors
/// When the variable is not set or names no file: `cargo xtask test` builds the agent and sets it.
pub fn agent_binary() -> Result<PathBuf> {
    let path = std::env::var_os("WARDER_BIN")
        .context("WARDER_BIN is not set: run the end-to-end tests with `cargo xtask test`")?;
    let path = PathBuf::from(path);
    anyhow::ensure!(path.is_file(), "WARDER_BIN names {}, which is no file", path.display());
    Ok(path)
}

/// Whether the long form of the tests is asked for (`cargo xtask test --long`).
#[must_use]
pub fn long_form() -> bool {
    std::env::var_os("WARDER_LONG").is_some_and(|value| value == "1")
}
