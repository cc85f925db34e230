//! The grammar: what is understood, and what is answered to everything else.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

use std::net::IpAddr;

use model::time::WallTime;
use proptest::prelude::*;
use search::attribute::AttributeKind;
use search::filter::{Comparison, Condition, Filter, FilterError, Network, Relation, Sense};
use search::filter::{SessionPattern, TERMS_MAX, Term, VALUES_MAX, Wanted};

/// 2026-11-22T09:30:00Z
const NOW: WallTime = WallTime(1_795_339_800_000_000_000);
const HOUR: u64 = 3_600_000_000_000;

fn parse(text: &str) -> Result<Filter, FilterError> {
    Filter::parse(text.as_bytes(), NOW)
}

fn terms(text: &str) -> Vec<Term> {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).terms
}

fn is(condition: Condition) -> Term {
    Term { sense: Sense::Is, condition }
}

fn value(kind: AttributeKind, text: &str) -> Wanted {
    Wanted::Value(kind, text.into())
}

#[test]
fn terms_are_understood() {
    let user =
        |names: &[&str]| Condition::Attribute(names.iter().map(|name| value(AttributeKind::User, name)).collect());
    let text = |text: &str| Condition::Text(vec![text.into()]);
    let attribute = |wanted| is(Condition::Attribute(vec![wanted]));
    let duration = |relation, bound| is(Condition::Duration(Comparison { relation, bound }));
    for (typed, expected) in [
        ("", vec![]),
        (" \t ", vec![]),
        ("user:alice", vec![is(user(&["alice"]))]),
        ("user:alice,bob", vec![is(user(&["alice", "bob"]))]),
        ("-user:alice", vec![Term { sense: Sense::IsNot, condition: user(&["alice"]) }]),
        (r#"user:"a b",c"#, vec![is(user(&["a b", "c"]))]),
        (r#"user:"a\"b\\c\d""#, vec![is(user(&[r#"a"b\c\d"#]))]),
        (r#"user:"""#, vec![is(user(&[""]))]),
        ("USER:alice", vec![is(user(&["alice"]))]),
        (r#""OR" or"#, vec![is(text("or")), is(text("or"))]),
        ("user:alice 09:30", vec![is(user(&["alice"])), is(text("09:30"))]),
        ("customers", vec![is(text("customers"))]),
        ("10:30", vec![is(text("10:30"))]),
        ("a,b", vec![is(text("a,b"))]),
        (r#""user:alice""#, vec![is(text("user:alice"))]),
        ("-DROP", vec![Term { sense: Sense::IsNot, condition: text("drop") }]),
        ("uid:1000", vec![attribute(value(AttributeKind::Uid, "1000"))]),
        ("pid:+7", vec![attribute(value(AttributeKind::Pid, "7"))]),
        ("exe:psql", vec![attribute(Wanted::FileName("psql".into()))]),
        ("exe:/usr/bin/psql", vec![attribute(value(AttributeKind::Executable, "/usr/bin/psql"))]),
        ("client:10.0.0.7", vec![attribute(value(AttributeKind::Client, "10.0.0.7"))]),
        ("client:::ffff:10.0.0.7", vec![attribute(value(AttributeKind::Client, "10.0.0.7"))]),
        ("client:10.0.0.0/8", vec![attribute(Wanted::Network(Network::parse("10.0.0.0/8").unwrap()))]),
        ("session:42", vec![is(Condition::Session(vec![SessionPattern::Cookie("42".into())]))]),
        ("sqlstate:23,42p01", vec![is(Condition::Sqlstate(vec!["23".into(), "42P01".into()]))]),
        ("error:no", vec![is(Condition::Failed(false))]),
        ("duration:>100ms", vec![duration(Relation::More, 100_000)]),
        ("duration:<=2s", vec![duration(Relation::AtMost, 2_000_000)]),
        ("duration:<250us", vec![duration(Relation::Less, 250)]),
        ("rows:>=1000", vec![is(Condition::Rows(Comparison { relation: Relation::AtLeast, bound: 1000 }))]),
        ("rows:0", vec![is(Condition::Rows(Comparison { relation: Relation::Equal, bound: 0 }))]),
        ("session:none", vec![is(Condition::Session(vec![SessionPattern::NoSession]))]),
        ("type:session", vec![is(Condition::Type(vec!["session".into()]))]),
    ] {
        assert_eq!(terms(typed), expected, "{typed}");
    }
}

#[test]
fn times_are_absolute_after_parsing() {
    let midnight = WallTime(NOW.0 - 9 * HOUR - HOUR / 2);
    for (typed, since, until) in [
        ("since:24h", Some(NOW.0 - 24 * HOUR), None),
        ("since:30m", Some(NOW.0 - HOUR / 2), None),
        ("since:7d until:1d", Some(NOW.0 - 168 * HOUR), Some(NOW.0 - 24 * HOUR)),
        ("since:999999d", Some(0), None),
        ("since:2026-11-22", Some(midnight.0), None),
        ("since:2026-11-22T09:30", Some(NOW.0), None),
        ("since:2026-11-22T09:30:00Z", Some(NOW.0), None),
        ("since:2026-11-22T10:30:00+01:00", Some(NOW.0), None),
        ("since:2026-11-22T04:00:00-05:30", Some(NOW.0), None),
        ("until:2026-11-22T09:30:00.000250", None, Some(NOW.0 + 250_000)),
        ("since:2h since:1h until:5m until:10m", Some(NOW.0 - HOUR), Some(NOW.0 - HOUR / 6)),
    ] {
        let filter = parse(typed).unwrap();
        assert_eq!((filter.since.map(|time| time.0), filter.until.map(|time| time.0)), (since, until), "{typed}");
    }
}

#[test]
fn the_end_is_outside_and_the_beginning_inside() {
    let filter = parse("since:2h until:1h").unwrap();
    let covers = |nanos| filter.covers(WallTime(nanos));
    assert!(covers(NOW.0 - 2 * HOUR) && covers(NOW.0 - HOUR - 1));
    assert!(!covers(NOW.0 - 2 * HOUR - 1) && !covers(NOW.0 - HOUR));
}

#[test]
fn mistakes_are_answered_with_the_remedy() {
    for (typed, part) in [
        ("usr:alice", "did you mean \"user\"?"),
        ("banana:x", "keys are: since, until, session"),
        ("user:", "user\" has an empty value"),
        ("user:a,", "empty value"),
        ("-", "empty value"),
        (r#"user:"alice"#, "opens at byte 5 is not closed"),
        (r#"user:"alice\"#, "not closed"),
        ("uid:alice", "write a number"),
        ("uid:-1", "write a number"),
        ("client:somewhere", "10.0.0.0/8"),
        ("client:10.0.0.0/33", "10.0.0.0/8"),
        ("type:statment", "did you mean statement?"),
        ("kind:banana", "it is one of: simple, execute"),
        ("transport:udp", "tcp, unix"),
        ("encryption:ssl", "plaintext, tls, gss"),
        ("error:maybe", "yes, no"),
        ("sqlstate:235", "five characters"),
        ("duration:>100", ">100ms"),
        ("duration:>99999999999999999999h", ">100ms"),
        ("rows:many", ">1000"),
        ("rows:>-5", ">1000"),
        ("since:yesterday", "30m, 24h, 7d"),
        ("since:2026-13-01", "30m, 24h, 7d"),
        ("since:2026-11-22T09:30:00+1:00", "30m, 24h, 7d"),
        ("since:2026-02-30", "30m, 24h, 7d"),
        ("since:2026-11-22 09:30", "since:2026-11-22T09:30"),
        ("until:2026-11-22 09:30:15Z", "until:2026-11-22T09:30:15Z"),
        ("since:1h until:2h", "until is not after since"),
        ("user:alice OR user:bob", "user:alice,bob"),
        ("user:alice AND user:bob", "all terms must hold"),
        ("NOT user:alice", "-user:alice"),
        ("USR:alice", "did you mean \"user\"?"),
        ("-since:1h", "one value and no minus"),
        ("since:1h,2h", "one value and no minus"),
        ("rows:1,2", "one value"),
    ] {
        let error = parse(typed).expect_err(typed).to_string();
        assert!(error.contains(part), "{typed}: {error}");
    }
}

#[test]
fn bounds_hold() {
    assert_eq!(parse(&"a ".repeat(TERMS_MAX)).unwrap().terms.len(), TERMS_MAX);
    assert_eq!(parse(&"a ".repeat(TERMS_MAX + 1)), Err(FilterError::TooManyTerms));
    assert_eq!(parse(&format!("user:{}b", "a,".repeat(VALUES_MAX))), Err(FilterError::TooManyValues));
    assert_eq!(parse(&"a".repeat(9000)), Err(FilterError::TooLong));
    assert_eq!(Filter::parse(b"user:\xff", NOW), Err(FilterError::NotText { at: 5 }));
}

#[test]
fn networks_contain_their_addresses() {
    for (network, address, inside) in [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("0.0.0.0/0", "1.2.3.4", true),
        ("10.0.0.7/32", "10.0.0.7", true),
        ("10.0.0.7/32", "10.0.0.6", false),
        ("10.1.2.3/8", "10.9.9.9", true),
        ("::/0", "::1", true),
        ("::/0", "10.0.0.1", false),
        ("fd00::/8", "fd12::1", true),
        ("::1/128", "::2", false),
    ] {
        let contains = Network::parse(network).unwrap().contains(address.parse::<IpAddr>().unwrap());
        assert_eq!(contains, inside, "{address} in {network}");
    }
}

#[test]
fn sessions_are_meant_by_id_cookie_or_beginning() {
    let id = "0123abcd-feed0001-4242";
    for (typed, fits) in [
        (id, true),
        ("0123ABCD-FEED0001-4242", true),
        ("0123abcd-feed0001-424", false),
        ("4242", true),
        ("42", false),
        ("0123abcd-feed", true),
        ("0123abcd-feed0001-", true),
        ("feed0001", false),
        ("none", false),
    ] {
        assert_eq!(SessionPattern::new(typed).fits(id), fits, "{typed}");
    }
}

proptest! {
    /// Any bytes are a filter or a mistake; nothing panics, and the answer shows no control characters.
    #[test]
    fn any_bytes_are_answered(input in prop::collection::vec(any::<u8>(), 0..200), now in any::<u64>()) {
        if let Err(error) = Filter::parse(&input, WallTime(now)) {
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }
    }

    #[test]
    fn pieces_of_the_grammar_are_answered(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "since", "until", "session", "type", "user", "exe", "client", "sqlstate", "duration", "rows", "error",
                "who", ":", ":", ":", "-", ",", " ", "\"", "\\", ">", "24h", "2026-11-22", "T09:30", "+01:00", "10.0.0.0",
                "/8", "alice", "ü", "100ms", "yes",
            ]),
            0..24,
        ),
    ) {
        let _ = Filter::parse(pieces.concat().as_bytes(), NOW);
    }

    /// Whatever a quoted value is, it comes back as it was.
    #[test]
    fn quoted_values_survive(value in "\\PC{1,40}") {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        let expected = vec![is(Condition::Attribute(vec![Wanted::Value(AttributeKind::User, value)]))];
        prop_assert_eq!(terms(&format!("user:\"{quoted}\"")), expected);
    }
}
