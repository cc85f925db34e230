//! The certificate that clients are shown, the only one that is believed of the server, whose certificates clients may
//! show, and the one that the proxy itself shows to the server.
//!
//! In `server-certificate` mode Warder shows the server's own certificate. Channel binding of SCRAM-SHA-256-PLUS
//! (`tls-server-end-point`, RFC 5929) depends on that certificate alone, so it works end to end without Warder taking
//! part. Towards the server exactly this certificate is expected, and its holder must prove the key: a chain of
//! trust would allow more.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{ClientConnection, Resumption};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{
    NoServerSessionStorage, ServerConnection, VerifierBuilderError, WebPkiClientVerifier,
};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, Connection, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};

/// The protocol's name in ALPN (55.2.9).
pub(crate) const PROTOCOL: &[u8] = b"postgresql";

/// A certificate with its private key, ready for both roles.
#[derive(Debug)]
pub struct Certificates {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// Whose certificates clients may show, PEM. One that comes without a certificate gets TLS all the same.
#[derive(Clone, Copy, Debug)]
pub struct ClientAuthorities<'a> {
    /// Certificates of the authorities. Each may name anybody.
    pub authorities: &'a [u8],
    /// Revocation lists; empty: revocation is not checked. Else every authority of a chain must have one that is not
    /// out of date.
    pub revocations: &'a [u8],
}

/// The certificate that the proxy itself shows to a server which asks for one.
#[derive(Clone)]
pub struct OwnCertificate(Arc<SingleCertAndKey>);

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnCertificate")
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// The text holds no certificate in PEM form.
    #[error("there is no certificate in PEM form")]
    Certificate,
    /// The text holds no private key in PEM form, or one under a pass phrase.
    #[error("there is no private key in PEM form without a pass phrase")]
    Key,
    /// Certificate and key do not belong together, or their algorithm is not supported.
    #[error("the certificate cannot be used with its private key")]
    Unusable(#[source] Error),
    /// The text holds no authority, or one that cannot be used.
    #[error("there is no certificate of an authority for clients in PEM form, or one cannot be used")]
    Authority,
    /// The text holds no revocation list, or one that cannot be used.
    #[error("there is no certificate revocation list in PEM form, or one cannot be used")]
    Revocations,
}

impl Certificates {
    /// Takes a certificate chain and its private key, as the server's own files hold them. Clients are not asked for
    /// certificates.
    ///
    /// # Errors
    /// When one is missing, or they do not fit.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificatesError> {
        Self::new(chain, key, |_provider| Ok(WebPkiClientVerifier::no_client_auth()))
    }

    /// The same; clients are asked for certificates of these authorities.
    ///
    /// # Errors
    /// When one is missing, or they do not fit.
    pub fn asking_clients(chain: &[u8], key: &[u8], clients: ClientAuthorities<'_>) -> Result<Self, CertificatesError> {
        Self::new(chain, key, |provider| clients.verifier(provider))
    }

    fn new(
        chain: &[u8],
        key: &[u8],
        verifier: impl FnOnce(&Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, CertificatesError>,
    ) -> Result<Self, CertificatesError> {
        let (chain, key) = pair(chain, key)?;
        let first = chain.first().cloned().ok_or(CertificatesError::Certificate)?;
        let provider = Arc::new(ring::default_provider());
        let verifier = verifier(&provider)?;
        let server = server_config(&provider, verifier, chain, key).map_err(CertificatesError::Unusable)?;
        let client = client_config(&provider, first).map_err(CertificatesError::Unusable)?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    /// The proxy's side of a handshake with a client.
    pub(crate) fn accept(&self) -> Result<Connection, Error> {
        ServerConnection::new(self.server.clone()).map(Connection::Server)
    }

    /// The proxy's side of a handshake with the server, which may ask it for a certificate.
    pub(crate) fn connect(&self, own: Option<&OwnCertificate>) -> Result<Connection, Error> {
        // An address is not sent as SNI, and the pinned certificate is what is checked.
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let config = match own {
            None => self.client.clone(),
            Some(OwnCertificate(own)) => {
                let mut config = ClientConfig::clone(&self.client);
                config.client_auth_cert_resolver = own.clone();
                Arc::new(config)
            }
        };
        ClientConnection::new(config, name).map(Connection::Client)
    }
}

impl ClientAuthorities<'_> {
    fn verifier(self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, CertificatesError> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(self.authorities) {
            let authority = authority.map_err(|_malformed| CertificatesError::Authority)?;
            roots.add(authority).map_err(|_unusable| CertificatesError::Authority)?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        if !self.revocations.is_empty() {
            let lists = CertificateRevocationListDer::pem_slice_iter(self.revocations).collect::<Result<Vec<_>, _>>();
            let lists = lists.ok().filter(|lists| !lists.is_empty()).ok_or(CertificatesError::Revocations)?;
            builder = builder.with_crls(lists).enforce_revocation_expiration();
        }
        builder.allow_unauthenticated().build().map_err(|error| match error {
            VerifierBuilderError::InvalidCrl(_) => CertificatesError::Revocations,
            _ => CertificatesError::Authority,
        })
    }
}

impl OwnCertificate {
    /// Takes a certificate chain and its private key.
    ///
    /// # Errors
    /// When one is missing, or they do not fit.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificatesError> {
        let (chain, key) = pair(chain, key)?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
        Ok(Self(Arc::new(SingleCertAndKey::from(certified.map_err(CertificatesError::Unusable)?))))
    }
}

/// A chain with at least one certificate, and a key.
fn pair(chain: &[u8], key: &[u8]) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CertificatesError> {
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(CertificatesError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_malformed| CertificatesError::Key)?;
    Ok((chain, key))
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    clients: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // As the server itself: no tickets, no cache of sessions.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn client_config(provider: &Arc<CryptoProvider>, pinned: CertificateDer<'static>) -> Result<ClientConfig, Error> {
    let verifier = Pinned { certificate: pinned, provider: provider.clone() };
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// Believes one certificate.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if end_entity.as_ref() == self.certificate.as_ref() {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
