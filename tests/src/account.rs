//! Accounts under which programs are started.

use anyhow::{Context, Result};
use nix::unistd::User;

/// A user with its primary group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Name in the password database.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Account {
    /// Looks an account up by name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Self> {
        let user = User::from_name(name)?.with_context(|| format!("there is no account '{name}' on this host"))?;
        Ok(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() })
    }

    /// The account that database servers run under: PostgreSQL refuses to run as root.
    ///
    /// # Errors
    /// When it does not exist (`cargo xtask` creates it).
    pub fn postgres() -> Result<Self> {
        Self::named("postgres")
    }

    /// An account without any right: the core process of the agent under test, and foreign clients.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn nobody() -> Result<Self> {
        Self::named("nobody")
    }
}
