//! An issuer's metadata (OpenID Connect Discovery 1.0, section 4).

use serde_json::{Map, Value};

use crate::fetch::{Client, FetchError};
use crate::json;
use crate::url::HttpsUrl;

/// What an issuer says about itself.
#[derive(Debug)]
pub(crate) struct Metadata(Map<String, Value>);

/// Why there are no metadata.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// They could not be fetched.
    #[error("the issuer's metadata cannot be fetched")]
    Fetch(#[source] FetchError),
    /// They are no JSON object, or a name stands in it twice.
    #[error("the issuer's metadata are no JSON object")]
    Malformed,
    /// They are those of somebody else.
    #[error("the metadata are not of this issuer: `issuer` in them must be equal to the last character")]
    OtherIssuer,
    /// An address is missing or cannot be used.
    #[error("the metadata have no {0} that can be used: {1}")]
    Address(&'static str, String),
}

/// Where the metadata of an issuer are, unless configured.
pub(crate) fn default_url(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

impl Metadata {
    pub(crate) async fn fetch(client: &Client, url: &HttpsUrl, issuer: &str) -> Result<Self, DiscoveryError> {
        let body = client.get(url).await.map_err(DiscoveryError::Fetch)?;
        Self::parse(&body, issuer)
    }

    fn parse(body: &[u8], issuer: &str) -> Result<Self, DiscoveryError> {
        let metadata = json::object(body).ok_or(DiscoveryError::Malformed)?;
        if metadata.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(DiscoveryError::OtherIssuer);
        }
        Ok(Self(metadata))
    }

    /// An address in them.
    pub(crate) fn address(&self, name: &'static str) -> Result<HttpsUrl, DiscoveryError> {
        let missing = || DiscoveryError::Address(name, "it is missing".to_owned());
        let text = self.0.get(name).and_then(Value::as_str).ok_or_else(missing)?;
        HttpsUrl::parse(text).map_err(|wrong| DiscoveryError::Address(name, wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://issuer.example.com";

    #[test]
    fn metadata_are_of_the_issuer_and_name_https() {
        let parse = |text: &str| Metadata::parse(text.as_bytes(), ISSUER);
        let right =
            parse(r#"{"issuer":"https://issuer.example.com","jwks_uri":"https://keys.example.com/k"}"#).unwrap();
        assert_eq!(right.address("jwks_uri").unwrap().host, "keys.example.com");
        assert!(matches!(right.address("token_endpoint"), Err(DiscoveryError::Address("token_endpoint", _))));
        let plain = parse(r#"{"issuer":"https://issuer.example.com","jwks_uri":"http://keys.example.com/k"}"#).unwrap();
        assert!(plain.address("jwks_uri").is_err());
        assert!(matches!(parse(r#"{"issuer":"https://issuer.example.com/"}"#), Err(DiscoveryError::OtherIssuer)));
        assert!(matches!(parse("{}"), Err(DiscoveryError::OtherIssuer)));
        assert!(matches!(parse("[]"), Err(DiscoveryError::Malformed)));
    }

    #[test]
    fn the_usual_place_is_below_the_issuer() {
        assert_eq!(default_url("https://a.example.com/x/"), "https://a.example.com/x/.well-known/openid-configuration");
        assert_eq!(default_url("https://a.example.com"), "https://a.example.com/.well-known/openid-configuration");
    }
}
