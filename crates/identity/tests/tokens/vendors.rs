//! Tokens with the claims that the vendors document, signed by a key of the test.

use identity::config::{ConditionConfig, IssuerConfig, Kind, RuleConfig};
use identity::issuers::Issuers;
use identity::secret::Secret;
use identity::token_error::TokenError;
use model::principal::PrincipalKind;
use serde_json::{Value, json};

use crate::issuer::key_set;
use crate::scene::{NOW, RSA, Scene, claims};

const TENANT: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
const OTHER_TENANT: &str = "bbbbcccc-1111-dddd-2222-eeee3333ffff";

fn person(id: &str) -> RuleConfig {
    RuleConfig { when: vec![], kind: Kind::Person, id: id.into(), acting_for: None }
}

fn application(condition: ConditionConfig, id: &str) -> RuleConfig {
    RuleConfig { when: vec![condition], kind: Kind::Service, id: id.into(), acting_for: None }
}

fn is(claim: &str, value: &str) -> ConditionConfig {
    ConditionConfig { claim: claim.into(), is: Some(vec![value.into()]), present: None }
}

fn absent(claim: &str) -> ConditionConfig {
    ConditionConfig { claim: claim.into(), is: None, present: Some(false) }
}

fn scene(change: impl FnOnce(&mut IssuerConfig)) -> Scene {
    Scene::with_keys(&key_set(&[RSA.jwk()]), change)
}

/// An Okta custom authorization server, as `docs/identity.md` configures it.
fn okta() -> Scene {
    scene(|config| {
        config.issuer = "https://example.okta.com/oauth2/default".into();
        config.audiences = vec!["api://warder".into()];
        config.groups = vec!["groups".into()];
        // A token of a service has no user.
        config.rule = vec![application(absent("uid"), "cid"), person("sub")];
    })
}

/// Okta: "Access token payload", with a groups claim of the administrator's.
fn okta_user() -> Value {
    json!({
        "ver": 1,
        "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
        "iss": "https://example.okta.com/oauth2/default",
        "aud": "api://warder",
        "sub": "alice@example.com",
        "iat": NOW - 100,
        "exp": NOW + 3500,
        "cid": "0oabskvc6442nkvQO0h7",
        "uid": "00u5t60iloOHN9pBi0h7",
        "scp": ["openid", "groups"],
        "auth_time": NOW - 200,
        "groups": ["Everyone", "DBA"]
    })
}

/// Entra ID, one tenant, as `docs/identity.md` configures it.
fn entra(version: u8) -> Scene {
    scene(|config| {
        let (issuer, audience, user, app) = if version == 1 {
            (format!("https://sts.windows.net/{TENANT}/"), "api://warder", "upn", "appid")
        } else {
            let issuer = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
            (issuer, "11112222-bbbb-3333-cccc-4444dddd5555", "preferred_username", "azp")
        };
        config.issuer = issuer;
        config.audiences = vec![audience.into()];
        config.tenant = Some(TENANT.into());
        config.groups = vec!["groups".into(), "roles".into()];
        config.rule = vec![application(is("idtyp", "app"), app), person(user)];
    })
}

/// Microsoft's reference of access token claims, version 2.
fn entra_v2_user() -> Value {
    json!({
        "aud": "11112222-bbbb-3333-cccc-4444dddd5555",
        "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
        "iat": NOW - 100,
        "nbf": NOW - 100,
        "exp": NOW + 3800,
        "aio": "AXQAi/8IAAAA",
        "azp": "00001111-aaaa-2222-bbbb-3333cccc4444",
        "azpacr": "0",
        "groups": ["0760b6cf-170e-4a14-91b3-4b78e0739963", "3b2b0c93-acd8-4208-8eba-7a48db1cd4c0"],
        "name": "Alice Example",
        "oid": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb",
        "preferred_username": "alice@example.com",
        "rh": "0.AXkA",
        "roles": ["Database.Read"],
        "scp": "access_as_user",
        "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
        "tid": TENANT,
        "uti": "fqiBqXLPj0eQa82S-IYFAA",
        "ver": "2.0"
    })
}

fn entra_v1_user() -> Value {
    json!({
        "aud": "api://warder",
        "iss": format!("https://sts.windows.net/{TENANT}/"),
        "iat": NOW - 100,
        "nbf": NOW - 100,
        "exp": NOW + 3800,
        "acr": "1",
        "amr": ["pwd", "mfa"],
        "appid": "00001111-aaaa-2222-bbbb-3333cccc4444",
        "appidacr": "0",
        "family_name": "Example",
        "groups": ["0760b6cf-170e-4a14-91b3-4b78e0739963"],
        "ipaddr": "192.0.2.17",
        "oid": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb",
        "scp": "access_as_user",
        "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
        "tid": TENANT,
        "unique_name": "alice@example.com",
        "upn": "alice@example.com",
        "ver": "1.0"
    })
}

fn entra_v2_application() -> Value {
    json!({
        "aud": "11112222-bbbb-3333-cccc-4444dddd5555",
        "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
        "iat": NOW - 100,
        "nbf": NOW - 100,
        "exp": NOW + 3800,
        "azp": "00001111-aaaa-2222-bbbb-3333cccc4444",
        "azpacr": "1",
        "idtyp": "app",
        "oid": "cccccccc-0000-1111-2222-dddddddddddd",
        "roles": ["Database.Report"],
        "sub": "cccccccc-0000-1111-2222-dddddddddddd",
        "tid": TENANT,
        "ver": "2.0"
    })
}

/// Kind, id, groups.
type Who = (PrincipalKind, String, Vec<String>);

/// Verifies claims in a token with the header that both vendors write.
fn who(scene: &Scene, claims: &Value) -> Result<Who, TokenError> {
    let header = json!({ "typ": "JWT", "alg": "RS256", "kid": RSA.id, "x5t": "nOo3ZDrODXEK1jKWhXslHR_KXEg" });
    let verified = scene.verify(&RSA.token_with("RS256", &header, claims).unwrap())?;
    let principal = verified.principal();
    let groups = principal.groups.iter().map(ToString::to_string).collect();
    Ok((principal.actor.kind, principal.actor.id.to_string(), groups))
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name).unwrap();
    claims
}

#[test]
fn okta_names_people_and_services() {
    let groups = vec!["DBA".to_owned(), "Everyone".to_owned()];
    assert_eq!(who(&okta(), &okta_user()), Ok((PrincipalKind::Person, "alice@example.com".into(), groups)));
    let service = with(without(without(okta_user(), "uid"), "groups"), "sub", json!("0oabskvc6442nkvQO0h7"));
    assert_eq!(who(&okta(), &service), Ok((PrincipalKind::Service, "0oabskvc6442nkvQO0h7".into(), vec![])));
}

#[test]
fn oktas_own_tokens_are_of_another_issuer() {
    // The organisation's authorization server signs for itself: other issuer, other audience.
    let own = with(okta_user(), "iss", json!("https://example.okta.com"));
    assert_eq!(who(&okta(), &own), Err(TokenError::Issuer));
    assert_eq!(who(&okta(), &with(okta_user(), "aud", json!("https://example.okta.com"))), Err(TokenError::Audience));
}

#[test]
fn entra_names_people_and_applications_in_both_versions() {
    let alice = |groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Ok((PrincipalKind::Person, "alice@example.com".to_owned(), groups))
    };
    let (first, second) = ("0760b6cf-170e-4a14-91b3-4b78e0739963", "3b2b0c93-acd8-4208-8eba-7a48db1cd4c0");
    assert_eq!(who(&entra(2), &entra_v2_user()), alice(&[first, second, "Database.Read"]));
    assert_eq!(who(&entra(1), &entra_v1_user()), alice(&[first]));
    let application = "00001111-aaaa-2222-bbbb-3333cccc4444".to_owned();
    let expected = Ok((PrincipalKind::Service, application, vec!["Database.Report".to_owned()]));
    assert_eq!(who(&entra(2), &entra_v2_application()), expected);
}

#[test]
fn versions_of_entra_are_not_mixed() {
    assert_eq!(who(&entra(1), &entra_v2_user()), Err(TokenError::Issuer));
    assert_eq!(who(&entra(2), &entra_v1_user()), Err(TokenError::Issuer));
}

#[test]
fn another_tenant_is_refused() {
    let other = format!("https://login.microsoftonline.com/{OTHER_TENANT}/v2.0");
    assert_eq!(who(&entra(2), &with(entra_v2_user(), "iss", json!(other))), Err(TokenError::Issuer));
    assert_eq!(who(&entra(2), &with(entra_v2_user(), "tid", json!(OTHER_TENANT))), Err(TokenError::Tenant));
    assert_eq!(who(&entra(2), &without(entra_v2_user(), "tid")), Err(TokenError::Tenant));
}

#[test]
fn groups_that_entra_leaves_out_are_not_none() {
    let mut overage = without(entra_v2_user(), "groups");
    overage["_claim_names"] = json!({ "groups": "src1" });
    let endpoint = format!("https://graph.microsoft.com/v1.0/users/{TENANT}/getMemberObjects");
    overage["_claim_sources"] = json!({ "src1": { "endpoint": endpoint } });
    let implicit = with(without(entra_v2_user(), "groups"), "hasgroups", json!(true));
    for claims in [&overage, &implicit] {
        assert_eq!(who(&entra(2), claims), Err(TokenError::GroupOverage));
    }
    let ignoring = scene(|config| {
        config.issuer = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
        config.audiences = vec!["11112222-bbbb-3333-cccc-4444dddd5555".into()];
        config.groups = vec!["groups".into(), "roles".into()];
        config.danger_ignore_group_overage = true;
    });
    assert_eq!(who(&ignoring, &overage).map(|who| who.2), Ok(vec!["Database.Read".to_owned()]));
    // Who reads roles only does not miss groups.
    let roles = scene(|config| {
        config.issuer = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
        config.audiences = vec!["11112222-bbbb-3333-cccc-4444dddd5555".into()];
        config.groups = vec!["roles".into()];
    });
    assert_eq!(who(&roles, &overage).map(|who| who.2), Ok(vec!["Database.Read".to_owned()]));
}

#[test]
fn each_issuer_has_its_own_keys_rules_and_audiences() {
    let folder = tempfile::tempdir().unwrap();
    let strange = crate::issuer::SigningKey::p256(&RSA.id).unwrap();
    let configs = [("first", RSA.jwk()), ("second", strange.jwk())].map(|(name, jwk)| {
        let file = folder.path().join(name);
        std::fs::write(&file, key_set(&[jwk]).to_string()).unwrap();
        let issuer = format!("https://{name}.example.com");
        IssuerConfig { jwks_file: Some(file), ..IssuerConfig::new(name, &issuer, name) }
    });
    let issuers = Issuers::new(&configs).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let verify = |token: String| {
        let verified = runtime.block_on(issuers.verify(&Secret::new(token.into()), crate::scene::seconds(NOW)));
        verified.map(|verified| verified.principal().actor.issuer.to_string())
    };
    let claims_of =
        |name: &str| with(with(claims(), "iss", json!(format!("https://{name}.example.com"))), "aud", json!(name));
    let first = RSA.token("RS256", &claims_of("first")).unwrap();
    assert_eq!(verify(first), Ok("https://first.example.com".into()));
    let second = strange.token("ES256", &claims_of("second")).unwrap();
    assert_eq!(verify(second), Ok("https://second.example.com".into()));
    // The second issuer's key cannot speak for the first, nor its audience.
    assert_eq!(verify(strange.token("ES256", &claims_of("first")).unwrap()), Err(TokenError::Algorithm));
    let crossed = with(claims_of("first"), "aud", json!("second"));
    assert_eq!(verify(RSA.token("RS256", &crossed).unwrap()), Err(TokenError::Audience));
}
