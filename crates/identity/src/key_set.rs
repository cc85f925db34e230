//! The keys of an issuer (a JWK set, RFC 7517 section 5).

use serde_json::Value;

use crate::algorithm::Algorithm;
use crate::json;
use crate::key::Key;

/// Largest document; Entra ID's, with certificates, has 20 KB.
pub(crate) const BYTES_MAX: usize = 512 << 10;
/// Most keys; issuers have two to ten.
const KEYS_MAX: usize = 128;

/// Keys that can be used.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

/// Why a document is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeySetError {
    #[error("it is larger than {} KiB", BYTES_MAX >> 10)]
    TooLarge,
    #[error("it is no JWK set: an object with a list `keys`, no name twice")]
    Malformed,
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
    #[error(
        "none of its {0} keys can be used: each needs a `kid`, and RSA of 2048 bits or more, P-256, P-384 or Ed25519"
    )]
    NoKey(usize),
}

impl KeySet {
    /// Reads a document. Keys that cannot be used are left out: sets hold keys for other purposes as well.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.len() > BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let document = json::object(bytes).ok_or(KeySetError::Malformed)?;
        let list = document.get("keys").and_then(Value::as_array).ok_or(KeySetError::Malformed)?;
        if list.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let keys: Vec<Key> = list.iter().filter_map(Value::as_object).filter_map(|jwk| Key::parse(jwk).ok()).collect();
        if keys.is_empty() { Err(KeySetError::NoKey(list.len())) } else { Ok(Self { keys }) }
    }

    /// Whether it has a key of that id, of whatever type.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// The key of that id that fits the algorithm.
    pub(crate) fn key(&self, id: &str, algorithm: Algorithm) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id && key.fits(algorithm))
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}
