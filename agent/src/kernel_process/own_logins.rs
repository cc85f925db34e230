//! The core's own connections to databases: to read their catalogues, to make roles, and to end sessions. Only here can they
//! be opened: past the steering, and as no client's.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use steering::identity::Peer;
use steering::steward::{Answer, Hop, HopError};
use store::keys::read_secret;
use tracing::warn;
use zeroize::Zeroizing;

use super::hops::Steward;
use crate::config::catalogue::CatalogueLogin;
use crate::config::login::{Credential, Login, Minted, Service};
use crate::config::{Config, Database};
use crate::link::{Link, OwnHop, Purpose, ToCore};
use crate::privileges::Identity;

/// Databases whose catalogue is read, and how often, in seconds.
pub(super) fn periods(config: &Config) -> Vec<(u16, u64)> {
    let catalogue = |database: &Database| database.catalogue.as_ref().map(|login| login.refresh.as_secs());
    numbered(config).filter_map(|(id, database)| Some((id, catalogue(database)?))).collect()
}

/// Databases whose sessions get roles of their own, and how these are made.
pub(super) fn minting(config: &Config) -> Vec<(u16, Minted)> {
    numbered(config).filter_map(|(id, database)| Some((id, database.minted()?.clone()))).collect()
}

/// Databases with a service account that the core can log in as: with a certificate it cannot.
pub(super) fn accounts(config: &Config) -> Vec<u16> {
    numbered(config).filter_map(|(id, database)| account(database).map(|_| id)).collect()
}

/// A service account without a certificate, and the file of its password, if it has one.
fn account(database: &Database) -> Option<(&str, Option<&PathBuf>)> {
    let Login::Service(Service { user, credential, .. }) = &database.guard.as_ref()?.login else { return None };
    match credential {
        Credential::Nothing => Some((user, None)),
        Credential::Password(file) => Some((user, Some(file))),
        Credential::Certificate(_) => None,
    }
}

/// Ids of databases are their places in the configuration.
fn numbered(config: &Config) -> impl Iterator<Item = (u16, &Database)> {
    (0..).zip(&config.databases)
}

/// The configured logins.
pub(super) struct OwnLogins {
    /// Role and password file; `None`: the server asks for no password.
    by_purpose: HashMap<(u16, Purpose), (String, Option<PathBuf>)>,
    /// Who connects, where the way is a Unix socket: the core.
    core: Peer,
}

impl OwnLogins {
    pub(super) fn new(config: &Config, core: Identity) -> Self {
        let mut by_purpose = HashMap::new();
        for (id, database) in numbered(config) {
            if let Some(CatalogueLogin { user, password_file, .. }) = &database.catalogue {
                by_purpose.insert((id, Purpose::Catalogue), (user.clone(), Some(password_file.clone())));
            }
            if let Some((user, password_file)) = account(database) {
                by_purpose.insert((id, Purpose::Ending), (user.to_owned(), password_file.cloned()));
            }
            if let Some(Minted { user, password_file, .. }) = database.minted() {
                by_purpose.insert((id, Purpose::Minting), (user.clone(), Some(password_file.clone())));
            }
        }
        Self { by_purpose, core: Peer { uid: core.user.as_raw(), gid: core.group.as_raw() } }
    }

    /// Connects, and gives the core the connection and the password. An error is a broken link.
    pub(super) fn open(&self, steward: &Steward, request: u64, wanted: (u16, Purpose), link: &Link) -> Result<()> {
        let refuse = |problem: anyhow::Error| {
            let outcome = Err(format!("{problem:#}"));
            link.send(&ToCore::OwnHop { request, outcome }, &[], &[])
        };
        let (user, password) = match self.credential(wanted) {
            Ok(credential) => credential,
            Err(problem) => return refuse(problem),
        };
        // The answer comes from another thread, maybe after this core has ended.
        let link = Link::passed(link.as_fd().try_clone_to_owned().context("no descriptor is left")?);
        steward.open_own(wanted, self.core, reply(link, request, user, password));
        Ok(())
    }

    /// The file is read each time: whoever exchanges the password needs no restart.
    fn credential(&self, wanted: (u16, Purpose)) -> Result<(String, Zeroizing<String>)> {
        let (user, path) = self.by_purpose.get(&wanted).context("the configuration has no login for this")?;
        let Some(path) = path else { return Ok((user.clone(), Zeroizing::default())) };
        let text = read_secret(path)?;
        let text = text.with_context(|| format!("{} does not exist", path.display()))?;
        let password = text.lines().next().unwrap_or_default();
        ensure!(!password.is_empty(), "{} is empty", path.display());
        Ok((user.clone(), Zeroizing::new(password.to_owned())))
    }
}

fn reply(link: Link, request: u64, user: String, password: Zeroizing<String>) -> Answer {
    Box::new(move |result: Result<Hop, HopError>| {
        let sent = match result {
            Ok(hop) => {
                let outcome = Ok(OwnHop { cookie: hop.cookie.0, user });
                link.try_send(&ToCore::OwnHop { request, outcome }, password.as_bytes(), &[hop.socket.as_fd()])
            }
            Err(problem) => {
                let cause = std::error::Error::source(&problem).map_or(String::new(), |cause| format!(": {cause}"));
                let outcome = Err(format!("{problem}{cause}"));
                link.try_send(&ToCore::OwnHop { request, outcome }, &[], &[])
            }
        };
        if let Err(problem) = sent {
            warn!("a connection of its own could not be passed to the core: {problem:#}");
        }
    })
}

/// What [`HopError`] is where there is no way to a database at all.
pub(super) fn no_way() -> HopError {
    HopError::Begin { what: "the server has not been found yet", source: io::Error::from_raw_os_error(libc::ENOENT) }
}
