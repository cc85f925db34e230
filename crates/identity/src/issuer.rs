//! One issuer: a checked configuration, and how its tokens are judged.

use std::time::Duration;

use model::time::WallTime;

use crate::algorithm::{Algorithm, NAMES};
use crate::cache::Counts;
use crate::claims::{Claims, TimeRules};
use crate::config::IssuerConfig;
use crate::mapping::Mapping;
use crate::mistake::Mistake;
use crate::name;
use crate::source::Source;
use crate::token_error::TokenError;
use crate::unverified::Unverified;
use crate::verified::VerifiedPrincipal;

/// Longest name of an issuer in the configuration.
const NAME_BYTES_MAX: usize = 32;
/// Largest configurable difference of clocks.
const SKEW_SECONDS_MAX: u64 = 60;
/// Longest lifetime of a token, unless configured: a day, as the longest access tokens of Okta and Entra ID.
const LIFETIME_SECONDS: u64 = 24 * 3600;
/// Longest configurable lifetime of a token.
const LIFETIME_SECONDS_MAX: u64 = 366 * 24 * 3600;

/// An issuer that is believed.
#[derive(Debug)]
pub(crate) struct Issuer {
    name: String,
    pub(crate) url: String,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    times: TimeRules,
    tenant: Option<String>,
    mapping: Mapping,
    source: Source,
}

impl Issuer {
    pub(crate) fn check(config: &IssuerConfig) -> Result<Self, Mistake> {
        check_name(&config.name)?;
        check_url(config)?;
        if config.audiences.is_empty() || config.audiences.iter().any(|audience| name::checked(audience).is_none()) {
            let text = "name at least one: without it a token for any other application would be taken";
            return Err(Mistake::new("audiences", text));
        }
        Ok(Self {
            name: config.name.clone(),
            url: config.issuer.clone(),
            audiences: config.audiences.clone(),
            algorithms: algorithms(config)?,
            times: times(config)?,
            tenant: config.tenant.clone(),
            mapping: Mapping::check(config)?,
            source: Source::check(config)?,
        })
    }

    /// Judges a token that names this issuer.
    pub(crate) async fn verify(&self, token: Unverified<'_>, now: WallTime) -> Result<VerifiedPrincipal, TokenError> {
        let algorithm = token.algorithm();
        if !self.algorithms.contains(&algorithm) {
            return Err(TokenError::Algorithm);
        }
        let keys = self.source.keys(token.key_id(), now).await?;
        let key = keys.key(token.key_id(), algorithm).ok_or(TokenError::Algorithm)?;
        self.judge(&token.verified_by(key)?, now)
    }

    pub(crate) fn counts(&self) -> (&str, Counts) {
        (&self.name, self.source.counts())
    }

    fn judge(&self, claims: &Claims, now: WallTime) -> Result<VerifiedPrincipal, TokenError> {
        claims.check_audience(&self.audiences)?;
        let end = claims.check_times(self.times, now)?;
        if self.tenant.as_deref().is_some_and(|tenant| claims.text("tid") != Some(tenant)) {
            return Err(TokenError::Tenant);
        }
        let principal = self.mapping.principal(claims, end)?;
        Ok(VerifiedPrincipal::new(principal, claims.token_id().map(Into::into)))
    }
}

fn check_name(name: &str) -> Result<(), Mistake> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(Mistake::new("name", "a name has 1 to 32 of the characters a-z, 0-9, - and _"));
    }
    Ok(())
}

/// `iss` is compared as a text, so it is one.
fn check_url(config: &IssuerConfig) -> Result<(), Mistake> {
    let issuer = name::checked(&config.issuer);
    if issuer.is_none() {
        return Err(Mistake::new("issuer", "write `iss` of its tokens: at most 256 bytes, no spaces around it"));
    }
    // Every tenant of the world has an issuer of its own; these stand for all of them.
    let shared = ["/common", "/organizations", "/consumers"].iter().any(|part| config.issuer.contains(part));
    if config.issuer.contains('{') || (shared && config.issuer.contains("microsoftonline")) {
        let text = "this stands for every tenant; write the tenant's id, as in `iss` of its tokens";
        return Err(Mistake::new("issuer", text));
    }
    if config.tenant.as_ref().is_some_and(|tenant| name::checked(tenant).is_none()) {
        return Err(Mistake::new("tenant", "write the tenant's id, as in `tid` of its tokens, or leave the key out"));
    }
    Ok(())
}

fn algorithms(config: &IssuerConfig) -> Result<Vec<Algorithm>, Mistake> {
    let Some(names) = &config.algorithms else { return Ok(vec![Algorithm::Rs256, Algorithm::Es256]) };
    let known = || NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        return Err(Mistake::new("algorithms", "without one no token is taken; leave the key out for RS256 and ES256"));
    }
    let algorithm = |name: &String| {
        Algorithm::named(name)
            .ok_or_else(|| Mistake::new("algorithms", format!("{name:?} cannot be allowed; choose from {}", known())))
    };
    names.iter().map(algorithm).collect()
}

fn times(config: &IssuerConfig) -> Result<TimeRules, Mistake> {
    let skew = config.skew_seconds.unwrap_or(SKEW_SECONDS_MAX);
    if skew > SKEW_SECONDS_MAX {
        return Err(Mistake::new("skew_seconds", "at most 60; let hosts set their clocks by NTP instead"));
    }
    let lifetime = config.lifetime_seconds_max.unwrap_or(LIFETIME_SECONDS);
    if !(1..=LIFETIME_SECONDS_MAX).contains(&lifetime) {
        return Err(Mistake::new("lifetime_seconds_max", "from 1 to 31622400, a year"));
    }
    Ok(TimeRules { skew: Duration::from_secs(skew), lifetime_max: Duration::from_secs(lifetime) })
}
