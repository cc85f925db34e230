//! The certificate that a database's clients are shown, and the authorities of theirs: read from files, watched, and told
//! to the workers. Sessions keep what they began with.

use std::path::Path;

use anyhow::{Context as _, Result};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::access::State;
use super::workers::Workers;
use crate::config::proxy::{Certificate, ClientAuthorities, Tls};
use crate::worker_link::{ClientAuthorityTexts, GuardedDatabase, ToWorker, in_memory};

/// The files of one database.
pub(super) struct Certificates {
    database: u16,
    own: Certificate,
    clients: Option<ClientAuthorities>,
    /// What they were when the workers were told.
    told: Option<[Option<State>; 4]>,
}

impl Certificates {
    /// `None`: TLS does not end at the proxy.
    pub(super) fn of(database: &GuardedDatabase) -> Option<Self> {
        let (Tls::ServerCertificate(own) | Tls::OwnCertificate(own)) = &database.guard.tls else { return None };
        Some(Self { database: database.id, own: own.clone(), clients: database.guard.clients.clone(), told: None })
    }

    /// Tells the workers if the files are others.
    pub(super) fn watch(&mut self, workers: &Workers) {
        if self.told.is_none_or(|told| told == self.state()) {
            return;
        }
        for number in workers.ready() {
            if let Err(problem) = self.tell(workers, number) {
                // Half-written files are read again when the other half is there.
                return warn!("a changed certificate cannot be used: {problem:#}");
            }
        }
        info!(certificate = %self.own.certificate.display(), "a certificate has changed and was read again");
    }

    /// Tells one worker.
    pub(super) fn tell(&mut self, workers: &Workers, number: u32) -> Result<()> {
        self.told = Some(self.state());
        let (chain, key) = (read(&self.own.certificate)?, Zeroizing::new(read(&self.own.private_key)?));
        let record = Zeroizing::new([chain.as_slice(), &key].concat());
        let clients = self.clients.as_ref().map(texts).transpose()?;
        let clients = clients.map(|texts| in_memory(&serde_json::to_vec(&texts).context("no JSON")?)).transpose()?;
        let message = ToWorker::Certificate { database: self.database, chain_bytes: chain.len() };
        let descriptors: Vec<_> = clients.iter().map(std::os::fd::AsFd::as_fd).collect();
        workers.tell(number, &message, &record, &descriptors);
        Ok(())
    }

    fn state(&self) -> [Option<State>; 4] {
        let clients = self.clients.as_ref();
        let lists = clients.and_then(|clients| clients.crl_file.as_ref());
        [
            State::of(&self.own.certificate),
            State::of(&self.own.private_key),
            clients.and_then(|clients| State::of(&clients.ca_file)),
            lists.and_then(|path| State::of(path)),
        ]
    }
}

fn texts(clients: &ClientAuthorities) -> Result<ClientAuthorityTexts> {
    let revocations = clients.crl_file.as_deref().map(read).transpose()?;
    Ok(ClientAuthorityTexts { authorities: read(&clients.ca_file)?, revocations: revocations.unwrap_or_default() })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}
