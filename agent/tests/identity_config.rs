//! `[identity]` and `[database.proxy.login]`: what is understood, and what each mistake says.

use std::path::Path;

use agent::config::Config;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("warder.toml")).map_err(|error| error.to_string())
}

/// Checks a text; `expected` is the beginning of the only line of the error, after `warder.toml:`.
fn check(text: &str, expected: &str) {
    let error = parse(text).expect_err(text);
    let line = error.strip_prefix("warder.toml:").expect("the file");
    assert!(line.starts_with(expected) && !line.contains('\n'), "{text}: {error}");
}

fn issuer(lines: &str) -> String {
    format!(
        "[[identity.issuer]]\nname = \"company\"\nissuer = \"https://issuer.example.com/\"\naudiences = [\"warder\"]\n{lines}\n"
    )
}

#[test]
fn issuers_are_checked_with_the_files_that_they_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("jwks.json");
    let named = issuer(&format!("jwks_file = \"{}\"", keys.display()));
    check(&named, "5: identity.issuer.jwks_file: ");
    std::fs::write(&keys, r#"{"keys":[]}"#).expect("a file");
    // A set of keys that has none yet is one.
    match parse(&named) {
        Ok(config) => assert_eq!(config.identity.issuers.len(), 1),
        Err(error) => assert!(error.contains("5: identity.issuer.jwks_file: "), "{error}"),
    }
    check(&issuer("algorithms = [\"HS256\"]"), "5: identity.issuer.algorithms: ");
    check(&issuer("colour = 1"), "5: identity.issuer.colour: unknown key `colour`");
}

#[test]
fn rules_about_processes_hold_on_to_something() {
    let config = parse("[[identity.process]]\nid = \"report\"\nunit = \"report.service\"\n").expect("a rule");
    assert_eq!(config.identity.processes.len(), 1);
    check("[[identity.process]]\nid = \"report\"\n", "2: identity.process.id: add `uid`, `unit`");
    check("[[identity.process]]\nid = \"report\"\nunit = \"report\"\n", "3: identity.process.unit: ");
}

#[test]
fn rules_about_certificates_name_what_they_trust() {
    let rule = "[[identity.certificate]]\nname = \"spiffe\"\nkind = \"service\"\n";
    check(rule, "1: identity.certificate.trust_domain: name the trust domain");
    let config = parse(&format!("{rule}trust_domain = \"example.org\"\n")).expect("a rule");
    assert_eq!(config.identity.certificates.len(), 1);
}

#[test]
fn authorities_of_clients_are_the_same_for_all_databases() {
    let database = |number: u16, proxy: &str| {
        let tls = "tls = \"own-certificate\"\ncertificate = \"/c\"\nprivate_key = \"/k\"\npolicies = [\"/p\"]";
        format!("[[database]]\nname = \"d{number}\"\nport = {number}\n[database.proxy]\n{tls}\n{proxy}\n")
    };
    let (one, two) = ("client_ca_file = \"/one\"", "client_ca_file = \"/two\"");
    assert!(parse(&[database(1, one), database(2, ""), database(3, one)].concat()).is_ok());
    check(&[database(1, one), database(2, two)].concat(), "18: database.proxy.client_ca_file: another database");
    let lists = "client_crl_file = \"/lists\"";
    check(&database(1, lists), "9: database.proxy.client_crl_file: without client_ca_file");
    let ungoverned = format!("[[database]]\nname = \"a\"\nport = 1\n[database.proxy]\n{one}\n");
    check(&ungoverned, "5: database.proxy.client_ca_file: without policies");
}

#[test]
fn each_way_to_log_in_has_what_it_needs() {
    let with = |proxy: &str, login: &str| {
        let tls = "tls = \"server-certificate\"\ncertificate = \"/c\"\nprivate_key = \"/k\"\npolicies = [\"/p\"]";
        let proxy = format!("[database.proxy]\n{tls}\n{proxy}\n");
        format!("[[database]]\nname = \"a\"\nport = 1\n{proxy}[database.proxy.login]\nuser = \"service\"\n{login}\n")
    };
    let metadata = "discovery_url = \"https://issuer.example.com/.well-known/openid-configuration\"";
    let certificate = "mode = \"token\"\ncertificate = \"/service.crt\"\nprivate_key = \"/service.key\"";
    assert!(parse(&with("", &format!("mode = \"oauthbearer\"\n{metadata}"))).is_ok());
    assert!(parse(&with("client_ca_file = \"/ca\"", "mode = \"certificate\"")).is_ok());
    assert!(parse(&with("", certificate)).is_ok());
    let cases = [
        ("mode = \"oauthbearer\"", "10: database.proxy.login.discovery_url: clients must be told"),
        (
            "mode = \"oauthbearer\"\ndiscovery_url = \"http://a\"",
            "13: database.proxy.login.discovery_url: \"http://a\"",
        ),
        ("mode = \"certificate\"", "12: database.proxy.login.mode: clients are asked for no certificate"),
        ("mode = \"token\"\ncertificate = \"/a\"", "13: database.proxy.login.certificate: a certificate needs its key"),
    ];
    for (login, expected) in cases {
        check(&with("", login), expected);
    }
    check(
        &with("", &format!("mode = \"token\"\n{metadata}")),
        "13: database.proxy.login.discovery_url: only OAUTHBEARER",
    );
    check(
        &with("", &format!("{certificate}\npassword_file = \"/password\"")),
        "15: database.proxy.login.password_file: the service account has a certificate already",
    );
}

#[test]
fn a_login_by_token_needs_policies_and_a_role() {
    let with = |proxy: &str, login: &str| {
        format!("[[database]]\nname = \"a\"\nport = 1\n[database.proxy]\n{proxy}\n[database.proxy.login]\n{login}\n")
    };
    let governed =
        "tls = \"own-certificate\"\ncertificate = \"/c\"\nprivate_key = \"/k\"\npolicies = [\"/etc/warder/policies\"]";
    assert!(parse(&with(governed, "mode = \"token\"\nuser = \"service\"")).is_ok());
    check(&with("", "mode = \"token\"\nuser = \"service\""), "7: database.proxy.login.mode: without policies");
    check(&with(governed, "mode = \"token\""), "9: database.proxy.login.user: the proxy needs a role");
    check(&with("", "user = \"service\""), "7: database.proxy.login.user: clients log in themselves");
    check(&with("", "mode = \"tokens\""), "7: database.proxy.login.mode: \"tokens\" is not known");
    let relative = "mode = \"token\"\nuser = \"service\"\npassword_file = \"password\"";
    check(&with(governed, relative), "12: database.proxy.login.password_file: \"password\" is not an absolute path");
}
