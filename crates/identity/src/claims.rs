//! What an issuer has signed: claims, and the checks that every token has to pass (RFC 7519, section 4.1).

use std::time::Duration;

use model::time::WallTime;
use serde_json::{Map, Value};

use crate::seconds::{between, later, numeric_date};
use crate::token_error::TokenError;

/// Longest id of a token that is kept; longer ones are cut from records, not refused.
const TOKEN_ID_BYTES_MAX: usize = 256;

/// Claims behind a signature that was checked.
#[derive(Debug)]
pub(crate) struct Claims(Map<String, Value>);

/// What times an issuer's tokens may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeRules {
    /// How far two clocks may be apart.
    pub(crate) skew: Duration,
    /// Longest time from `iat` to `exp`.
    pub(crate) lifetime_max: Duration,
}

impl Claims {
    /// Only for whoever has checked the signature.
    pub(crate) const fn signed(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// A claim by its name, or by a JSON pointer (RFC 6901) if the name begins with `/`.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let Some(pointer) = name.strip_prefix('/') else { return self.0.get(name) };
        let (first, rest) = pointer.split_once('/').map_or((pointer, None), |(first, rest)| (first, Some(rest)));
        let outer = self.0.get(&first.replace("~1", "/").replace("~0", "~"))?;
        rest.map_or(Some(outer), |rest| outer.pointer(&format!("/{rest}")))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// `jti`, without control characters and bounded.
    pub(crate) fn token_id(&self) -> Option<&str> {
        self.text("jti").filter(|id| id.len() <= TOKEN_ID_BYTES_MAX && !id.chars().any(char::is_control))
    }

    /// Whether `aud` names one of these.
    pub(crate) fn check_audience(&self, ours: &[String]) -> Result<(), TokenError> {
        let named = |value: &Value| value.as_str().is_some_and(|audience| ours.iter().any(|own| own == audience));
        let found = match self.get("aud").ok_or(TokenError::Claim)? {
            Value::Array(list) => list.iter().any(named),
            single => named(single),
        };
        if found { Ok(()) } else { Err(TokenError::Audience) }
    }

    /// Checks `exp`, `nbf` and `iat`; returns from when on the token proves nothing: `exp` and the skew.
    pub(crate) fn check_times(&self, rules: TimeRules, now: WallTime) -> Result<WallTime, TokenError> {
        let expires = self.time("exp")?.ok_or(TokenError::Claim)?;
        let issued = self.time("iat")?.ok_or(TokenError::Claim)?;
        let begins = self.time("nbf")?.unwrap_or(issued).max(issued);
        let end = later(expires, rules.skew);
        if now >= end {
            return Err(TokenError::Expired);
        }
        if later(now, rules.skew) < begins {
            return Err(TokenError::NotYetValid);
        }
        if between(issued, expires) > rules.lifetime_max {
            return Err(TokenError::Lifetime);
        }
        Ok(end)
    }

    fn time(&self, name: &str) -> Result<Option<WallTime>, TokenError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => numeric_date(number).map(Some).ok_or(TokenError::Claim),
            Some(_) => Err(TokenError::Claim),
        }
    }
}
