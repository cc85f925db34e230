//! PostgreSQL's own tests as `cargo xtask setup` prepared them: SQL and specifications, and what had to be compiled.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::tooling;

/// The prepared source.
#[derive(Clone, Debug)]
pub struct Source {
    directory: PathBuf,
}

impl Source {
    /// Where it is, or will be.
    ///
    /// # Errors
    /// When there is no cache folder.
    pub fn prepared() -> Result<Self> {
        Ok(Self { directory: tooling::cache_directory()?.join("postgresql-tests") })
    }

    /// The folder that has all of it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A folder below `src/test`.
    #[must_use]
    pub fn suite(&self, name: &str) -> PathBuf {
        self.directory.join("src/test").join(name)
    }

    /// The library that the regression tests load into the server.
    #[must_use]
    pub fn library(&self) -> PathBuf {
        self.directory.join("regress.so")
    }

    /// The program `libpq_pipeline`.
    #[must_use]
    pub fn pipeline_client(&self) -> PathBuf {
        self.directory.join("libpq_pipeline")
    }
}
