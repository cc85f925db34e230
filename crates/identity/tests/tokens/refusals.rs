//! Forged, confused and damaged tokens.

use identity::token_error::TokenError;
use ring::hmac;
use serde_json::{Value, json};

use crate::issuer::{SigningKey, encode, key_set, unsigned};
use crate::scene::{ED25519, P256, P384, RSA, Scene, claims, claims_with};

#[test]
fn every_allowed_algorithm_is_taken() {
    let scene = Scene::new();
    for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        assert_eq!(
            &*scene.verify(&RSA.token(name, &claims()).unwrap()).unwrap().principal().actor.id,
            "alice",
            "{name}"
        );
    }
    for (key, name) in [(&P256, "ES256"), (&P384, "ES384"), (&ED25519, "EdDSA")] {
        assert!(scene.verify(&key.token(name, &claims()).unwrap()).is_ok(), "{name}");
    }
}

#[test]
fn an_algorithm_that_is_not_allowed_is_refused_even_if_the_signature_is_right() {
    let scene = Scene::with(|config| config.algorithms = Some(vec!["ES256".into()]));
    assert_eq!(scene.verify(&RSA.token("RS256", &claims()).unwrap()), Err(TokenError::Algorithm));
    assert!(scene.verify(&P256.token("ES256", &claims()).unwrap()).is_ok());
}

#[test]
fn no_algorithm_is_none_of_the_allowed() {
    let scene = Scene::new();
    for name in ["none", "None", "NONE", "nOnE", "", "HS256", "RS1", "ES256K", "rs256", "RS256 "] {
        let header = json!({ "alg": name, "kid": RSA.id }).to_string();
        for signature in ["", "AAAA"] {
            let token = format!("{}.{signature}", unsigned(&header, &claims().to_string()));
            assert_eq!(scene.verify(&token), Err(TokenError::Algorithm), "{name}");
        }
    }
    for header in [json!({ "kid": "rsa-1" }), json!({ "alg": null, "kid": "rsa-1" }), json!({ "alg": ["RS256"] })] {
        let token = RSA.token_with("RS256", &header, &claims()).unwrap();
        assert_eq!(scene.verify(&token), Err(TokenError::Algorithm), "{header}");
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let scene = Scene::new();
    let jwk = RSA.jwk();
    let pem_like = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", jwk["n"].as_str().unwrap());
    for secret in [jwk.to_string(), jwk["n"].as_str().unwrap().to_owned(), pem_like, String::new()] {
        let signed = unsigned(&json!({ "alg": "HS256", "kid": RSA.id }).to_string(), &claims().to_string());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
        assert_eq!(scene.verify(&format!("{signed}.{}", encode(tag.as_ref()))), Err(TokenError::Algorithm));
    }
}

#[test]
fn key_and_algorithm_must_fit() {
    let scene = Scene::new();
    for (key, signs, says) in
        [(&RSA, "RS256", "ES256"), (&P256, "ES256", "RS256"), (&P256, "ES256", "ES384"), (&ED25519, "EdDSA", "ES256")]
    {
        let header = json!({ "alg": says, "kid": key.id });
        assert_eq!(scene.verify(&key.token_with(signs, &header, &claims()).unwrap()), Err(TokenError::Algorithm));
    }
    // The same type, but not what was signed with.
    let header = json!({ "alg": "PS256", "kid": RSA.id });
    assert_eq!(scene.verify(&RSA.token_with("RS256", &header, &claims()).unwrap()), Err(TokenError::Signature));
}

#[test]
fn a_key_that_declares_its_algorithm_has_no_other() {
    let mut jwk = RSA.jwk();
    jwk["alg"] = "RS256".into();
    let scene = Scene::with_keys(&key_set(&[jwk]), |_| {});
    assert!(scene.verify(&RSA.token("RS256", &claims()).unwrap()).is_ok());
    assert_eq!(scene.verify(&RSA.token("PS256", &claims()).unwrap()), Err(TokenError::Algorithm));
}

#[test]
fn keys_for_other_purposes_are_not_used() {
    let other = |name: &str, value: Value| {
        let mut jwk = P256.jwk();
        jwk[name] = value;
        Scene::with_keys(&key_set(&[jwk, RSA.jwk()]), |_| {}).verify(&P256.token("ES256", &claims()).unwrap())
    };
    assert!(other("key_ops", json!(["verify"])).is_ok());
    // The bundle of a SPIFFE trust domain.
    assert!(other("use", json!("jwt-svid")).is_ok());
    for (name, value) in [
        ("use", json!("enc")),
        ("use", json!("x509-svid")),
        ("key_ops", json!(["encrypt"])),
        ("alg", json!("ECDH-ES")),
        ("d", json!("AAAA")),
        ("kty", json!("oct")),
        ("crv", json!("P-521")),
        ("x", json!("AAAA")),
        ("kid", json!("")),
    ] {
        assert_eq!(other(name, value.clone()), Err(TokenError::UnknownKey), "{name} {value}");
    }
    let weak = SigningKey::rsa("weak", 2048).unwrap();
    let mut jwk = weak.jwk();
    jwk["n"] = encode(&[0xff; 128]).into();
    let scene = Scene::with_keys(&key_set(&[jwk, P256.jwk()]), |_| {});
    assert_eq!(scene.verify(&weak.token("RS256", &claims()).unwrap()), Err(TokenError::UnknownKey));
}

#[test]
fn a_signature_of_another_key_is_wrong() {
    let scene = Scene::new();
    let stranger = SigningKey::p256(&P256.id).unwrap();
    assert_eq!(scene.verify(&stranger.token("ES256", &claims()).unwrap()), Err(TokenError::Signature));
    let header = json!({ "alg": "ES256", "kid": P256.id }).to_string();
    let signed = unsigned(&header, &claims().to_string());
    // The signature of zeros that broke several libraries (CVE-2022-21449), and signatures of other lengths.
    for signature in [vec![0; 64], vec![], vec![0; 63], vec![0xff; 64], vec![0; 4096]] {
        assert_eq!(scene.verify(&format!("{signed}.{}", encode(&signature))), Err(TokenError::Signature));
    }
}

#[test]
fn the_issuer_is_compared_to_the_last_character() {
    let scene = Scene::new();
    for issuer in [
        json!("https://issuer.example.com/"),
        json!("https://ISSUER.example.com"),
        json!("http://issuer.example.com"),
        json!("https://issuer.example.com.example.org"),
        json!(["https://issuer.example.com"]),
        json!(null),
        json!(7),
    ] {
        let mut claims = claims();
        claims["iss"] = issuer.clone();
        assert_eq!(scene.claims(&claims), Err(TokenError::Issuer), "{issuer}");
    }
    assert_eq!(scene.changed(&json!({ "iss": null })), Err(TokenError::Issuer));
}

#[test]
fn the_audience_is_required() {
    let scene = Scene::with(|config| config.audiences.push("api://warder".into()));
    for audience in [json!("warder"), json!("api://warder"), json!(["other", "warder"])] {
        assert!(scene.changed(&json!({ "aud": audience })).is_ok(), "{audience}");
    }
    for audience in
        [json!("other"), json!([]), json!(["other"]), json!("WARDER"), json!({ "warder": 1 }), json!([["warder"]])]
    {
        assert_eq!(scene.changed(&json!({ "aud": audience })), Err(TokenError::Audience), "{audience}");
    }
    assert_eq!(scene.changed(&json!({ "aud": null })), Err(TokenError::Claim));
}

#[test]
fn headers_that_ask_for_more_are_refused() {
    let scene = Scene::new();
    let own = SigningKey::p256("own").unwrap();
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("jwk", own.jwk()),
        ("jku", json!("https://example.org/keys")),
        ("x5u", json!("https://example.org/certificate")),
        ("x5c", json!(["AAAA"])),
    ] {
        let mut header = json!({ "alg": "ES256", "kid": P256.id });
        header[name] = value;
        let right = P256.token_with("ES256", &header, &claims()).unwrap();
        assert_eq!(scene.verify(&right), Err(TokenError::Header), "{name}");
        let forged = own.token_with("ES256", &header, &claims()).unwrap();
        assert_eq!(scene.verify(&forged), Err(TokenError::Header), "{name}");
    }
}

#[test]
fn other_kinds_of_tokens_are_refused() {
    let scene = Scene::new();
    let typed = |kind: Value| {
        let header = json!({ "alg": "ES256", "kid": P256.id, "typ": kind });
        scene.verify(&P256.token_with("ES256", &header, &claims()).unwrap())
    };
    for kind in ["JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT"] {
        assert!(typed(kind.into()).is_ok(), "{kind}");
    }
    for kind in [json!("logout+jwt"), json!("dpop+jwt"), json!("secevent+jwt"), json!(""), json!(1)] {
        assert_eq!(typed(kind.clone()), Err(TokenError::Type), "{kind}");
    }
    let untyped = json!({ "alg": "ES256", "kid": P256.id });
    assert!(scene.verify(&P256.token_with("ES256", &untyped, &claims()).unwrap()).is_ok());
}

#[test]
fn the_key_is_named_and_known() {
    let scene = Scene::new();
    let named = |header: Value| scene.verify(&P256.token_with("ES256", &header, &claims()).unwrap());
    assert_eq!(named(json!({ "alg": "ES256" })), Err(TokenError::NoKeyId));
    assert_eq!(named(json!({ "alg": "ES256", "kid": "" })), Err(TokenError::NoKeyId));
    assert_eq!(named(json!({ "alg": "ES256", "kid": 1 })), Err(TokenError::NoKeyId));
    assert_eq!(named(json!({ "alg": "ES256", "kid": "x".repeat(257) })), Err(TokenError::NoKeyId));
    assert_eq!(named(json!({ "alg": "ES256", "kid": "../../dev/null" })), Err(TokenError::UnknownKey));
}

#[test]
fn a_name_stands_once() {
    let scene = Scene::new();
    let header = json!({ "alg": "ES256", "kid": P256.id }).to_string();
    let twice = |text: &str, addition: &str| text.replacen('{', &format!("{{{addition},"), 1);
    let right = claims().to_string();
    let token = |header: &str, claims: &str| scene.verify(&P256.token_of_texts("ES256", header, claims).unwrap());
    assert!(token(&header, &right).is_ok());
    assert_eq!(token(&header, &twice(&right, r#""sub":"admin""#)), Err(TokenError::Malformed));
    assert_eq!(token(&header, &twice(&right, r#""a":{"b":1,"b":2}"#)), Err(TokenError::Malformed));
    assert_eq!(token(&header, &twice(&right, r#""\u0073ub":"admin""#)), Err(TokenError::Malformed));
    assert_eq!(token(&twice(&header, r#""alg":"none""#), &right), Err(TokenError::Malformed));
}

#[test]
fn damaged_tokens_are_no_tokens() {
    let scene = Scene::new();
    let right = P256.token("ES256", &claims()).unwrap();
    let parts: Vec<&str> = right.split('.').collect();
    let damaged = [
        String::new(),
        ".".into(),
        "..".into(),
        "a.b".into(),
        parts[0].to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{right}."),
        format!("{right}="),
        format!("{right}\n"),
        format!(" {right}"),
        format!("Bearer {right}"),
        format!("\"{right}\""),
        right.replace('.', "\0"),
        format!("{}.{}.{}", parts[0], encode(b"[]"), parts[2]),
        format!("{}.{}.{}", encode(b"null"), parts[1], parts[2]),
        format!("{}.{}.{}", encode(b"{\"alg\":\"\xff\"}"), parts[1], parts[2]),
    ];
    for token in &damaged {
        assert_eq!(scene.verify(token), Err(TokenError::Malformed), "{token}");
    }
    assert_eq!(scene.verify_bytes(b"\xff.\xfe.\xfd", crate::scene::seconds(1)), Err(TokenError::Malformed));
    assert_eq!(scene.verify("a.b.c.d.e"), Err(TokenError::Encrypted));
}

#[test]
fn the_largest_token_has_16_kib() {
    let scene = Scene::new();
    let sized = |filler: usize| P256.token("ES256", &claims_with(&json!({ "filler": "x".repeat(filler) }))).unwrap();
    // 4 characters for 3 bytes.
    let spare = 16_384 - sized(0).len();
    let largest = sized(spare / 4 * 3);
    assert!((16_380..=16_384).contains(&largest.len()));
    assert!(scene.verify(&largest).is_ok());
    assert_eq!(scene.verify(&sized(spare / 4 * 3 + 6)), Err(TokenError::TooLarge));
    assert_eq!(scene.verify(&"x".repeat(20_480)), Err(TokenError::TooLarge));
}

#[test]
fn the_file_of_keys_is_read_again_when_it_changes() {
    let next = SigningKey::p256("next").unwrap();
    let scene = Scene::new();
    let (old, new) = (P256.token("ES256", &claims()).unwrap(), next.token("ES256", &claims()).unwrap());
    assert!(scene.verify(&old).is_ok());
    assert_eq!(scene.verify(&new), Err(TokenError::UnknownKey));
    let write = |text: &str| std::fs::write(scene.key_file(), text).unwrap();
    write(&key_set(&[next.jwk()]).to_string());
    assert!(scene.verify(&new).is_ok());
    assert_eq!(scene.verify(&old), Err(TokenError::UnknownKey), "a key that was taken away is not used");
    write("{ half");
    assert!(scene.verify(&new).is_ok(), "what cannot be used changes nothing");
    std::fs::remove_file(scene.key_file()).unwrap();
    assert!(scene.verify(&new).is_ok());
    write(&key_set(&[P256.jwk()]).to_string());
    assert!(scene.verify(&old).is_ok());
}

#[test]
fn what_is_kept_has_no_part_of_the_token() {
    let scene = Scene::new();
    let verified = scene.claims(&claims()).unwrap();
    assert_eq!(verified.token_id().map(|id| &**id), Some("t-1"));
    assert_eq!(scene.changed(&json!({ "jti": "x\u{1b}[2J" })).unwrap().token_id(), None);
    let token = P256.token("ES256", &claims()).unwrap();
    let signature = token.rsplit('.').next().unwrap();
    assert!(!format!("{verified:?}").contains(signature));
}

#[test]
fn every_error_says_what_to_do() {
    let mut words: Vec<_> = TokenError::ALL.iter().map(|error| error.word()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), TokenError::ALL.len());
    assert!(TokenError::ALL.iter().all(|error| !error.what().is_empty() && !error.remedy().is_empty()));
}
