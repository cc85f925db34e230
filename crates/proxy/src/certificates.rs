//! The certificate that clients are shown, and the only one that is believed of the server.
//!
//! In `server-certificate` mode Warder shows the server's own certificate. Channel binding of SCRAM-SHA-256-PLUS
//! (`tls-server-end-point`, RFC 5929) depends on that certificate alone, so it works end to end without Warder taking
//! part. Towards the server exactly this certificate is expected, and its holder must prove the key: a chain of
//! trust would allow more.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{ClientConnection, Resumption};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ServerConnection};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, Connection, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
};

/// The protocol's name in ALPN (55.2.9).
pub(crate) const PROTOCOL: &[u8] = b"postgresql";

/// A certificate with its private key, ready for both roles.
#[derive(Debug)]
pub struct Certificates {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
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
}

impl Certificates {
    /// Takes a certificate chain and its private key, as the server's own files hold them.
    ///
    /// # Errors
    /// When one is missing, or they do not fit.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificatesError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_malformed| CertificatesError::Certificate)?;
        let first = chain.first().cloned().ok_or(CertificatesError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_malformed| CertificatesError::Key)?;
        let provider = Arc::new(ring::default_provider());
        let server = server_config(&provider, chain, key).map_err(CertificatesError::Unusable)?;
        let client = client_config(&provider, first).map_err(CertificatesError::Unusable)?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    /// The proxy's side of a handshake with a client.
    pub(crate) fn accept(&self) -> Result<Connection, Error> {
        ServerConnection::new(self.server.clone()).map(Connection::Server)
    }

    /// The proxy's side of a handshake with the server.
    pub(crate) fn connect(&self) -> Result<Connection, Error> {
        // An address is not sent as SNI, and the pinned certificate is what is checked.
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        ClientConnection::new(self.client.clone(), name).map(Connection::Client)
    }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
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
