//! TLS towards receivers: TLS 1.2 and 1.3, certificates always checked.
//!
//! Certificates are renewed while the agent runs: before every connection their files are looked at, and read again if
//! they are others. What cannot be used then (half written, certificate and key of different age) changes nothing.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::failure::Failure;
use crate::plan::{ConfigError, TlsFiles};

/// Whom to trust, and who we are.
pub(crate) struct Tls {
    server: ServerName<'static>,
    files: TlsFiles,
    connector: TlsConnector,
    /// The files of which the connector was made.
    read: Stamps,
    /// Files that could not be used, and this was said.
    refused: Option<Stamps>,
}

/// Which files there were: CA, certificate, key.
type Stamps = [Option<Stamp>; 3];

/// Another file, or another content, has another stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a look at the files brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Nothing new, or nothing that can be used.
    Same,
    /// The next connection is made with other certificates.
    Renewed,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files. `host` is whom the receiver's certificate must name.
    pub(crate) fn new(host: &str, files: &TlsFiles) -> Result<Self, ConfigError> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let server = ServerName::try_from(host)
            .map_err(|error| ConfigError::new("url", format!("no certificate can name this host: {error}")))?;
        // Before they are read: what changes meanwhile is read again.
        let read = stamps(files);
        Ok(Self { server, files: files.clone(), connector: connector(files)?, read, refused: None })
    }

    /// Reads the files again if they are others.
    pub(crate) fn renew(&mut self) -> Renewal {
        let found = stamps(&self.files);
        if found == self.read {
            return Renewal::Same;
        }
        match connector(&self.files) {
            Ok(connector) => {
                (self.connector, self.read, self.refused) = (connector, found, None);
                tracing::info!(receiver = ?self.server, "the files of certificates have changed and are used");
                Renewal::Renewed
            }
            Err(error) => {
                if self.refused.replace(found) != Some(found) {
                    tracing::warn!(
                        receiver = ?self.server,
                        "the files of certificates have changed and cannot be used, those before stay in use: {error}"
                    );
                }
                Renewal::Same
            }
        }
    }

    pub(crate) async fn connect(&mut self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        self.renew();
        self.connector.connect(self.server.clone(), stream).await.map_err(Failure::Tls)
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    let (certificate, key) = files.own.as_ref().map(|(certificate, key)| (&**certificate, &**key)).unzip();
    [files.ca.as_deref(), certificate, key].map(|path| stamp(path?))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = path.metadata().ok()?;
    Some(Stamp {
        device: file.dev(),
        inode: file.ino(),
        bytes: file.size(),
        modified: (file.mtime(), file.mtime_nsec()),
        changed: (file.ctime(), file.ctime_nsec()),
    })
}

/// Reads the files.
fn connector(files: &TlsFiles) -> Result<TlsConnector, ConfigError> {
    let roots = roots(files.ca.as_deref())?;
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let mut config = match &files.own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("certificate_file", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("key_file", key, &error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                ConfigError::new("key_file", format!("certificate and key do not fit together: {error}"))
            })?
        }
    };
    // A receiver that asks for certificates may be unable to resume (OpenSSL without a session id context refuses
    // the whole handshake then), and a handshake for a batch is cheap enough.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates("ca_file", path)? {
                roots.add(certificate).map_err(|error| unusable("ca_file", path, &error))?;
            }
        }
        None => {
            // Some distributions ship certificates that nobody can parse; one good one is enough to go on.
            let _ignored = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(ConfigError::new(
            "ca_file",
            "the system trusts no certificate; name a file with the receiver's CA",
        ));
    }
    Ok(roots)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let unusable = |error| unusable(key, path, &error);
    let list = CertificateDer::pem_file_iter(path).map_err(unusable)?.collect::<Result<Vec<_>, _>>();
    let list = list.map_err(unusable)?;
    if list.is_empty() {
        let empty = io::Error::new(io::ErrorKind::InvalidData, "it holds no certificate in PEM form");
        return Err(self::unusable(key, path, &empty));
    }
    Ok(list)
}

fn unusable(key: &'static str, path: &Path, error: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::new(key, format!("cannot use {}: {error}", path.display()))
}
