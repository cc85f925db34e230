//! What becomes of tokens when their issuer's keys come and go.

use std::time::Duration;

use identity::config::IssuerConfig;
use identity::issuers::Issuers;
use identity::secret::Secret;
use identity::token_error::TokenError;
use identity::{ConfigError, Counts};
use model::time::WallTime;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::issuer::{SigningKey, key_set};
use crate::server::Server;

/// 2026-01-01T00:00:00Z, in seconds.
const BEGIN: u64 = 1_767_225_600;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

struct Scene {
    server: Server,
    issuers: Issuers,
    runtime: Runtime,
    key: SigningKey,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_server, _config| {})
    }

    fn with(change: impl FnOnce(&Server, &mut IssuerConfig)) -> Self {
        let key = SigningKey::p256("first").unwrap();
        let server = Server::start(&key_set(&[key.jwk()]));
        let mut config =
            IssuerConfig { ca_file: Some(server.ca_file()), ..IssuerConfig::new("test", &server.issuer(), "warder") };
        change(&server, &mut config);
        let issuers = Issuers::new(&[config]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { server, issuers, runtime, key }
    }

    /// A token that is right at `seconds` behind the beginning.
    fn token(&self, key: &SigningKey, seconds: u64) -> Secret {
        let now = BEGIN + seconds;
        let claims =
            json!({ "iss": self.server.issuer(), "aud": "warder", "sub": "alice", "iat": now, "exp": now + 60 });
        Secret::new(key.token("ES256", &claims).unwrap().into_bytes())
    }

    fn verify_with(&self, key: &SigningKey, seconds: u64) -> Result<(), TokenError> {
        let token = self.token(key, seconds);
        self.runtime.block_on(self.issuers.verify(&token, at(seconds))).map(drop)
    }

    fn verify(&self, seconds: u64) -> Result<(), TokenError> {
        self.verify_with(&self.key, seconds)
    }

    fn counts(&self) -> Counts {
        self.issuers.counts().next().unwrap().1
    }

    /// Lets what goes on in the background go on until something is true.
    fn until(&self, done: impl AsyncFn() -> bool) {
        let turn = async {
            while !done().await {
                tokio::task::yield_now().await;
            }
        };
        let limited = async { tokio::time::timeout(Duration::from_secs(20), turn).await };
        self.runtime.block_on(limited).unwrap();
    }

    /// Lets questions in the background fail.
    fn until_failed(&self, times: u64) {
        self.until(async || self.counts().failed == times);
    }
}

fn at(seconds: u64) -> WallTime {
    WallTime((BEGIN + seconds) * 1_000_000_000)
}

#[test]
fn keys_are_found_by_discovery_and_kept() {
    let scene = Scene::new();
    assert_eq!(scene.server.asked(), 0, "nobody is asked before a token comes");
    for second in 0..50 {
        assert_eq!(scene.verify(second), Ok(()));
    }
    assert_eq!(scene.server.asked(), 1);
}

#[test]
fn keys_can_have_a_place_of_their_own() {
    let scene = Scene::with(|server, config| {
        server.answer_metadata("");
        config.jwks_url = Some(format!("{}/keys", server.issuer()));
    });
    assert_eq!(scene.verify(0), Ok(()));
}

#[test]
fn many_tokens_at_once_are_one_question() {
    let scene = Scene::new();
    let token = scene.token(&scene.key, 0);
    scene.runtime.block_on(async {
        let one = || scene.issuers.verify(&token, at(0));
        let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
        assert!([a, b, c, d].iter().all(Result::is_ok));
    });
    assert_eq!((scene.server.asked(), scene.counts()), (1, Counts { asked: 1, failed: 0, withheld: 0 }));
}

#[test]
fn a_new_key_is_found_and_an_old_one_forgotten() {
    let scene = Scene::new();
    let second = SigningKey::p256("second").unwrap();
    assert_eq!(scene.verify(0), Ok(()));
    scene.server.answer_keys(&key_set(&[second.jwk()]));
    assert_eq!(scene.verify_with(&second, 10), Err(TokenError::UnknownKey), "too early to ask again");
    assert_eq!(scene.verify(10), Ok(()));
    assert_eq!(scene.verify_with(&second, 30), Ok(()));
    assert_eq!(scene.verify(31), Err(TokenError::UnknownKey));
}

#[test]
fn a_key_that_was_replaced_under_the_same_id_is_found_with_the_next_question() {
    let scene = Scene::new();
    let thief = SigningKey::p256("first").unwrap();
    assert_eq!((scene.verify(0), scene.verify_with(&thief, 0)), (Ok(()), Err(TokenError::Signature)));
    let next = SigningKey::p256("first").unwrap();
    scene.server.answer_keys(&key_set(&[next.jwk()]));
    assert_eq!(scene.verify(HOUR), Ok(()), "the one that finds the keys old does not wait");
    let token = scene.token(&next, HOUR + 1);
    scene.until(async || scene.issuers.verify(&token, at(HOUR + 1)).await.is_ok());
    assert_eq!(scene.verify(HOUR + 1), Err(TokenError::Signature));
}

#[test]
fn invented_keys_do_not_flood_the_issuer() {
    let scene = Scene::new();
    assert_eq!(scene.verify(0), Ok(()));
    for number in 0..300_u64 {
        let invented = SigningKey::p256(&format!("invented-{number}")).unwrap();
        // Ten each second.
        assert_eq!(scene.verify_with(&invented, number / 10), Err(TokenError::UnknownKey));
    }
    assert_eq!(scene.server.asked(), 1, "30 seconds have not passed");
    assert_eq!(scene.counts().withheld, 300);
    assert_eq!(scene.verify(30), Ok(()));
}

#[test]
fn an_issuer_that_is_down_is_believed_until_its_keys_are_too_old() {
    let scene = Scene::new();
    assert_eq!(scene.verify(0), Ok(()));
    scene.server.set_down(true);
    for hours in 1..=24 {
        assert_eq!(scene.verify(hours * HOUR), Ok(()), "{hours}");
        scene.until_failed(hours);
    }
    assert_eq!(scene.verify(DAY + 40), Err(TokenError::KeysStale));
    assert_eq!(scene.verify(DAY + 41), Err(TokenError::KeysStale));
    scene.server.set_down(false);
    assert_eq!(scene.verify(DAY + 70), Ok(()));
}

#[test]
fn an_issuer_that_was_never_there_is_unavailable() {
    let scene = Scene::new();
    scene.server.set_down(true);
    assert_eq!(scene.verify(0), Err(TokenError::KeysUnavailable));
    assert_eq!(scene.verify(1), Err(TokenError::KeysUnavailable));
    assert_eq!(scene.counts(), Counts { asked: 1, failed: 1, withheld: 1 });
    scene.server.set_down(false);
    assert_eq!(scene.verify(30), Ok(()));
}

#[test]
fn a_client_that_goes_away_does_not_take_the_question_with_it() {
    let scene = Scene::new();
    let token = scene.token(&scene.key, 0);
    scene.runtime.block_on(async {
        let verifying = scene.issuers.verify(&token, at(0));
        tokio::select! { biased; _ = verifying => panic!("it waits"), () = tokio::task::yield_now() => {} }
    });
    let later = scene.token(&scene.key, 1);
    scene.until(async || scene.issuers.verify(&later, at(1)).await.is_ok());
    assert_eq!(scene.server.asked(), 1);
}

#[test]
fn an_answer_that_is_no_set_of_keys_changes_nothing() {
    let huge = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(600 << 10));
    for (status, body) in [(200, ""), (200, "<html>"), (200, r#"{"keys":[]}"#), (200, &huge), (500, "{}"), (302, "")] {
        let scene = Scene::new();
        assert_eq!(scene.verify(0), Ok(()));
        scene.server.answer("/keys", status, body);
        assert_eq!(scene.verify(HOUR), Ok(()), "{status}");
        scene.until_failed(1);
        assert_eq!(scene.verify(2 * HOUR), Ok(()), "{status}");
    }
}

#[test]
fn metadata_of_somebody_else_are_not_taken() {
    let changed = |name: &str, value: Value| {
        let scene = Scene::new();
        let mut metadata = scene.server.metadata();
        metadata[name] = value;
        scene.server.answer_metadata(&metadata.to_string());
        scene.verify(0)
    };
    assert_eq!(changed("other", json!("x")), Ok(()));
    assert_eq!(changed("issuer", json!("https://other.example.com")), Err(TokenError::KeysUnavailable));
    assert_eq!(changed("jwks_uri", json!("http://127.0.0.1/keys")), Err(TokenError::KeysUnavailable));
    assert_eq!(changed("jwks_uri", json!(null)), Err(TokenError::KeysUnavailable));
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let stranger = Server::start(&key_set(&[]));
    let scene = Scene::with(|_server, config| config.ca_file = Some(stranger.ca_file()));
    assert_eq!(scene.verify(0), Err(TokenError::KeysUnavailable));
    assert_eq!(scene.server.asked(), 0);
}

#[test]
fn keys_have_one_place_and_it_is_https() {
    let folder = tempfile::tempdir().unwrap();
    let check = |change: &dyn Fn(&mut IssuerConfig)| -> ConfigError {
        let mut config = IssuerConfig::new("test", "https://issuer.example.com", "warder");
        change(&mut config);
        Issuers::new(&[config]).unwrap_err()
    };
    let url = || Some("https://issuer.example.com/keys".to_owned());
    let error = check(&|config| (config.jwks_url, config.discovery_url) = (url(), url()));
    assert!(error.text.contains("one place"), "{error}");
    assert_eq!(check(&|config| config.issuer = "http://issuer.example.com".into()).key, "issuer");
    assert_eq!(check(&|config| config.jwks_url = Some("http://example.com".into())).key, "jwks_url");
    assert_eq!(check(&|config| config.discovery_url = Some("example.com".into())).key, "discovery_url");
    assert_eq!(check(&|config| config.ca_file = Some(folder.path().join("none"))).key, "ca_file");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    assert!(check(&|config| config.ca_file = Some(empty.clone())).text.contains("no certificate"));
    assert_eq!(check(&|config| config.keys_fresh_seconds = Some(59)).key, "keys_fresh_seconds");
    assert_eq!(check(&|config| config.keys_stale_seconds_max = Some(604_801)).key, "keys_stale_seconds_max");
}
