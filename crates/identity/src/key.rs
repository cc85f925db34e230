//! One public key of an issuer (RFC 7517, RFC 7518 section 6, RFC 8037).

use base64ct::{Base64UrlUnpadded, Encoding as _};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;

/// Longest id of a key.
pub(crate) const ID_BYTES_MAX: usize = 256;

/// What a key may say that it is for: signatures, and the tokens of a SPIFFE trust domain (SPIFFE Trust Domain and Bundle,
/// section 4.2.2).
const USES: [&str; 2] = ["sig", "jwt-svid"];

/// Why a key is left out of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unusable;

/// A key that can check signatures of some algorithms.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    /// The only algorithm that it is for, if it says so.
    declared: Option<Algorithm>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// Elliptic curves: the point, and the one algorithm of its curve.
    Curve {
        algorithm: Algorithm,
        point: Vec<u8>,
    },
}

impl Key {
    /// Reads a JWK. A key without an id, for another use, of another type, or one that comes with its private half is
    /// not used.
    pub(crate) fn parse(jwk: &Map<String, Value>) -> Result<Self, Unusable> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let id = text("kid").filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX).ok_or(Unusable)?;
        let operations =
            jwk.get("key_ops").map(|list| list.as_array().is_some_and(|list| list.contains(&"verify".into())));
        let signs_tokens = text("use").is_none_or(|used| USES.contains(&used));
        if jwk.contains_key("d") || !signs_tokens || operations == Some(false) {
            return Err(Unusable);
        }
        let declared = match text("alg") {
            None => None,
            Some(name) => Some(Algorithm::named(name).ok_or(Unusable)?),
        };
        Ok(Self { id: id.to_owned(), declared, material: Material::parse(jwk)? })
    }

    /// Whether its type fits the algorithm, and it says nothing else.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        let type_fits = match &self.material {
            Material::Rsa(_) => algorithm.rsa().is_some(),
            Material::Curve { algorithm: own, .. } => *own == algorithm,
        };
        type_fits && self.declared.is_none_or(|declared| declared == algorithm)
    }

    /// Whether the signature is right. A key that does not fit signs nothing.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        match (&self.material, algorithm.rsa()) {
            (Material::Rsa(key), Some(parameters)) => key.verify(parameters, message, signature).is_ok(),
            (Material::Curve { algorithm, point }, None) => curve(*algorithm)
                .is_some_and(|known| UnparsedPublicKey::new(known, point).verify(message, signature).is_ok()),
            _ => false,
        }
    }
}

impl Material {
    fn parse(jwk: &Map<String, Value>) -> Result<Self, Unusable> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str).ok_or(Unusable);
        let bytes = |name: &str| Base64UrlUnpadded::decode_vec(text(name)?).map_err(|_not_base64| Unusable);
        let coordinates = |length: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            let uncompressed = [&[4], &*x, &*y].concat();
            if x.len() == length && y.len() == length { Ok(uncompressed) } else { Err(Unusable) }
        };
        match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let number = |name: &str| bytes(name).map(|bytes| without_leading_zeros(&bytes));
                let (n, e) = (number("n")?, number("e")?);
                // `ring` refuses others at each use; here a set says at once that it has none.
                if !(256..=1024).contains(&n.len()) || e.is_empty() || e.len() > 8 {
                    return Err(Unusable);
                }
                Ok(Self::Rsa(RsaPublicKeyComponents { n, e }))
            }
            ("EC", Ok("P-256")) => Ok(Self::Curve { algorithm: Algorithm::Es256, point: coordinates(32)? }),
            ("EC", Ok("P-384")) => Ok(Self::Curve { algorithm: Algorithm::Es384, point: coordinates(48)? }),
            ("OKP", Ok("Ed25519")) => {
                let point = bytes("x")?;
                if point.len() == 32 { Ok(Self::Curve { algorithm: Algorithm::EdDsa, point }) } else { Err(Unusable) }
            }
            _ => Err(Unusable),
        }
    }
}

fn curve(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        Algorithm::Es256 => Some(&ECDSA_P256_SHA256_FIXED),
        Algorithm::Es384 => Some(&ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDsa => Some(&ED25519),
        _ => None,
    }
}

/// Some issuers write the sign byte of DER, which RFC 7518 forbids.
fn without_leading_zeros(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().skip_while(|byte| *byte == 0).collect()
}
