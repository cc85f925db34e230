//! `[identity]`: who is believed about who acts.

use std::collections::HashSet;

use identity::certificate::{self, CertificateRules};
use identity::config::{CertificateConfig, IssuerConfig, ProcessConfig};
use identity::issuers::{ISSUERS_MAX, Issuers};
use identity::process_rules::{ProcessRules, RULES_MAX};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::check::Checker;
use super::file;

/// What every mistake here ends with: the keys themselves are described there.
const REMEDY: &str = "see docs/identity.md";

/// `[identity]`. Each entry was checked, with the files that it names; whoever uses them checks them again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Whose tokens are believed.
    pub issuers: Vec<IssuerConfig>,
    /// Who client certificates are about.
    pub certificates: Vec<CertificateConfig>,
    /// Who processes of this host are.
    pub processes: Vec<ProcessConfig>,
}

impl Checker {
    pub(super) fn identity(&mut self, fields: &file::Identity) -> Identity {
        self.few("identity.issuer", &fields.issuer, ISSUERS_MAX);
        self.few("identity.certificate", &fields.certificate, certificate::RULES_MAX);
        self.few("identity.process", &fields.process, RULES_MAX);
        let mut known = HashSet::new();
        for entry in &fields.issuer {
            if let Err(error) = Issuers::new(std::slice::from_ref(entry.get_ref())) {
                self.mistake_at(entry, &format!("identity.issuer.{}", error.key), &error.text, REMEDY);
            }
            if !known.insert(&entry.get_ref().issuer) {
                let what = format!("\"{}\" is the issuer of another entry", entry.get_ref().issuer);
                self.mistake_at(entry, "identity.issuer.issuer", &what, "write one entry, with all audiences");
            }
        }
        for entry in &fields.certificate {
            if let Err(error) = CertificateRules::new(std::slice::from_ref(entry.get_ref())) {
                self.mistake_at(entry, &format!("identity.certificate.{}", error.key), &error.text, REMEDY);
            }
        }
        for entry in &fields.process {
            if let Err(error) = ProcessRules::new(std::slice::from_ref(entry.get_ref())) {
                self.mistake_at(entry, &format!("identity.process.{}", error.key), &error.text, REMEDY);
            }
        }
        Identity {
            issuers: plain(&fields.issuer),
            certificates: plain(&fields.certificate),
            processes: plain(&fields.process),
        }
    }

    pub(super) fn few<T>(&mut self, key: &str, entries: &[Spanned<T>], max: usize) {
        if let Some(beyond) = entries.get(max) {
            let what = format!("{} entries are more than {max}", entries.len());
            self.mistake_at(beyond, key, &what, "join those that say the same");
        }
    }
}

fn plain<T: Clone>(entries: &[Spanned<T>]) -> Vec<T> {
    entries.iter().map(|entry| entry.get_ref().clone()).collect()
}
