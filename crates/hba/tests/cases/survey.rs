//! Surveys of the files that people have; and that a safe survey keeps its word.

use crate::support::{how, rules};
use hba::Rules;
use hba::address::Network;
use hba::attempt::{Attempt, Encryption, How, Replication};
use hba::facts::{Facts, Interfaces};
use hba::hop::Hop;
use hba::survey::{Listens, Steering, Survey, Tls, Unread, What};
use proptest::prelude::*;

const RELAY: Steering = steering(Tls::Relay);

const fn steering(tls: Tls) -> Steering {
    let hop_v4 = Some(std::net::Ipv4Addr::new(127, 86, 0, 1));
    Steering { hop_v4, hop_v6: Some(std::net::Ipv6Addr::LOCALHOST), tls, listens: Listens::Both }
}

fn facts() -> Facts {
    let interfaces = [("127.0.0.1", 8), ("::1", 128), ("10.0.0.2", 24)];
    let interface = |(text, bits): (&str, u32)| Network::prefix(text.parse().ok()?, bits);
    let interfaces = interfaces.into_iter().filter_map(interface).collect();
    Facts { interfaces: Interfaces::Known(interfaces), ..Facts::default() }
}

/// Findings as "kind original>hop + rule to add @ place".
fn told(survey: &Survey) -> Vec<String> {
    let place = |place: &Option<hba::mistake::Place>| place.as_ref().map_or("-".into(), |place| place.line.to_string());
    let finding = |finding: &hba::survey::Finding| {
        let what = match &finding.what {
            What::Different(why) => format!("{why:?}"),
            other => other.to_string(),
        };
        let add = finding.add.as_ref().map(|add| format!(" + {} @ {}", add.line, place(&add.before)));
        let depends = finding.depends_on.as_ref().map(|fact| format!(", depends on {fact}")).unwrap_or_default();
        format!("{what} {}>{}{}{depends}", place(&finding.original), place(&finding.hop), add.unwrap_or_default())
    };
    survey.findings.iter().map(finding).collect()
}

/// The file with the rules that a survey names.
fn with_additions(text: &str, survey: &Survey) -> String {
    let mut lines: Vec<String> = Vec::new();
    let additions: Vec<_> = survey.findings.iter().filter_map(|finding| finding.add.clone()).collect();
    let at = |line: Option<u32>| {
        let here = additions.iter().filter(move |add| add.before.as_ref().map(|place| place.line) == line);
        here.map(|add| add.line.clone()).collect::<Vec<_>>()
    };
    for (index, line) in text.lines().enumerate() {
        lines.extend(at(u32::try_from(index + 1).ok()));
        lines.push(line.to_owned());
    }
    lines.extend(at(None));
    lines.join("\n")
}

#[test]
fn what_initdb_and_containers_write() {
    let text = "local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all ::1/128 trust\n\
                local replication all trust\nhost replication all 127.0.0.1/32 trust\n\
                host replication all ::1/128 trust\nhost all all all scram-sha-256\n";
    let survey = rules(text).survey(&Steering { hop_v6: None, listens: Listens::V4, ..RELAY }, &facts());
    assert!(survey.is_safe(), "127.86.0.1 is none of these: {:?}", told(&survey));
    assert_eq!(survey.replication.len(), 3);
    // A hop from ::1 would be trusted.
    let survey = rules(text).survey(&RELAY, &facts());
    let added = "host  all  all  ::1/128  scram-sha-256 @ 3";
    let unread = "refused today, and the hop would not be ->6";
    assert_eq!(told(&survey), [unread.into(), format!("Weaker 7>3 + {added}"), format!("Weaker 7>3 + {added}")]);
}

#[test]
fn the_rule_to_add_makes_it_safe() {
    let text = "host all all 127.0.0.0/8 trust\nhost orders app 10.0.0.0/8 scram-sha-256\n";
    let survey = rules(text).survey(&steering(Tls::ServerCertificate), &facts());
    let line = "Weaker 2>1 + host  orders  app  127.86.0.1/32  scram-sha-256 @ 1";
    assert_eq!(told(&survey), [line, line], "without and with TLS");
    let better = with_additions(text, &survey);
    assert!(rules(&better).survey(&steering(Tls::ServerCertificate), &facts()).is_safe(), "{better}");
}

#[test]
fn no_entry_for_the_hop() {
    let text = "hostssl all +crew 192.168.0.0/16 scram-sha-256\nhostnossl all all 192.168.0.0/16 reject\n";
    let survey = rules(text).survey(&steering(Tls::ServerCertificate), &facts());
    let line = |kind| format!("Refused 1>- + {kind}  all  +crew  127.86.0.1/32  scram-sha-256 @ -");
    assert_eq!(told(&survey), [line("hostssl")]);
    let text_and_rule = with_additions(text, &survey);
    assert!(rules(&text_and_rule).survey(&steering(Tls::ServerCertificate), &facts()).is_safe(), "{text_and_rule}");
    let plain = rules(text).survey(&steering(Tls::OwnCertificate), &facts());
    assert_eq!(told(&plain), [line("host")]);
}

#[test]
fn what_no_rule_can_help() {
    let told = |text: &str, steering: &Steering| told(&rules(text).survey(steering, &facts()));
    assert_eq!(told("hostssl all all 11.0.0.0/8 cert\n", &steering(Tls::ServerCertificate)).len(), 1);
    assert!(told("hostssl all all all cert\n", &RELAY).is_empty());
    assert!(told("host all all all ident\n", &RELAY).iter().all(|line| line.starts_with("Ident 1>1")));
    let no_v6 = Steering { hop_v6: None, ..RELAY };
    assert!(told("host all all ::/0 md5\n", &no_v6).iter().all(|line| line.contains("no hop_address")));
    assert!(!told("host all all ::/0 md5\n", &no_v6).is_empty());
    assert!(told("host all all 10.0.0.1 255.0.0.255 md5\nhost all all all md5\n", &RELAY)[0].contains("no prefix"));
    assert!(told("host all all db.example md5\nhost all all all scram-sha-256\n", &RELAY)[0].contains("is called"));
}

#[test]
fn what_cannot_be_read_is_judged_by_its_address() {
    let text = "host all all 127.86.0.1/32 scram-sha-256\nhost all all 10.0.0.0/8 scram-sha-256\n\
                host all app 11.0.0.0/8 scram-sha-256\n";
    let rules = rules(text);
    let unread = |way: &str| RELAY.unread(&rules, how(way), &facts());
    assert_eq!(unread("10.9.9.9 tls"), Unread::Same);
    assert_eq!(unread("12.9.9.9 tls"), Unread::Refused);
    assert!(matches!(unread("11.9.9.9 tls"), Unread::Different(_)));
    // A file that the server would use as it is, but whose eleventh network cannot be told apart once encrypted.
    assert!(told(&rules.survey(&RELAY, &facts())).iter().any(|line| line.starts_with("refused today")));
}

fn line() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(vec!["host", "host", "hostssl", "hostnossl"]);
    let database =
        prop::sample::select(vec!["all", "all", "orders", "sameuser", "samerole", "replication", "a,orders"]);
    let user = prop::sample::select(vec!["all", "all", "app", "+crew", "app,web", "/^a", "/a|b", "orders"]);
    let address = prop::sample::select(vec![
        "all",
        "all",
        "127.0.0.0/8",
        "127.86.0.1/32",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.0/24",
        "samenet",
        "samehost",
        "::/0",
        "::1/128",
        "db.example",
        "10.0.0.1 255.0.0.255",
    ]);
    let method = prop::sample::select(vec!["trust", "reject", "md5", "scram-sha-256", "scram-sha-256", "pam", "ident"]);
    (kind, database, user, address, method)
        .prop_map(|(kind, database, user, address, method)| format!("{kind} {database} {user} {address} {method}\n"))
}

fn ways() -> impl Strategy<Value = How> {
    let address = prop::sample::select(vec![
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "10.1.0.1",
        "10.1.2.3",
        "10.200.3.1",
        "127.0.0.1",
        "127.0.0.9",
        "127.86.0.1",
        "8.8.8.8",
        "::1",
        "fd00::1",
        "192.168.1.1",
    ]);
    let encryption = prop::sample::select(vec![Encryption::None, Encryption::Tls]);
    (address, encryption).prop_map(|(address, encryption)| match how(address) {
        How::Host { address, .. } => How::Host { address, encryption },
        local => local,
    })
}

fn attempts() -> impl Strategy<Value = (How, &'static str, &'static str, Replication)> {
    let names = || prop::sample::select(vec!["app", "web", "orders", "a", "b", "crew", "zzz"]);
    let replication = prop::sample::select(vec![Replication::No, Replication::No, Replication::Physical]);
    (ways(), names(), names(), replication)
}

fn safe(rules: &Rules, steering: &Steering, attempt: &Attempt<'_>) -> bool {
    let facts = facts();
    let through = steering.through(attempt.how, &facts);
    through.is_some_and(|through| matches!(rules.hop(attempt, &through, &facts), Hop::Same | Hop::Refused(_)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// What the survey does not find, the gate does not stop.
    #[test]
    fn a_safe_survey_keeps_its_word(
        lines in prop::collection::vec(line(), 1..5),
        attempts in prop::collection::vec(attempts(), 40),
        tls in prop::sample::select(vec![Tls::Relay, Tls::ServerCertificate, Tls::OwnCertificate]),
    ) {
        let rules = rules(&lines.concat());
        let steering = steering(tls);
        if rules.survey(&steering, &facts()).is_safe() {
            for (how, user, database, replication) in attempts {
                let attempt = Attempt { how, user: user.as_bytes(), database: database.as_bytes(), replication };
                prop_assert!(safe(&rules, &steering, &attempt), "{lines:?} {attempt:?}");
                if tls == Tls::Relay && matches!(how, How::Host { encryption: Encryption::Tls, .. }) {
                    prop_assert!(!matches!(steering.unread(&rules, how, &facts()), Unread::Different(_)), "{lines:?} {attempt:?}");
                }
            }
        }
    }
}
