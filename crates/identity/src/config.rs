//! What the configuration may say about identity (`[identity]`, `docs/identity.md`).
//!
//! These are the keys as they are written. Whoever makes something of them checks them; nothing else reads them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[identity]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// Whose tokens are believed; [`crate::issuers`] checks them.
    #[serde(default)]
    pub issuer: Vec<IssuerConfig>,
    /// Who client certificates are about; [`crate::certificate`] checks them.
    #[serde(default)]
    pub certificate: Vec<CertificateConfig>,
    /// Who processes are; [`crate::process_rules`] checks them.
    #[serde(default)]
    pub process: Vec<ProcessConfig>,
}

/// One `[[identity.issuer]]`: whose tokens are believed, and what they say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// Name in the log and in messages: `a-z`, `0-9`, `-`, `_`; at most 32.
    pub name: String,
    /// `iss` of its tokens, to the last character.
    pub issuer: String,
    /// Tokens must be meant for one of these (`aud`).
    pub audiences: Vec<String>,
    /// Algorithms that it may sign with; absent: `RS256` and `ES256`.
    pub algorithms: Option<Vec<String>>,
    /// Where its keys are: a file, re-read when it changes.
    pub jwks_file: Option<PathBuf>,
    /// Where its keys are: an HTTPS address.
    pub jwks_url: Option<String>,
    /// Where its metadata is, if not below `issuer` (OpenID Connect Discovery).
    pub discovery_url: Option<String>,
    /// Certificates to trust, PEM; absent: the system's.
    pub ca_file: Option<PathBuf>,
    /// Keys are asked for again when they are older than this.
    pub keys_fresh_seconds: Option<u64>,
    /// Keys are used for this long when the issuer cannot be asked.
    pub keys_stale_seconds_max: Option<u64>,
    /// Longest time from `iat` to `exp`.
    pub lifetime_seconds_max: Option<u64>,
    /// How far the clocks of issuer and host may be apart; at most 60.
    pub skew_seconds: Option<u64>,
    /// `tid` that tokens must have (Entra ID).
    pub tenant: Option<String>,
    /// Claims with groups or roles: a name, or a JSON pointer. Absent: none.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Take tokens whose groups were left out because there are too many, as if they had none. Dangerous: a policy that
    /// forbids something to a group does not find its members.
    #[serde(default)]
    pub danger_ignore_group_overage: bool,
    /// Kind of the actors of an `act` chain; absent: agent.
    pub actor_kind: Option<Kind>,
    /// Who it is: the first rule that matches. Absent: one rule, a person named by `sub`.
    #[serde(default)]
    pub rule: Vec<RuleConfig>,
}

impl IssuerConfig {
    /// An issuer with no place of keys yet; everything else has its default.
    #[must_use]
    pub fn new(name: &str, issuer: &str, audience: &str) -> Self {
        Self {
            name: name.to_owned(),
            issuer: issuer.to_owned(),
            audiences: vec![audience.to_owned()],
            algorithms: None,
            jwks_file: None,
            jwks_url: None,
            discovery_url: None,
            ca_file: None,
            keys_fresh_seconds: None,
            keys_stale_seconds_max: None,
            lifetime_seconds_max: None,
            skew_seconds: None,
            tenant: None,
            groups: Vec::new(),
            danger_ignore_group_overage: false,
            actor_kind: None,
            rule: Vec::new(),
        }
    }
}

/// One `[[identity.issuer.rule]]`: what a token says about who it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// All of these must hold; none: the rule always matches.
    #[serde(default)]
    pub when: Vec<ConditionConfig>,
    /// What kind of principal it then is.
    pub kind: Kind,
    /// The claim that is its name.
    pub id: String,
    /// The claim that names the person for whom it acts, if there is one.
    pub acting_for: Option<String>,
}

/// A condition on a claim: exactly one of `is` and `present`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionConfig {
    /// The claim: a name, or a JSON pointer.
    pub claim: String,
    /// It is one of these texts, or a list with one of them.
    pub is: Option<Vec<String>>,
    /// It is there, or it is not.
    pub present: Option<bool>,
}

/// Kind of a principal, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A human.
    Person,
    /// A program that runs unattended.
    Service,
    /// A program that decides what it does next.
    Agent,
}

impl From<Kind> for model::principal::PrincipalKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Person => Self::Person,
            Kind::Service => Self::Service,
            Kind::Agent => Self::Agent,
        }
    }
}

/// One `[[identity.certificate]]`: who a verified client certificate is about. The first that matches decides.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// Which of its names counts.
    pub name: CertificateName,
    /// What kind of principal it is.
    pub kind: Kind,
    /// `spiffe`: the trust domain.
    pub trust_domain: Option<String>,
    /// `spiffe`: only ids whose path begins with this; begins and ends with `/`. Absent: all.
    pub path_prefix: Option<String>,
    /// `email`: the domain of the addresses.
    pub domain: Option<String>,
    /// `common_name`, `email`: a name for the authority, for records and policies.
    pub authority: Option<String>,
    /// Groups of the principal.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// Which name of a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateName {
    /// The only URI of its alternative names, a SPIFFE id.
    Spiffe,
    /// The only common name of its subject.
    CommonName,
    /// The only e-mail address of its alternative names.
    Email,
}

/// One `[[identity.process]]`: who a process of this host is. All conditions must hold; the first rule that matches
/// decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessConfig {
    /// Name of the principal.
    pub id: String,
    /// What kind of principal it is; absent: service.
    pub kind: Option<Kind>,
    /// Groups of the principal.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Its real user id in the initial user namespace.
    pub uid: Option<u32>,
    /// Its systemd unit: `nightly-report.service`. Units of users do not count.
    pub unit: Option<String>,
    /// Its control group or one above, from the root of the hierarchy: `/system.slice/app.slice`.
    pub cgroup: Option<String>,
    /// Its container: 64 hexadecimal digits. Containers that users run for themselves do not count.
    pub container: Option<String>,
    /// Path of its executable, in the agent's mount namespace unless `sha256` is given as well.
    pub executable: Option<PathBuf>,
    /// Hash of its executable: 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// One of its ancestors.
    pub ancestor: Option<AncestorConfig>,
}

/// A condition on an ancestor. Its name can be chosen by whoever runs it, so its user has to be given.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AncestorConfig {
    /// Its real user id.
    pub uid: u32,
    /// Its thread name, 15 bytes at most; absent: any.
    pub name: Option<String>,
}
