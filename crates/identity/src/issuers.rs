//! Tokens of any number of issuers.

use model::time::WallTime;

use crate::cache::Counts;
use crate::config::IssuerConfig;
use crate::issuer::Issuer;
use crate::mistake::{ConfigError, Mistake};
use crate::secret::Secret;
use crate::token_error::TokenError;
use crate::unverified::Unverified;
use crate::verified::VerifiedPrincipal;

/// Most issuers.
pub const ISSUERS_MAX: usize = 64;

/// The issuers that are believed, with their keys. Cheap to ask from many tasks at once.
#[derive(Debug)]
pub struct Issuers {
    issuers: Vec<Issuer>,
}

impl Issuers {
    /// Checks `[[identity.issuer]]` and reads the files that it names. Addresses are not asked yet.
    ///
    /// # Errors
    /// The first mistake, with what to do about it.
    pub fn new(configs: &[IssuerConfig]) -> Result<Self, ConfigError> {
        let mut issuers: Vec<Issuer> = Vec::with_capacity(configs.len());
        for config in configs {
            let at = |mistake: Mistake| mistake.at(format!("identity.issuer {:?}", config.name));
            let issuer = Issuer::check(config).map_err(at)?;
            if issuers.iter().any(|known| known.url == issuer.url) {
                return Err(at(Mistake::new(
                    "issuer",
                    "there is another one with the same `issuer`; write one, with all audiences",
                )));
            }
            if issuers.len() == ISSUERS_MAX {
                return Err(at(Mistake::new("issuer", format!("there are more than {ISSUERS_MAX}"))));
            }
            issuers.push(issuer);
        }
        Ok(Self { issuers })
    }

    /// Finds out who a token is about. Waits for the issuer's keys where they are not known.
    ///
    /// Nothing is remembered: the same token proves the same until it expires ([`Principal::expires`]).
    ///
    /// # Errors
    /// Why the token proves nothing.
    ///
    /// [`Principal::expires`]: model::principal::Principal::expires
    pub async fn verify(&self, token: &Secret, now: WallTime) -> Result<VerifiedPrincipal, TokenError> {
        let token = Unverified::parse(token)?;
        let named = token.issuer()?;
        let issuer = self.issuers.iter().find(|issuer| issuer.url == named).ok_or(TokenError::Issuer)?;
        issuer.verify(token, now).await
    }

    /// For each issuer its configured name, and how often it was asked for its keys.
    pub fn counts(&self) -> impl Iterator<Item = (&str, Counts)> {
        self.issuers.iter().map(Issuer::counts)
    }
}
