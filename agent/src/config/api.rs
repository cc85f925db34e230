//! `[api]`: where `warder api` listens, and whom it tells what is new.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Spanned;
use web::door::{self, TlsFiles};

use super::check::Checker;
use super::file;

/// Webhooks: each has a queue and a connection.
const WEBHOOKS_MAX: usize = 8;

/// What `warder api` works with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its certificate; `None`: only on loopback. Of `warder mcp --listen` as well.
    pub tls: Option<TlsFiles>,
    /// Who is told.
    pub webhooks: Vec<Webhook>,
}

/// One `[[api.webhook]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// `https://`, or `http://` on loopback. It may be a secret itself.
    pub url: String,
    /// File with the secret that signs; absolute.
    pub secret_file: PathBuf,
    /// Who has signed the certificate; `None`: an authority that the system trusts.
    pub ca_file: Option<PathBuf>,
}

impl Default for Api {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9465)), tls: None, webhooks: Vec::new() }
    }
}

impl Checker {
    pub(super) fn api(&mut self, fields: &file::Api) -> Api {
        let mut api = Api { tls: self.api_tls(fields), webhooks: self.webhooks(&fields.webhook), ..Api::default() };
        let Some(listen) = &fields.listen else { return api };
        let Some(address) = self.address("api.listen", listen) else { return api };
        if fields.certificate.is_none() && door::check(address, None).is_err() {
            let what = format!("{address} is for other hosts as well, and tokens would cross the network in the clear");
            self.mistake_at(listen, "api.listen", &what, door::REMEDY);
        }
        api.listen = address;
        api
    }

    fn api_tls(&mut self, fields: &file::Api) -> Option<TlsFiles> {
        let (certificate, key) = match (&fields.certificate, &fields.key) {
            (None, None) => return None,
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(one), None) | (None, Some(one)) => {
                let what = "certificate and key belong together";
                self.mistake_at(one, "api.certificate", what, "write both, or neither");
                return None;
            }
        };
        let mut files = TlsFiles { certificate: PathBuf::new(), key: PathBuf::new() };
        self.absolute("api.certificate", certificate, &mut files.certificate);
        self.absolute("api.key", key, &mut files.key);
        Some(files)
    }

    fn webhooks(&mut self, entries: &[Spanned<file::Webhook>]) -> Vec<Webhook> {
        self.few("api.webhook", entries, WEBHOOKS_MAX);
        entries.iter().filter_map(|entry| self.webhook(entry)).collect()
    }

    fn webhook(&mut self, entry: &Spanned<file::Webhook>) -> Option<Webhook> {
        let fields = entry.get_ref();
        let (Some(url), Some(secret)) = (&fields.url, &fields.secret_file) else {
            let what = "a webhook needs an address and the file of its secret";
            self.mistake_at(entry, "api.webhook", what, "add url = \"...\" and secret_file = \"...\"");
            return None;
        };
        let mut webhook = Webhook { url: url.get_ref().clone(), secret_file: PathBuf::new(), ca_file: None };
        self.absolute("api.webhook.secret_file", secret, &mut webhook.secret_file);
        if let Some(file) = &fields.ca_file {
            self.absolute("api.webhook.ca_file", file, webhook.ca_file.insert(PathBuf::new()));
        }
        if let Err(error) = export::webhook::check(&webhook.url, webhook.ca_file.clone()) {
            self.mistake_at(entry, &format!("api.webhook.{}", error.key), &error.text, "see docs/api.md");
        }
        Some(webhook)
    }
}
