//! An identity provider without a server: its key is here, the public half in a file that the agent reads.
//!
//! The product has no signing key. A real issuer over HTTPS is [`crate::provider`].

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::account::Account;
use crate::directory;
use crate::issuer::{SigningKey, key_set};

/// `iss` of its tokens.
pub const ISSUER: &str = "https://issuer.example.com/";
/// `aud` of its tokens.
pub const AUDIENCE: &str = "warder";

/// The issuer.
pub struct Tokens {
    key: SigningKey,
    folder: TempDir,
}

impl Tokens {
    /// With a new key.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn new() -> Result<Self> {
        let tokens = Self { key: SigningKey::p256("first")?, folder: directory::private("tokens")? };
        std::fs::write(tokens.keys(), key_set(&[tokens.key.jwk()]).to_string())?;
        Ok(tokens)
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("jwks.json")
    }

    /// Lines of the agent's configuration that believe it; both clocks are one, so tokens end to the second.
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        vec![
            "[[identity.issuer]]".to_owned(),
            "name = \"test\"".to_owned(),
            format!("issuer = {ISSUER:?}"),
            format!("audiences = [{AUDIENCE:?}]"),
            "algorithms = [\"ES256\"]".to_owned(),
            "groups = [\"groups\"]".to_owned(),
            "skew_seconds = 0".to_owned(),
            format!("jwks_file = {:?}", self.keys().to_string_lossy()),
        ]
    }

    /// A token of a person with these further claims, from now on for that long.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, person: &str, further: &Value, life: Duration) -> Result<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": person, "iat": now, "exp": now + life.as_secs(),
        });
        let object = claims.as_object_mut().context("claims")?;
        object.extend(further.as_object().context("further claims")?.clone());
        self.key.token("ES256", &claims)
    }

    /// A file with a token, as `warder login` leaves it, that only this account can read.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&self, name: &str, token: &str, owner: &Account) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        directory::write_owned(&path, &format!("{token}\n"), owner, 0o600)?;
        Ok(path)
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
