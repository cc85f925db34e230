//! Borders of `exp`, `nbf`, `iat` and the lifetime, to the second and below.

use identity::token_error::TokenError;
use model::time::WallTime;
use serde_json::{Value, json};

use crate::scene::{NOW, P256, Scene, claims_with, seconds};

const SKEW: u64 = 60;

fn at(scene: &Scene, changes: &Value, now: WallTime) -> Result<WallTime, TokenError> {
    let token = P256.token("ES256", &claims_with(changes)).unwrap();
    scene.verify_at(&token, now).map(|verified| verified.principal().expires.unwrap())
}

#[test]
fn a_token_ends_with_its_expiry_and_the_skew() {
    let scene = Scene::new();
    let changes = json!({ "exp": NOW });
    let end = seconds(NOW + SKEW);
    assert_eq!(at(&scene, &changes, seconds(NOW)), Ok(end));
    assert_eq!(at(&scene, &changes, WallTime(end.0 - 1)), Ok(end));
    assert_eq!(at(&scene, &changes, end), Err(TokenError::Expired));
    assert_eq!(at(&scene, &json!({ "exp": 0, "iat": 0 }), seconds(NOW)), Err(TokenError::Expired));
}

#[test]
fn a_token_begins_with_the_skew_before() {
    let scene = Scene::new();
    for claim in ["nbf", "iat"] {
        let changes = json!({ claim: NOW + SKEW });
        assert!(at(&scene, &changes, seconds(NOW)).is_ok(), "{claim}");
        assert_eq!(at(&scene, &changes, WallTime(seconds(NOW).0 - 1)), Err(TokenError::NotYetValid), "{claim}");
    }
    assert_eq!(at(&scene, &json!({ "nbf": u64::MAX }), seconds(NOW)), Err(TokenError::NotYetValid));
}

#[test]
fn without_skew_clocks_must_agree() {
    let scene = Scene::with(|config| config.skew_seconds = Some(0));
    assert!(at(&scene, &json!({ "exp": NOW + 1 }), seconds(NOW)).is_ok());
    assert_eq!(at(&scene, &json!({ "exp": NOW }), seconds(NOW)), Err(TokenError::Expired));
    assert_eq!(at(&scene, &json!({ "nbf": NOW + 1 }), seconds(NOW)), Err(TokenError::NotYetValid));
}

#[test]
fn the_lifetime_has_a_border() {
    let scene = Scene::with(|config| config.lifetime_seconds_max = Some(3600));
    assert!(at(&scene, &json!({ "iat": NOW, "exp": NOW + 3600 }), seconds(NOW)).is_ok());
    assert_eq!(at(&scene, &json!({ "iat": NOW, "exp": NOW + 3601 }), seconds(NOW)), Err(TokenError::Lifetime));
    assert_eq!(at(&scene, &json!({ "exp": u64::MAX }), seconds(NOW)), Err(TokenError::Lifetime));
    assert_eq!(at(&scene, &json!({ "exp": 1e300 }), seconds(NOW)), Err(TokenError::Claim));
}

#[test]
fn times_are_numbers() {
    let scene = Scene::new();
    let half = json!({ "exp": NOW as f64 + 0.5 });
    assert_eq!(at(&scene, &half, seconds(NOW)), Ok(WallTime(seconds(NOW + SKEW).0 + 500_000_000)));
    for claim in ["exp", "iat", "nbf"] {
        for value in [json!("1767225600"), json!(-1), json!([1]), json!(true), json!({})] {
            assert_eq!(at(&scene, &json!({ claim: value }), seconds(NOW)), Err(TokenError::Claim), "{claim} {value}");
        }
    }
    for claim in ["exp", "iat"] {
        assert_eq!(at(&scene, &json!({ claim: null }), seconds(NOW)), Err(TokenError::Claim), "{claim}");
    }
}

#[test]
fn a_clock_at_its_end_is_no_panic() {
    let scene = Scene::new();
    for now in [WallTime(0), WallTime(1), WallTime(u64::MAX)] {
        assert!(at(&scene, &json!({}), now).is_err());
    }
}
