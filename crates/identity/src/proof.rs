//! What a client brings to prove who acts, and who that is.

use std::fmt;

use model::principal::UnknownPrincipal;
use model::time::WallTime;
use rustls_pki_types::CertificateDer;

use crate::certificate::{CertificateError, CertificateRules};
use crate::config::{CertificateConfig, IssuerConfig};
use crate::issuers::Issuers;
use crate::mistake::ConfigError;
use crate::secret::Secret;
use crate::token_error::TokenError;
use crate::verified::VerifiedPrincipal;

/// Longest certificate that is looked at. Those with hundreds of names are longer, and are about nobody in particular.
pub const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

/// What a client brings. Without `Debug`: there is a token in it.
pub enum ClientProof {
    /// A token, as the password.
    Token(Secret),
    /// A token, by OAUTHBEARER.
    OauthBearer(Secret),
    /// The first certificate of a chain that was verified, DER. **Whoever makes this has verified it**: signatures up to a
    /// configured authority, dates, the purpose of client authentication, and that the client has its key.
    Certificate(Vec<u8>),
}

/// Why it proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// A token.
    Token(TokenError),
    /// A certificate.
    Certificate(CertificateError),
}

impl ProofError {
    /// What is then known about who acts.
    #[must_use]
    pub const fn unknown(self) -> UnknownPrincipal {
        match self {
            Self::Token(error) => error.unknown(),
            Self::Certificate(_) => UnknownPrincipal::NoProof,
        }
    }
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(error) => write!(f, "the token was not accepted: {error}"),
            Self::Certificate(error) => write!(f, "the certificate was not accepted: {error}"),
        }
    }
}

impl std::error::Error for ProofError {}

/// Whose proofs are believed.
#[derive(Debug)]
pub struct Proofs {
    issuers: Issuers,
    certificates: CertificateRules,
}

impl Proofs {
    /// Takes `[[identity.issuer]]` and `[[identity.certificate]]`.
    ///
    /// # Errors
    /// The first mistake, with what to do about it.
    pub fn new(issuers: &[IssuerConfig], certificates: &[CertificateConfig]) -> Result<Self, ConfigError> {
        Ok(Self { issuers: Issuers::new(issuers)?, certificates: CertificateRules::new(certificates)? })
    }

    /// Who a token proves, however it came. May ask an issuer for its keys.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub async fn verify_token(&self, token: &Secret, now: WallTime) -> Result<VerifiedPrincipal, TokenError> {
        self.issuers.verify(token, now).await
    }

    /// Who it proves. May ask an issuer for its keys.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub async fn verify(&self, proof: &ClientProof, now: WallTime) -> Result<VerifiedPrincipal, ProofError> {
        match proof {
            ClientProof::Token(token) => self.verify_token(token, now).await.map_err(ProofError::Token),
            ClientProof::OauthBearer(token) => {
                let verified = self.verify_token(token, now).await.map_err(ProofError::Token)?;
                Ok(verified.over_oauthbearer())
            }
            ClientProof::Certificate(leaf) if leaf.len() > CERTIFICATE_BYTES_MAX => {
                Err(ProofError::Certificate(CertificateError::TooLarge))
            }
            ClientProof::Certificate(leaf) => {
                let leaf = CertificateDer::from_slice(leaf);
                self.certificates.verify(&[leaf]).map_err(ProofError::Certificate)
            }
        }
    }
}
