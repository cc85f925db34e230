//! One issuer with keys of every type, and tokens of it.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use identity::config::IssuerConfig;
use identity::issuers::Issuers;
use identity::secret::Secret;
use identity::token_error::TokenError;
use identity::verified::VerifiedPrincipal;
use model::time::WallTime;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::issuer::{SigningKey, key_set};

pub(crate) const ISSUER: &str = "https://issuer.example.com";
pub(crate) const AUDIENCE: &str = "warder";
/// 2026-01-01T00:00:00Z, in seconds: the time of the scene.
pub(crate) const NOW: u64 = 1_767_225_600;

/// RSA keys take a while to make.
pub(crate) static RSA: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rsa("rsa-1", 2048).unwrap());
pub(crate) static P256: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::p256("p256-1").unwrap());
pub(crate) static P384: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::p384("p384-1").unwrap());
pub(crate) static ED25519: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::ed25519("ed-1").unwrap());

/// An issuer with its file.
pub(crate) struct Scene {
    folder: TempDir,
    issuers: Issuers,
}

impl Scene {
    /// All keys, all algorithms.
    pub(crate) fn new() -> Self {
        Self::with(|_config| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut IssuerConfig)) -> Self {
        let keys = [&RSA, &P256, &P384, &ED25519].map(|key| key.jwk());
        Self::with_keys(&key_set(&keys), change)
    }

    pub(crate) fn with_keys(keys: &Value, change: impl FnOnce(&mut IssuerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        std::fs::write(&file, keys.to_string()).unwrap();
        let names = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
        let mut config = IssuerConfig {
            algorithms: Some(names.map(str::to_owned).to_vec()),
            jwks_file: Some(file),
            ..IssuerConfig::new("test", ISSUER, AUDIENCE)
        };
        change(&mut config);
        Self { folder, issuers: Issuers::new(&[config]).unwrap() }
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    pub(crate) fn verify(&self, token: &str) -> Result<VerifiedPrincipal, TokenError> {
        self.verify_at(token, seconds(NOW))
    }

    pub(crate) fn verify_at(&self, token: &str, now: WallTime) -> Result<VerifiedPrincipal, TokenError> {
        self.verify_bytes(token.as_bytes(), now)
    }

    pub(crate) fn verify_bytes(&self, token: &[u8], now: WallTime) -> Result<VerifiedPrincipal, TokenError> {
        ready(self.issuers.verify(&Secret::new(token.to_vec()), now))
    }

    /// Verifies claims in a right token.
    pub(crate) fn claims(&self, claims: &Value) -> Result<VerifiedPrincipal, TokenError> {
        self.verify(&P256.token("ES256", claims).unwrap())
    }

    /// Verifies a right token with these claims changed; `null` takes one away.
    pub(crate) fn changed(&self, changes: &Value) -> Result<VerifiedPrincipal, TokenError> {
        self.claims(&claims_with(changes))
    }
}

/// Claims of a token that is right in every respect.
pub(crate) fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": NOW - 10, "exp": NOW + 3600, "jti": "t-1" })
}

pub(crate) fn claims_with(changes: &Value) -> Value {
    let mut claims = claims();
    let object = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            object.remove(name).unwrap();
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
    claims
}

pub(crate) const fn seconds(seconds: u64) -> WallTime {
    WallTime(seconds * 1_000_000_000)
}

/// With keys of a file nothing waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a file is not waited for"),
    }
}
