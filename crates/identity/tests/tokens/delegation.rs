//! `act`: who acts for whom.

use identity::config::{Kind, RuleConfig};
use identity::token_error::TokenError;
use model::principal::{PrincipalKind, Proof};
use serde_json::{Value, json};

use crate::scene::{ISSUER, Scene};

/// Actor, and those it acts for, with their kinds.
fn chain(scene: &Scene, changes: &Value) -> Result<Vec<(PrincipalKind, String)>, TokenError> {
    let verified = scene.changed(changes)?;
    let principal = verified.principal();
    let actors = std::iter::once(&principal.actor).chain(&principal.acting_for);
    Ok(actors.map(|actor| (actor.kind, actor.id.to_string())).collect())
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(null), |inner, level| {
        let mut act = json!({ "sub": format!("agent-{level}") });
        if !inner.is_null() {
            act["act"] = inner;
        }
        act
    })
}

#[test]
fn the_outermost_actor_acts_and_the_subject_is_the_last_in_the_chain() {
    use PrincipalKind::{Agent, Person};
    let scene = Scene::new();
    assert_eq!(chain(&scene, &json!({})).unwrap(), [(Person, "alice".into())]);
    let one = json!({ "act": { "sub": "reporter" } });
    assert_eq!(chain(&scene, &one).unwrap(), [(Agent, "reporter".into()), (Person, "alice".into())]);
    let two = json!({ "act": { "sub": "worker", "iss": ISSUER, "act": { "sub": "planner" } } });
    let expected = [(Agent, "worker".into()), (Agent, "planner".into()), (Person, "alice".into())];
    assert_eq!(chain(&scene, &two).unwrap(), expected);
}

#[test]
fn an_application_can_act_for_the_user_of_its_token() {
    let rule = RuleConfig { when: vec![], kind: Kind::Agent, id: "azp".into(), acting_for: Some("sub".into()) };
    let scene = Scene::with(|config| {
        config.rule = vec![rule];
        config.actor_kind = Some(Kind::Service);
    });
    let plain = chain(&scene, &json!({ "azp": "copilot" })).unwrap();
    assert_eq!(plain, [(PrincipalKind::Agent, "copilot".into()), (PrincipalKind::Person, "alice".into())]);
    let further = chain(&scene, &json!({ "azp": "copilot", "act": { "sub": "runner" } })).unwrap();
    assert_eq!(further.first(), Some(&(PrincipalKind::Service, "runner".into())));
    assert_eq!(further.get(1..), Some(&*plain));
}

#[test]
fn the_chain_is_bounded() {
    let scene = Scene::new();
    assert_eq!(chain(&scene, &json!({ "act": nested(4) })).unwrap().len(), 5);
    for depth in [5, 6, 60] {
        assert_eq!(chain(&scene, &json!({ "act": nested(depth) })), Err(TokenError::Delegation), "{depth}");
    }
    // Deeper than JSON may be.
    assert_eq!(chain(&scene, &json!({ "act": nested(200) })), Err(TokenError::Malformed));
}

#[test]
fn an_issuer_speaks_for_its_own_names_only() {
    let scene = Scene::new();
    let foreign = json!({ "act": { "sub": "reporter", "iss": "https://other.example.com" } });
    assert_eq!(chain(&scene, &foreign), Err(TokenError::Delegation));
    let inner = json!({ "act": { "sub": "a", "act": { "sub": "b", "iss": "https://other.example.com" } } });
    assert_eq!(chain(&scene, &inner), Err(TokenError::Delegation));
}

#[test]
fn an_actor_without_a_name_is_refused_and_not_left_out() {
    let scene = Scene::new();
    for act in
        [json!({}), json!("reporter"), json!([]), json!({ "sub": "" }), json!({ "sub": 7 }), json!({ "sub": "a\nb" })]
    {
        assert_eq!(chain(&scene, &json!({ "act": act })), Err(TokenError::Delegation), "{act}");
    }
    assert_eq!(chain(&scene, &json!({ "act": false })), Err(TokenError::Delegation));
}

#[test]
fn who_says_so_is_the_issuer_of_the_token() {
    let verified = Scene::new().changed(&json!({ "act": { "sub": "reporter" } })).unwrap();
    let principal = verified.principal();
    assert_eq!((&*principal.actor.issuer, &*principal.acting_for[0].issuer), (ISSUER, ISSUER));
    assert_eq!(principal.proof, Proof::Token);
    assert_eq!(verified.over_oauthbearer().principal().proof, Proof::OauthBearer);
}
