//! Where one listens: plain on loopback, with TLS 1.2 and 1.3 wherever else. Certificates are read at start.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig, crypto};

/// A certificate and its key, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own first.
    pub certificate: PathBuf,
    /// The key of the first, without a pass phrase.
    pub key: PathBuf,
}

/// An open door.
pub struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
}

/// Why it does not open. The cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Tokens would be read on the way.
    #[error("{0} is for other hosts as well, and tokens would cross the network in the clear; {REMEDY}")]
    Clear(SocketAddr),
    /// The address.
    #[error("cannot listen on {address}; choose one of this host that is free")]
    Address {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A file.
    #[error("cannot use {}; it must be PEM, and this account must be able to read it", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// Certificate and key.
    #[error("the certificate and its key cannot be used together")]
    Pair(#[source] rustls::Error),
}

/// What to do about an address that is not this host's alone.
pub const REMEDY: &str = "set certificate and key, or listen on a loopback address";

/// Whether an address may be used: with TLS, or only from this host.
///
/// # Errors
/// Tokens would be read on the way.
pub fn check(address: SocketAddr, tls: Option<&TlsFiles>) -> Result<(), DoorError> {
    let safe = tls.is_some() || address.ip().to_canonical().is_loopback();
    if safe { Ok(()) } else { Err(DoorError::Clear(address)) }
}

impl Door {
    /// Listens.
    ///
    /// # Errors
    /// The address is not to be used like this, or in use; or the files cannot be used.
    pub async fn open(address: SocketAddr, tls: Option<&TlsFiles>) -> Result<Self, DoorError> {
        check(address, tls)?;
        let tls = tls.map(acceptor).transpose()?;
        let listener = TcpListener::bind(address).await.map_err(|source| DoorError::Address { address, source })?;
        Ok(Self { listener, tls })
    }

    /// Where it is.
    ///
    /// # Errors
    /// The system does not say it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, DoorError> {
    let unusable = |path: &Path, source| DoorError::File { path: path.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(&files.certificate, error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unusable(&files.key, error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(DoorError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
