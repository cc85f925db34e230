//! Certificates as an authority makes them, and any bytes.

use identity::certificate::{CertificateError, CertificateRules};
use identity::config::{CertificateConfig, CertificateName, Kind};
use model::principal::{PrincipalKind, Proof};
use model::time::WallTime;
use proptest::prelude::*;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType, date_time_ymd};
use rustls_pki_types::CertificateDer;

fn certificate(common_names: &[&str], names: &[SanType]) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    for name in common_names {
        params.distinguished_name.push(DnType::CommonName, *name);
    }
    params.subject_alt_names = names.to_vec();
    params.not_after = date_time_ymd(2027, 2, 3);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn email(text: &str) -> SanType {
    SanType::Rfc822Name(text.try_into().unwrap())
}

fn config(name: CertificateName) -> CertificateConfig {
    CertificateConfig {
        name,
        kind: Kind::Service,
        trust_domain: None,
        path_prefix: None,
        domain: None,
        authority: None,
        groups: vec![],
    }
}

fn spiffe() -> CertificateConfig {
    CertificateConfig {
        trust_domain: Some("example.org".into()),
        path_prefix: Some("/ns/prod/".into()),
        ..config(CertificateName::Spiffe)
    }
}

fn common_name() -> CertificateConfig {
    CertificateConfig { authority: Some("corporate".into()), ..config(CertificateName::CommonName) }
}

fn address() -> CertificateConfig {
    let authority = Some("corporate".into());
    CertificateConfig {
        authority,
        domain: Some("example.com".into()),
        kind: Kind::Person,
        ..config(CertificateName::Email)
    }
}

fn who(config: CertificateConfig, certificate: CertificateDer<'_>) -> Result<(String, String), CertificateError> {
    let verified = CertificateRules::new(&[config]).unwrap().verify(&[certificate])?;
    let actor = &verified.principal().actor;
    Ok((actor.id.to_string(), actor.issuer.to_string()))
}

#[test]
fn a_spiffe_id_is_the_only_uri() {
    let id = "spiffe://example.org/ns/prod/billing";
    let right = certificate(&["billing"], &[uri(id), SanType::DnsName("billing.example.org".try_into().unwrap())]);
    assert_eq!(who(spiffe(), right), Ok((id.into(), "spiffe://example.org".into())));
    for names in [
        vec![],
        vec![uri(id), uri("https://example.org")],
        vec![uri("spiffe://example.com/ns/prod/billing")],
        vec![uri("spiffe://example.org/ns/production")],
        vec![uri("spiffe://example.org/ns/prod/")],
        vec![uri("spiffe://example.org.example.com/ns/prod/billing")],
    ] {
        assert_eq!(who(spiffe(), certificate(&[id], &names)), Err(CertificateError::NoRule), "{names:?}");
    }
}

#[test]
fn names_and_addresses() {
    let named = |names: &[&str]| who(common_name(), certificate(names, &[]));
    assert_eq!(named(&["nightly report"]), Ok(("nightly report".into(), "corporate".into())));
    assert_eq!(named(&[]), Err(CertificateError::NoRule));
    assert_eq!(named(&["a\0b"]), Err(CertificateError::NoRule));
    let mailed = |addresses: &[&str]| {
        who(address(), certificate(&["alice"], &addresses.iter().map(|text| email(text)).collect::<Vec<_>>()))
    };
    assert_eq!(mailed(&["alice@example.com"]), Ok(("alice@example.com".into(), "corporate".into())));
    assert!(mailed(&["alice@EXAMPLE.com"]).is_ok());
    for addresses in [
        &["alice@example.org"][..],
        &["alice@example.com", "bob@example.com"],
        &["@example.com"],
        &["alice@x.example.com"],
        &[],
    ] {
        assert_eq!(mailed(addresses), Err(CertificateError::NoRule), "{addresses:?}");
    }
}

#[test]
fn the_first_rule_that_matches_decides_and_the_proof_ends_with_the_certificate() {
    let rules = CertificateRules::new(&[
        spiffe(),
        CertificateConfig { groups: vec!["staff".into()], ..address() },
        common_name(),
    ]);
    let verified = rules.unwrap().verify(&[certificate(&["alice"], &[email("alice@example.com")])]).unwrap();
    let principal = verified.principal();
    assert_eq!((&*principal.actor.id, principal.actor.kind), ("alice@example.com", PrincipalKind::Person));
    assert_eq!((&*principal.groups[0], principal.proof), ("staff", Proof::Certificate));
    // date -d 2027-02-03T00:00:00Z +%s
    assert_eq!(principal.expires, Some(WallTime(1_801_612_800_000_000_000)));
}

#[test]
fn what_is_no_certificate_proves_nothing() {
    let rules = CertificateRules::new(&[common_name()]).unwrap();
    assert_eq!(rules.verify(&[]), Err(CertificateError::Missing));
    let right = certificate(&["alice"], &[]);
    for length in 0..right.len() {
        assert_eq!(rules.verify(&[right[..length].into()]), Err(CertificateError::Malformed), "{length}");
    }
}

#[test]
fn mistakes_say_where_and_what_to_do() {
    let check = |config: CertificateConfig, key: &str| {
        let error = CertificateRules::new(&[spiffe(), config]).unwrap_err();
        assert_eq!((&*error.place, error.key), ("identity.certificate 2", key), "{error}");
    };
    check(CertificateConfig { trust_domain: None, ..spiffe() }, "trust_domain");
    check(CertificateConfig { trust_domain: Some("Example.org".into()), ..spiffe() }, "trust_domain");
    check(CertificateConfig { path_prefix: Some("/ns".into()), ..spiffe() }, "path_prefix");
    check(CertificateConfig { authority: None, ..common_name() }, "authority");
    check(CertificateConfig { domain: None, ..address() }, "domain");
    check(CertificateConfig { groups: vec![String::new()], ..address() }, "groups");
}

proptest! {
    #[test]
    fn any_bytes_and_damaged_certificates_do_not_panic(bytes: Vec<u8>, place: prop::sample::Index, byte: u8) {
        let rules = CertificateRules::new(&[spiffe(), address(), common_name()]).unwrap();
        let _either = rules.verify(&[bytes.into()]);
        let mut damaged = certificate(&["alice"], &[email("alice@example.com")]).to_vec();
        let place = place.index(damaged.len());
        damaged[place] = byte;
        let _either = rules.verify(&[damaged.into()]);
    }
}
