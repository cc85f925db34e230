//! Signs tokens offline, with keys that are made for the test: any header, any claims, right or wrong.
//!
//! The product has no signing key. This file uses no other of this crate, so that `identity`'s own tests share it.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKey, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding,
};
use serde_json::{Value, json};

/// One signing key of an issuer.
pub struct SigningKey {
    /// Its id (`kid`).
    pub id: String,
    material: Material,
}

enum Material {
    Rsa(RsaKey),
    /// A curve: its name, the size of a coordinate in bytes, the key.
    Curve(&'static str, usize, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// A new RSA key. `ring` makes none, so `openssl` does.
    ///
    /// # Errors
    /// When openssl refuses.
    pub fn rsa(id: &str, bits: u32) -> Result<Self> {
        let mut command = Command::new("openssl");
        command.args(["genpkey", "-quiet", "-algorithm", "RSA", "-outform", "DER"]);
        let output = command.args(["-pkeyopt", &format!("rsa_keygen_bits:{bits}")]).output().context("openssl")?;
        ensure!(output.status.success(), "openssl genpkey: {}", String::from_utf8_lossy(&output.stderr));
        // Which of two forms openssl writes depends on its version.
        let key = RsaKey::from_pkcs8(&output.stdout).or_else(|_other| RsaKey::from_der(&output.stdout));
        let key = key.map_err(|error| anyhow::anyhow!("RSA key: {error}"))?;
        Ok(Self { id: id.to_owned(), material: Material::Rsa(key) })
    }

    /// A new key for ES256.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn p256(id: &str) -> Result<Self> {
        Self::curve(id, "P-256", 32, &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    /// A new key for ES384.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn p384(id: &str) -> Result<Self> {
        Self::curve(id, "P-384", 48, &ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    /// A new key for EdDSA.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn ed25519(id: &str) -> Result<Self> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok().context("no randomness")?;
        let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).ok().context("Ed25519 key")?;
        Ok(Self { id: id.to_owned(), material: Material::Ed25519(key) })
    }

    fn curve(id: &str, name: &'static str, bytes: usize, algorithm: &'static EcdsaSigningAlgorithm) -> Result<Self> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).ok().context("no randomness")?;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).ok().context("elliptic key")?;
        Ok(Self { id: id.to_owned(), material: Material::Curve(name, bytes, key) })
    }

    /// Its public half as a JWK, without `alg`.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.material {
            Material::Rsa(key) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({ "kty": "RSA", "n": encode(&public.n), "e": encode(&public.e) })
            }
            Material::Curve(name, bytes, key) => {
                // Behind the byte that says that the point is not compressed.
                let point = key.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at_checked(*bytes).unwrap_or_default();
                json!({ "kty": "EC", "crv": name, "x": encode(x), "y": encode(y) })
            }
            Material::Ed25519(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref()) })
            }
        };
        if let Some(object) = jwk.as_object_mut() {
            object.insert("kid".to_owned(), self.id.as_str().into());
            object.insert("use".to_owned(), "sig".into());
        }
        jwk
    }

    /// A token with `alg` and `kid` in its header, `typ` being `JWT`.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn token(&self, algorithm: &str, claims: &Value) -> Result<String> {
        self.token_with(algorithm, &json!({ "alg": algorithm, "kid": self.id, "typ": "JWT" }), claims)
    }

    /// A token with this header, whatever it says.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn token_with(&self, algorithm: &str, header: &Value, claims: &Value) -> Result<String> {
        self.token_of_texts(algorithm, &header.to_string(), &claims.to_string())
    }

    /// A token of texts that need not be JSON.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn token_of_texts(&self, algorithm: &str, header: &str, claims: &str) -> Result<String> {
        let signed = unsigned(header, claims);
        let signature = self.sign(algorithm, signed.as_bytes())?;
        Ok(format!("{signed}.{}", encode(&signature)))
    }

    /// Signs with the named algorithm.
    ///
    /// # Errors
    /// When the key is not of its type.
    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.material {
            Material::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(rsa_encoding(algorithm)?, &random, message, &mut signature).ok().context("RSA signature")?;
                Ok(signature)
            }
            Material::Curve(_, _, key) => {
                Ok(key.sign(&random, message).ok().context("elliptic signature")?.as_ref().to_vec())
            }
            Material::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }
}

/// The document in which an issuer publishes keys.
#[must_use]
pub fn key_set(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

/// Header and claims, as they are signed.
#[must_use]
pub fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()))
}

/// Base64url without padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

fn rsa_encoding(algorithm: &str) -> Result<&'static dyn RsaEncoding> {
    Ok(match algorithm {
        "RS256" => &RSA_PKCS1_SHA256,
        "RS384" => &RSA_PKCS1_SHA384,
        "RS512" => &RSA_PKCS1_SHA512,
        "PS256" => &RSA_PSS_SHA256,
        "PS384" => &RSA_PSS_SHA384,
        "PS512" => &RSA_PSS_SHA512,
        other => bail!("no RSA algorithm: {other}"),
    })
}
