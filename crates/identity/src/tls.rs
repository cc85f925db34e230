//! Whom to trust as an issuer: the system's certificates, or one file. Read at start.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::mistake::Mistake;

/// TLS 1.2 and 1.3, certificates always checked.
pub(crate) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, Mistake> {
    let roots = match ca_file {
        Some(path) => file(path)?,
        None => system()?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn file(path: &Path) -> Result<RootCertStore, Mistake> {
    let unusable = |text: String| Mistake::new("ca_file", format!("cannot use {}: {text}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() { Err(unusable("it holds no certificate in PEM form".to_owned())) } else { Ok(roots) }
}

fn system() -> Result<RootCertStore, Mistake> {
    let mut roots = RootCertStore::empty();
    // Some distributions ship certificates that nobody can parse; one good one is enough to go on.
    let _ignored = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let text = "the system trusts no certificate; name a file with the authority of the issuer's certificate";
        return Err(Mistake::new("ca_file", text));
    }
    Ok(roots)
}
