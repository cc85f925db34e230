//! Against a real issuer: the device flow, refresh, client credentials, a change of keys. `cargo xtask test` installs it
//! and names its folder in `WARDER_NODE`.
#![allow(clippy::allow_attributes, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../../../tests/src/provider.rs"]
#[expect(unreachable_pub, reason = "shared with the end-to-end tests, where it is a module of a library")]
mod provider;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use identity::config::{ConditionConfig, IssuerConfig, Kind, RuleConfig};
use identity::issuers::Issuers;
use identity::login::{Device, LoginClient, LoginError, Poll, Provider as Login, Tokens};
use identity::secret::Secret;
use identity::token_error::TokenError;
use identity::verified::VerifiedPrincipal;
use model::principal::PrincipalKind;
use model::time::WallTime;
use provider::Provider;

struct Scene {
    provider: Provider,
    issuers: Issuers,
    login: Login,
    client: LoginClient,
}

impl Scene {
    async fn new() -> Self {
        let node = std::env::var_os("WARDER_NODE").expect("run this with `cargo xtask test`, or set WARDER_NODE");
        let provider = Provider::start(Path::new(&node)).unwrap();
        let absent = ConditionConfig { claim: "groups".into(), is: None, present: Some(false) };
        let config = IssuerConfig {
            ca_file: Some(provider.ca_file()),
            groups: vec!["groups".into()],
            rule: vec![
                RuleConfig { when: vec![absent], kind: Kind::Service, id: "client_id".into(), acting_for: None },
                RuleConfig { when: vec![], kind: Kind::Person, id: "sub".into(), acting_for: None },
            ],
            ..IssuerConfig::new("test", &provider.issuer, "warder")
        };
        let issuers = Issuers::new(&[config]).unwrap();
        let login = Login::discover(&provider.issuer, Some(&provider.ca_file())).await.unwrap();
        let client = LoginClient { id: "warder-login".into(), scope: "openid offline_access".into(), resource: None };
        Self { provider, issuers, login, client }
    }

    async fn begin(&self) -> Device {
        self.login.begin(&self.client).await.unwrap()
    }

    async fn log_in(&mut self) -> Tokens {
        let device = self.begin().await;
        self.provider.approve(&device.user_code, "alice@example.com").unwrap();
        match self.login.poll(&self.client, &device).await.unwrap() {
            Poll::Granted(tokens) => tokens,
            Poll::Pending | Poll::SlowDown => panic!("it was approved"),
        }
    }

    async fn verify(&self, token: &Secret) -> Result<VerifiedPrincipal, TokenError> {
        self.issuers.verify(token, later(0)).await
    }
}

/// The real time, and some seconds: a real issuer's tokens are of now.
#[expect(clippy::disallowed_methods, reason = "a real issuer lives in real time")]
fn later(seconds: u64) -> WallTime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(seconds);
    WallTime(now.as_nanos().try_into().unwrap())
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn a_person_logs_in_with_a_code_and_stays_so_by_refreshing() {
    run(async {
        let mut scene = Scene::new().await;
        let device = scene.begin().await;
        assert!(device.address.starts_with(&scene.provider.issuer) && device.whole_address.is_some());
        assert!(matches!(scene.login.poll(&scene.client, &device).await, Ok(Poll::Pending)));
        let tokens = scene.log_in().await;
        assert_eq!(tokens.expires_in, Some(Duration::from_secs(600)));
        let verified = scene.verify(&tokens.access).await.unwrap();
        let principal = verified.principal();
        assert_eq!((&*principal.actor.id, principal.actor.kind), ("alice@example.com", PrincipalKind::Person));
        assert_eq!((&*principal.actor.issuer, &*principal.groups[0]), (&*scene.provider.issuer, "analysts"));
        assert!(verified.token_id().is_some());
        let again = scene.login.refresh(&scene.client, &tokens.refresh.unwrap()).await.unwrap();
        assert!(again.access.expose() != tokens.access.expose());
        assert_eq!(&*scene.verify(&again.access).await.unwrap().principal().actor.id, "alice@example.com");
        assert_eq!(scene.issuers.verify(&again.access, later(700)).await, Err(TokenError::Expired));
    });
}

#[test]
fn a_person_can_say_no() {
    run(async {
        let mut scene = Scene::new().await;
        let device = scene.begin().await;
        scene.provider.decline(&device.user_code).unwrap();
        assert!(matches!(scene.login.poll(&scene.client, &device).await, Err(LoginError::Declined)));
        let stranger = LoginClient { id: "nobody".into(), ..scene.client.clone() };
        let refused = scene.login.begin(&stranger).await.err().unwrap();
        assert_eq!(refused.to_string(), "the issuer refused: invalid_client");
        let invented = scene.login.refresh(&scene.client, &Secret::new(b"invented".to_vec())).await.err().unwrap();
        assert_eq!(invented.to_string(), "the issuer refused: invalid_grant");
    });
}

#[test]
fn a_service_has_a_token_of_its_own_and_keys_change() {
    run(async {
        let mut scene = Scene::new().await;
        let old = Secret::new(scene.provider.service_token().unwrap().into_bytes());
        let verified = scene.verify(&old).await.unwrap();
        let actor = &verified.principal().actor;
        assert_eq!((&*actor.id, actor.kind), ("nightly-report", PrincipalKind::Service));
        scene.provider.rotate().unwrap();
        let new = Secret::new(scene.provider.service_token().unwrap().into_bytes());
        assert_eq!(scene.verify(&new).await, Err(TokenError::UnknownKey), "it was asked just now");
        assert!(scene.issuers.verify(&new, later(31)).await.is_ok());
        assert_eq!(scene.issuers.verify(&old, later(31)).await, Err(TokenError::UnknownKey));
    });
}
