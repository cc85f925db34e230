//! A token that nobody has vouched for yet (RFC 7515, section 7.1; RFC 7519; RFC 8725).
//!
//! It waits for its key. All that may be asked before is which issuer and which key it names.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::claims::Claims;
use crate::json;
use crate::key::{ID_BYTES_MAX, Key};
use crate::secret::Secret;
use crate::token_error::TokenError;

/// Largest token.
pub(crate) const BYTES_MAX: usize = 16 << 10;

/// Parameters of a header that would change what is checked. A key comes from the issuer's configuration, never from the
/// token (RFC 8725, section 3.10); extensions that must be understood are none (RFC 7515, section 4.1.11).
const REFUSED_PARAMETERS: &[&str] = &["crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c"];

/// Kinds of tokens that are taken (RFC 8725, section 3.11; RFC 9068, section 2.1).
const TYPES: &[&str] = &["jwt", "at+jwt"];

/// A token in parts.
pub(crate) struct Unverified<'a> {
    algorithm: Algorithm,
    key_id: String,
    claims: Map<String, Value>,
    /// Header and claims, as they are signed.
    signed: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    pub(crate) fn parse(token: &'a Secret) -> Result<Self, TokenError> {
        let token = token.expose();
        if token.len() > BYTES_MAX {
            return Err(TokenError::TooLarge);
        }
        let text = str::from_utf8(token).map_err(|_no_text| TokenError::Malformed)?;
        if text.bytes().filter(|byte| *byte == b'.').count() == 4 {
            return Err(TokenError::Encrypted);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header = object(header)?;
        check_header(&header)?;
        Ok(Self {
            algorithm: algorithm(&header)?,
            key_id: key_id(&header)?,
            claims: object(claims)?,
            signed: signed.as_bytes(),
            signature: decode(signature)?,
        })
    }

    /// The issuer that it claims to be from.
    pub(crate) fn issuer(&self) -> Result<&str, TokenError> {
        self.claims.get("iss").and_then(Value::as_str).ok_or(TokenError::Issuer)
    }

    pub(crate) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Checks the signature. The only way to its claims.
    pub(crate) fn verified_by(self, key: &Key) -> Result<Claims, TokenError> {
        if key.verifies(self.algorithm, self.signed, &self.signature) {
            Ok(Claims::signed(self.claims))
        } else {
            Err(TokenError::Signature)
        }
    }
}

/// Base64url without padding, in its only form: what decodes to the same bytes is the same text.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    Base64UrlUnpadded::decode_vec(part).map_err(|_not_base64| TokenError::Malformed)
}

fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    json::object(&decode(part)?).ok_or(TokenError::Malformed)
}

fn check_header(header: &Map<String, Value>) -> Result<(), TokenError> {
    if REFUSED_PARAMETERS.iter().any(|name| header.contains_key(*name)) {
        return Err(TokenError::Header);
    }
    let Some(kind) = header.get("typ") else { return Ok(()) };
    let kind = kind.as_str().ok_or(TokenError::Type)?.to_ascii_lowercase();
    // RFC 7515, section 4.1.9: `application/` may be left out.
    let kind = kind.strip_prefix("application/").unwrap_or(&kind);
    if TYPES.contains(&kind) { Ok(()) } else { Err(TokenError::Type) }
}

fn algorithm(header: &Map<String, Value>) -> Result<Algorithm, TokenError> {
    header.get("alg").and_then(Value::as_str).and_then(Algorithm::named).ok_or(TokenError::Algorithm)
}

fn key_id(header: &Map<String, Value>) -> Result<String, TokenError> {
    let id = header.get("kid").and_then(Value::as_str).ok_or(TokenError::NoKeyId)?;
    if id.is_empty() || id.len() > ID_BYTES_MAX { Err(TokenError::NoKeyId) } else { Ok(id.to_owned()) }
}
