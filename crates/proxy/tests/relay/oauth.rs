//! SASL OAUTHBEARER, as libpq 18 speaks it, by a client of the test.

use std::sync::Arc;

use model::Known;
use model::mediation::{MediationEvent, Refusal};
use model::principal::Proof;
use proxy::{Demand, Discovery, LoginMode};
use serde_json::Value;

use crate::support::client::{Raw, message, startup};
use crate::support::cluster::Cluster;
use crate::support::proxy::{Options, Proxy};
use crate::support::tokens::Issuer;

pub(super) const METADATA: &str = "https://issuer.example.com/.well-known/openid-configuration";

pub(super) fn start(cluster: &Cluster, issuer: &Issuer) -> Proxy {
    let discovery = Discovery { configuration_url: METADATA.into(), scope: "openid warder".into() };
    let login = LoginMode::Service(Demand::OauthBearer(Arc::new(discovery)));
    Proxy::start(Options { login, token: Some(issuer.login("postgres", None)), ..Options::plain(cluster) })
}

/// A client that was asked for a token.
fn asked(proxy: &Proxy) -> Raw {
    let mut client = Raw::connect(proxy);
    client.send(&startup(0));
    assert_eq!(client.message(), (b'R', b"\0\0\0\x0aOAUTHBEARER\0\0".to_vec()));
    client
}

/// SASLInitialResponse.
fn initial(mechanism: &str, response: &[u8]) -> Vec<u8> {
    let length = i32::try_from(response.len()).unwrap().to_be_bytes();
    message(b'p', &[mechanism.as_bytes(), &[0], &length, response].concat())
}

fn bearer(token: &str) -> Vec<u8> {
    initial("OAUTHBEARER", format!("n,,\x01auth=Bearer {token}\x01\x01").as_bytes())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The client is told where to get a token; what it answers, and the error that follows.
fn challenged(client: &mut Raw, answer: &[u8]) -> String {
    let (kind, body) = client.message();
    assert_eq!((kind, &body[..4]), (b'R', &[0, 0, 0, 11][..]));
    let challenge: Value = serde_json::from_slice(&body[4..]).unwrap();
    assert_eq!(challenge["status"], "invalid_token");
    assert_eq!(challenge["openid-configuration"], METADATA);
    assert_eq!(challenge["scope"], "openid warder");
    client.send(&message(b'p', answer));
    error(client)
}

fn error(client: &mut Raw) -> String {
    let (kind, body) = client.message();
    assert_eq!(kind, b'E', "{}", text(&body));
    text(&body)
}

#[test]
fn a_token_opens_a_session() {
    let (cluster, issuer) = (Cluster::start("", ""), Issuer::new());
    let proxy = start(&cluster, &issuer);
    let token = issuer.good();
    let mut client = asked(&proxy);
    client.send(&bearer(&token));
    // AuthenticationOk follows at once: on success the mechanism has no last word of the server.
    assert_eq!(client.message(), (b'R', vec![0; 4]));
    client.until_ready();
    client.send(&message(b'Q', b"select 6 * 7\0"));
    assert!(client.until_ready().iter().any(|(kind, body)| *kind == b'D' && body.ends_with(b"42")));
    proxy.hears("who it is", |heard| {
        heard.notes.iter().any(|note| match note {
            MediationEvent::Identified { principal: Known::Known(principal), .. } => {
                principal.proof == Proof::OauthBearer && &*principal.actor.id == "alice@example.com"
            }
            _ => false,
        })
    });
    let heard = proxy.heard.lock().unwrap();
    let secret = token.get(..40).unwrap();
    assert!(!heard.bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    assert!(!format!("{:?}{:?}", heard.events, heard.notes).contains(secret));
}

#[test]
fn a_client_that_asks_is_told_where_to_get_a_token() {
    let (cluster, issuer) = (Cluster::start("", ""), Issuer::new());
    let proxy = start(&cluster, &issuer);
    let mut client = asked(&proxy);
    client.send(&initial("OAUTHBEARER", b"n,,\x01auth=\x01\x01"));
    let refused = challenged(&mut client, b"\x01");
    assert!(refused.contains("C28000\0") && refused.contains("warder login"), "{refused}");
    assert!(client.rest().is_empty());
    proxy.hears("the refusal", |heard| {
        heard.notes.iter().any(|note| matches!(note, MediationEvent::Refused { reason: Refusal::Identity, .. }))
    });
    assert!(!proxy.heard.lock().unwrap().notes.iter().any(|note| matches!(note, MediationEvent::Connected { .. })));
}

#[test]
fn a_token_that_proves_nothing_is_answered_like_none() {
    let (cluster, issuer) = (Cluster::start("", ""), Issuer::new());
    let proxy = start(&cluster, &issuer);
    let tokens = [
        (issuer.token("warder", -1), "has expired"),
        (issuer.token("another", 300), "meant for somebody else"),
        ("a.b.c".to_owned(), "no signed JWT"),
    ];
    for (token, expected) in tokens {
        let mut client = asked(&proxy);
        client.send(&bearer(&token));
        let refused = challenged(&mut client, b"\x01");
        assert!(refused.contains("C28P01\0") && refused.contains(expected), "{refused}");
        assert!(!refused.contains(&token), "{refused}");
    }
}

#[test]
fn hostile_answers_end_with_an_error() {
    let (cluster, issuer) = (Cluster::start("", ""), Issuer::new());
    let proxy = start(&cluster, &issuer);
    let token = issuer.good();
    let whole = bearer(&token);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (message(b'Q', b"select 1\0"), "08P01"),
        (message(b'p', &[token.as_bytes(), &[0]].concat()), "08P01"),
        (initial("SCRAM-SHA-256", b"n,,n=,r=abc"), "08P01"),
        (initial("OAUTHBEARER", b"\x01"), "08P01"),
        (initial("OAUTHBEARER", format!("n,a=root,\x01auth=Bearer {token}\x01\x01").as_bytes()), "08P01"),
        (initial("OAUTHBEARER", format!("p=tls-exporter,,\x01auth=Bearer {token}\x01\x01").as_bytes()), "08P01"),
        ([whole.as_slice(), b"Q\0\0\0\x0dselect 1\0"].concat(), "08P01"),
        (initial("OAUTHBEARER", &vec![b'n'; (17 << 10) + 1]), "28P01"),
        (vec![b'p', 0x7f, 0xff, 0xff, 0xff], "28P01"),
    ];
    for (bytes, sqlstate) in cases {
        let mut client = asked(&proxy);
        client.send(&bytes);
        let refused = error(&mut client);
        assert!(
            refused.contains(&format!("C{sqlstate}\0")),
            "{}: {refused}",
            bytes[..32.min(bytes.len())].escape_ascii()
        );
        assert!(!refused.contains(&token), "{refused}");
    }
    // After the challenge only one byte may come: not a second try.
    let mut client = asked(&proxy);
    client.send(&initial("OAUTHBEARER", b"n,,\x01auth=\x01\x01"));
    let refused = challenged(&mut client, whole.get(5..).unwrap());
    assert!(refused.contains("C08P01\0"), "{refused}");
    // In pieces it is the same message.
    let mut client = asked(&proxy);
    whole.chunks(100).for_each(|piece| client.send(piece));
    client.until_ready();
}
