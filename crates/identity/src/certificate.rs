//! Client certificates: from a chain that rustls has verified to a principal.

use std::sync::Arc;

use model::principal::{Actor, Principal, PrincipalKind, Proof};
use rustls_pki_types::CertificateDer;

use crate::config::{CertificateConfig, CertificateName};
use crate::der::{self, Subject};
use crate::mistake::{ConfigError, Mistake};
use crate::name;
use crate::spiffe::{SpiffeId, is_trust_domain};
use crate::verified::VerifiedPrincipal;

/// Most rules about certificates.
pub const RULES_MAX: usize = 256;

/// Rules about certificates, in order.
#[derive(Debug)]
pub struct CertificateRules {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    kind: PrincipalKind,
    issuer: Arc<str>,
    groups: Arc<[Arc<str>]>,
    name: Name,
}

#[derive(Debug)]
enum Name {
    Spiffe { trust_domain: String, path_prefix: String },
    Common,
    Address { domain: String },
}

/// Why a certificate proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is no certificate in the chain.
    #[error("the client sent no certificate; give it one, or let it send a token")]
    Missing,
    /// It is longer than is looked at.
    #[error("the client's certificate has more than 16 KiB; give it one with fewer names")]
    TooLarge,
    /// It cannot be read.
    #[error("the client's certificate cannot be read; it has to be X.509 in DER, with names in UTF-8 or ASCII")]
    Malformed,
    /// No rule matches.
    #[error("no rule says who the client's certificate is about; add an [[identity.certificate]] that matches it")]
    NoRule,
}

impl CertificateError {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::Missing, Self::TooLarge, Self::Malformed, Self::NoRule];

    /// Its fixed word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::NoRule => "no_rule",
        }
    }
}

impl CertificateRules {
    /// Checks `[[identity.certificate]]`.
    ///
    /// # Errors
    /// The first mistake, with what to do about it.
    pub fn new(configs: &[CertificateConfig]) -> Result<Self, ConfigError> {
        let rule =
            |(index, config)| Rule::check(config).map_err(|m| m.at(format!("identity.certificate {}", index + 1)));
        Ok(Self { rules: configs.iter().enumerate().map(rule).collect::<Result<_, _>>()? })
    }

    /// Who a chain is about, leaf first. **The caller has verified it**: signatures up to a configured authority, dates
    /// and the purpose of client authentication. The first rule that matches decides.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn verify(&self, verified_chain: &[CertificateDer<'_>]) -> Result<VerifiedPrincipal, CertificateError> {
        let leaf = verified_chain.first().ok_or(CertificateError::Missing)?;
        let subject = der::subject(leaf).ok_or(CertificateError::Malformed)?;
        let found = self.rules.iter().find_map(|rule| rule.principal(&subject));
        Ok(VerifiedPrincipal::new(found.ok_or(CertificateError::NoRule)?, None))
    }
}

impl Rule {
    fn check(config: &CertificateConfig) -> Result<Self, Mistake> {
        let given = |key, value: &Option<String>, text: &str| {
            value.clone().filter(|value| name::checked(value).is_some()).ok_or_else(|| Mistake::new(key, text))
        };
        let authority = || {
            given(
                "authority",
                &config.authority,
                "name the authority that these certificates are of, for records and policies",
            )
        };
        let (name, issuer) = match config.name {
            CertificateName::Spiffe => {
                let trust_domain =
                    given("trust_domain", &config.trust_domain, "name the trust domain, as in spiffe://TRUST-DOMAIN/")?;
                if !is_trust_domain(&trust_domain) {
                    return Err(Mistake::new(
                        "trust_domain",
                        "a trust domain has the characters a-z, 0-9, `.`, `-` and `_`",
                    ));
                }
                let issuer = format!("spiffe://{trust_domain}");
                (Name::Spiffe { trust_domain, path_prefix: path_prefix(config)? }, issuer)
            }
            CertificateName::CommonName => (Name::Common, authority()?),
            CertificateName::Email => {
                let domain = given("domain", &config.domain, "name the domain of the addresses, as in NAME@DOMAIN")?;
                (Name::Address { domain }, authority()?)
            }
        };
        let groups = name::groups(&config.groups).ok_or_else(|| Mistake::new("groups", name::MISTAKE))?;
        Ok(Self { kind: config.kind.into(), issuer: issuer.into(), groups, name })
    }

    fn principal(&self, subject: &Subject) -> Option<Principal> {
        let id = self.name.id(subject)?;
        Some(Principal {
            actor: Actor { kind: self.kind, id, issuer: Arc::clone(&self.issuer) },
            groups: Arc::clone(&self.groups),
            acting_for: Vec::new(),
            proof: Proof::Certificate,
            expires: Some(subject.not_after),
            purpose: None,
        })
    }
}

/// Whole segments only: `/ns/prod` must not match `/ns/production`.
fn path_prefix(config: &CertificateConfig) -> Result<String, Mistake> {
    let prefix = config.path_prefix.clone().unwrap_or_else(|| "/".to_owned());
    if prefix.starts_with('/') && prefix.ends_with('/') {
        Ok(prefix)
    } else {
        Err(Mistake::new("path_prefix", "it begins and ends with `/`"))
    }
}

impl Name {
    /// The name of a subject of this form. A subject with two names has none: which one counts would be a guess.
    fn id(&self, subject: &Subject) -> Option<Arc<str>> {
        match (self, &*subject.uris, &*subject.common_names, &*subject.emails) {
            // X509-SVID, section 2: exactly one URI.
            (Self::Spiffe { trust_domain, path_prefix }, [uri], _, _) => {
                let id = SpiffeId::parse(uri)?;
                (id.trust_domain == trust_domain && id.path.starts_with(path_prefix)).then(|| uri.as_str().into())
            }
            (Self::Common, _, [name], _) => name::checked(name),
            (Self::Address { domain }, _, _, [email]) => {
                let (local, of) = email.rsplit_once('@')?;
                if local.is_empty() || !of.eq_ignore_ascii_case(domain) { None } else { name::checked(email) }
            }
            _ => None,
        }
    }
}
