//! `[identity]`: who is believed about who acts.

use std::collections::HashSet;

use identity::config::{IssuerConfig, ProcessConfig};
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
    /// Who processes of this host are.
    pub processes: Vec<ProcessConfig>,
}

impl Checker {
    pub(super) fn identity(&mut self, fields: &file::Identity) -> Identity {
        self.few("identity.issuer", &fields.issuer, ISSUERS_MAX);
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
            let what = "the proxy asks no client for a certificate yet, so this rule would never match";
            self.mistake_at(entry, "identity.certificate", what, "remove it");
        }
        for entry in &fields.process {
            if let Err(error) = ProcessRules::new(std::slice::from_ref(entry.get_ref())) {
                self.mistake_at(entry, &format!("identity.process.{}", error.key), &error.text, REMEDY);
            }
        }
        Identity { issuers: plain(&fields.issuer), processes: plain(&fields.process) }
    }

    fn few<T>(&mut self, key: &str, entries: &[Spanned<T>], max: usize) {
        if let Some(beyond) = entries.get(max) {
            let what = format!("{} entries are more than {max}", entries.len());
            self.mistake_at(beyond, key, &what, "join those that say the same");
        }
    }
}

fn plain<T: Clone>(entries: &[Spanned<T>]) -> Vec<T> {
    entries.iter().map(|entry| entry.get_ref().clone()).collect()
}
