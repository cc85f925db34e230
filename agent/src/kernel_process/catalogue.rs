//! The core's own connections to databases, with which it reads their catalogues. Only here can they be opened: past the
//! steering, and as no client's.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use steering::identity::Peer;
use steering::steward::{Answer, Hop, HopError};
use store::keys::read_secret;
use tracing::warn;
use zeroize::Zeroizing;

use super::hops::Steward;
use crate::config::Config;
use crate::config::catalogue::CatalogueLogin;
use crate::link::{CatalogueHop, Link, ToCore};
use crate::privileges::Identity;

/// Databases whose catalogue is read, and how often, in seconds.
pub(super) fn periods(config: &Config) -> Vec<(u16, u64)> {
    logins(config).map(|(id, login)| (id, login.refresh.as_secs())).collect()
}

/// Ids of databases are their places in the configuration.
fn logins(config: &Config) -> impl Iterator<Item = (u16, &CatalogueLogin)> {
    (0..).zip(&config.databases).filter_map(|(id, database)| Some((id, database.catalogue.as_ref()?)))
}

/// The configured logins.
pub(super) struct Logins {
    by_database: HashMap<u16, CatalogueLogin>,
    /// Who connects, where the way is a Unix socket: the core.
    core: Peer,
}

impl Logins {
    pub(super) fn new(config: &Config, core: Identity) -> Self {
        let by_database = logins(config).map(|(id, login)| (id, login.clone())).collect();
        Self { by_database, core: Peer { uid: core.user.as_raw(), gid: core.group.as_raw() } }
    }

    /// Connects, and gives the core the connection and the password. An error is a broken link.
    pub(super) fn open(&self, steward: &Steward, request: u64, database: u16, link: &Link) -> Result<()> {
        let refuse = |problem: anyhow::Error| {
            let outcome = Err(format!("{problem:#}"));
            link.send(&ToCore::CatalogueHop { request, outcome }, &[], &[])
        };
        let (user, password) = match self.credential(database) {
            Ok(credential) => credential,
            Err(problem) => return refuse(problem),
        };
        // The answer comes from another thread, maybe after this core has ended.
        let link = Link::passed(link.as_fd().try_clone_to_owned().context("no descriptor is left")?);
        steward.open_own(database, self.core, reply(link, request, user, password));
        Ok(())
    }

    /// The file is read each time: whoever exchanges the password needs no restart.
    fn credential(&self, database: u16) -> Result<(String, Zeroizing<String>)> {
        let login = self.by_database.get(&database).context("the database has no [database.catalogue]")?;
        let text = read_secret(&login.password_file)?;
        let text = text.with_context(|| format!("{} does not exist", login.password_file.display()))?;
        let password = text.lines().next().unwrap_or_default();
        ensure!(!password.is_empty(), "{} is empty", login.password_file.display());
        Ok((login.user.clone(), Zeroizing::new(password.to_owned())))
    }
}

fn reply(link: Link, request: u64, user: String, password: Zeroizing<String>) -> Answer {
    Box::new(move |result: Result<Hop, HopError>| {
        let sent = match result {
            Ok(hop) => {
                let outcome = Ok(CatalogueHop { cookie: hop.cookie.0, user });
                link.try_send(&ToCore::CatalogueHop { request, outcome }, password.as_bytes(), &[hop.socket.as_fd()])
            }
            Err(problem) => {
                let cause = std::error::Error::source(&problem).map_or(String::new(), |cause| format!(": {cause}"));
                let outcome = Err(format!("{problem}{cause}"));
                link.try_send(&ToCore::CatalogueHop { request, outcome }, &[], &[])
            }
        };
        if let Err(problem) = sent {
            warn!("a connection for reading the catalogue could not be passed to the core: {problem:#}");
        }
    })
}

/// What [`HopError`] is where there is no way to a database at all.
pub(super) fn no_way() -> HopError {
    HopError::Begin { what: "the server has not been found yet", source: io::Error::from_raw_os_error(libc::ENOENT) }
}
