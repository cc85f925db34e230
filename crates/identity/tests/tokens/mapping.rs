//! Rules: which claims say who it is, and mistakes of a configuration.

use std::os::unix::fs::PermissionsExt as _;

use identity::config::{ConditionConfig, IssuerConfig, Kind, RuleConfig};
use identity::issuers::Issuers;
use identity::token_error::TokenError;
use model::principal::PrincipalKind;
use serde_json::json;

use crate::issuer::key_set;
use crate::scene::{AUDIENCE, ISSUER, P256, Scene};

fn rule(when: Vec<ConditionConfig>, kind: Kind, id: &str) -> RuleConfig {
    RuleConfig { when, kind, id: id.into(), acting_for: None }
}

fn is(claim: &str, values: &[&str]) -> ConditionConfig {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    ConditionConfig { claim: claim.into(), is: Some(values), present: None }
}

fn present(claim: &str, present: bool) -> ConditionConfig {
    ConditionConfig { claim: claim.into(), is: None, present: Some(present) }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let scene = Scene::with(|config| {
        config.rule = vec![
            rule(vec![is("amr", &["pwd", "hwk"]), present("client", true)], Kind::Agent, "client"),
            rule(vec![present("email", false)], Kind::Service, "sub"),
            rule(vec![is("/realm/kind", &["staff"])], Kind::Person, "email"),
        ];
    });
    let who = |changes| {
        scene.changed(&changes).map(|verified| {
            let actor = &verified.principal().actor;
            (actor.kind, actor.id.to_string())
        })
    };
    assert_eq!(who(json!({ "amr": ["otp", "pwd"], "client": "c" })), Ok((PrincipalKind::Agent, "c".into())));
    assert_eq!(who(json!({ "amr": "hwk", "client": "c" })), Ok((PrincipalKind::Agent, "c".into())));
    assert_eq!(who(json!({ "amr": ["otp"], "client": "c" })), Ok((PrincipalKind::Service, "alice".into())));
    let staff = json!({ "email": "alice@example.com", "realm": { "kind": "staff" } });
    assert_eq!(who(staff), Ok((PrincipalKind::Person, "alice@example.com".into())));
    let guest = json!({ "email": "alice@example.com", "realm": { "kind": "guest" } });
    assert_eq!(who(guest), Err(TokenError::NoRule));
}

#[test]
fn an_address_that_is_not_verified_is_anybodys() {
    let scene = Scene::with(|config| config.rule = vec![rule(vec![], Kind::Person, "email")]);
    let with = |flag| scene.changed(&json!({ "email": "root@example.com", "email_verified": flag })).map(drop);
    assert_eq!((with(json!(true)), with(json!("true"))), (Ok(()), Ok(())));
    for flag in [json!(false), json!("false"), json!(1), json!([])] {
        assert_eq!(with(flag.clone()), Err(TokenError::Name), "{flag}");
    }
    assert!(scene.changed(&json!({ "email": "alice@example.com" })).is_ok(), "not every issuer has the flag");
}

#[test]
fn a_name_is_one_line_of_text() {
    let scene = Scene::new();
    for name in
        [json!(""), json!(" alice"), json!("a\u{0}b"), json!("a\nb"), json!("x".repeat(257)), json!(7), json!(["a"])]
    {
        assert_eq!(scene.changed(&json!({ "sub": name })), Err(TokenError::Name), "{name}");
    }
    assert_eq!(scene.changed(&json!({ "sub": null })), Err(TokenError::Name));
}

#[test]
fn groups_are_sorted_and_each_is_there_once() {
    let scene = Scene::with(|config| config.groups = vec!["groups".into(), "roles".into(), "/realm/roles".into()]);
    let changes = json!({ "groups": ["ops", "dba"], "roles": "dba", "realm": { "roles": ["audit"] } });
    let verified = scene.changed(&changes).unwrap();
    let groups: Vec<&str> = verified.principal().groups.iter().map(|group| &**group).collect();
    assert_eq!(groups, ["audit", "dba", "ops"]);
    assert!(scene.changed(&json!({})).unwrap().principal().groups.is_empty());
    for groups in [json!([7]), json!(["a", ""]), json!({ "a": 1 }), json!(["x".repeat(257)])] {
        assert_eq!(scene.changed(&json!({ "groups": groups })), Err(TokenError::Groups), "{groups}");
    }
    let many: Vec<String> = (0..513).map(|number| format!("g{number}")).collect();
    assert!(scene.changed(&json!({ "groups": many[1..] })).is_ok());
    assert_eq!(scene.changed(&json!({ "groups": many })), Err(TokenError::Groups));
}

#[test]
fn mistakes_of_a_configuration_say_where_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, key_set(&[P256.jwk()]).to_string()).unwrap();
    let right = || IssuerConfig { jwks_file: Some(file.clone()), ..IssuerConfig::new("test", ISSUER, AUDIENCE) };
    assert!(Issuers::new(&[right()]).is_ok());
    let check = |change: &dyn Fn(&mut IssuerConfig), key: &str, says: &str| {
        let mut config = right();
        change(&mut config);
        let error = Issuers::new(&[config]).unwrap_err();
        assert_eq!(error.key, key, "{error}");
        assert!(error.text.contains(says), "{error}");
    };
    check(&|config| config.name = "Test".into(), "name", "a-z");
    check(&|config| config.audiences.clear(), "audiences", "any other application");
    check(&|config| config.issuer = " x".into(), "issuer", "`iss`");
    check(&|config| config.algorithms = Some(vec!["HS256".into()]), "algorithms", "RS256, RS384");
    check(&|config| config.algorithms = Some(vec!["none".into()]), "algorithms", "cannot be allowed");
    check(&|config| config.algorithms = Some(vec![]), "algorithms", "no token");
    check(&|config| config.skew_seconds = Some(61), "skew_seconds", "at most 60");
    check(&|config| config.lifetime_seconds_max = Some(0), "lifetime_seconds_max", "from 1");
    check(&|config| config.jwks_file = Some(folder.path().join("none")), "jwks_file", "cannot be read");
    check(&|config| config.groups = vec![String::new()], "groups", "a name");
    check(
        &|config| config.issuer = "https://login.microsoftonline.com/common/v2.0".into(),
        "issuer",
        "stands for every tenant",
    );
    let always = rule(vec![], Kind::Person, "sub");
    check(&|config| config.rule = vec![always.clone(), always.clone()], "rule", "never do");
    let both = ConditionConfig { present: Some(true), ..is("a", &["b"]) };
    check(&|config| config.rule = vec![rule(vec![both.clone()], Kind::Person, "sub")], "rule.when", "either");
    check(&|config| config.rule = vec![rule(vec![is("a", &[])], Kind::Person, "sub")], "rule.when", "either");
    let own = RuleConfig { acting_for: Some("sub".into()), ..always.clone() };
    check(&|config| config.rule = vec![own.clone()], "rule.acting_for", "himself");
    for issuer in ["https://sts.windows.net/{tenantid}/", "https://login.microsoftonline.com/organizations/v2.0"] {
        check(&|config| config.issuer = issuer.into(), "issuer", "stands for every tenant");
    }
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o646);
    check(&|_config| (), "jwks_file", "chmod o-w");
    mode(0o644);
    let twice = Issuers::new(&[right(), right()]).unwrap_err();
    assert!(twice.to_string().contains("identity.issuer \"test\": issuer: there is another one"), "{twice}");
    for content in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA","kid":"1"}]}"#] {
        std::fs::write(&file, content).unwrap();
        assert_eq!(Issuers::new(&[right()]).unwrap_err().key, "jwks_file", "{content}");
    }
}
