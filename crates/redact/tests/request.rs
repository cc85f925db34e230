//! Requests lose what their statements lose, and what only the answer could clear.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::sync::Arc;

use model::request::Request;
use model::statement::{Parameter, StatementKind, Text, UnknownText, Value};
use model::time::BootTime;
use redact::fingerprint::{KEY_BYTES, Key};
use redact::policy::Mode;

fn bind(text: Text, value: &str) -> Request {
    let parameter = Parameter { type_oid: Some(25), value: Value::Readable(value.to_owned()) };
    Request {
        kind: StatementKind::Bind,
        text,
        doubtful: false,
        prepared: Some(Arc::default()),
        portal: Some(Arc::default()),
        parameters: Some(vec![parameter]),
        row_limit: 0,
        at: BootTime(0),
        redacted: false,
        judgement: None,
    }
}

fn whole(text: &str) -> Text {
    Text::Whole(text.into())
}

/// Whether the value is kept.
#[track_caller]
fn check(mut request: Request, is_kept: bool) {
    redact::request(&mut request);
    let value = &request.parameters.as_ref().unwrap()[0].value;
    assert_eq!(matches!(value, Value::Readable(_)), is_kept, "{request:?}");
    assert_eq!(request.redacted, !is_kept, "{request:?}");
}

#[test]
fn values_of_a_plain_text_are_kept() {
    check(bind(whole("select $1"), "x"), true);
}

#[test]
fn values_go_with_a_text_that_speaks_of_a_secret() {
    check(bind(whole("select dblink_connect($1)"), "x"), false);
    check(bind(whole("update accounts set password = $1"), "x"), false);
}

#[test]
fn values_of_a_text_that_is_not_known_go() {
    for reason in [UnknownText::PreparedBeforeStart, UnknownText::Lost, UnknownText::TooManyNames, UnknownText::None] {
        check(bind(Text::Unknown(reason), "x"), false);
    }
    check(bind(Text::Truncated { beginning: "select $1".into(), bytes: 99 }, "x"), false);
}

#[test]
fn values_of_a_doubtful_name_go() {
    check(Request { doubtful: true, ..bind(whole("select $1"), "x") }, false);
}

#[test]
fn a_value_that_looks_like_a_secret_goes() {
    check(bind(whole("select $1"), "postgres://alice:hunter2@db/x"), false);
}

#[test]
fn literals_of_a_secret_go() {
    let mut request = Request { parameters: None, ..bind(whole("alter role x password 'Zq7xK9Wv'"), "") };
    redact::request(&mut request);
    assert!(request.redacted && !format!("{request:?}").contains("Zq7xK9Wv"), "{request:?}");
}

#[test]
fn where_literals_are_replaced_the_text_waits_for_the_answer() {
    let key = Key::new(&[1; KEY_BYTES]);
    // The server would refuse it; a lexer sees no value in it.
    let mut request = bind(whole("select Zq7xK9Wv"), "Zq7xK9Wv");
    redact::request_in_mode(&mut request, Mode::Both, &key);
    assert!(request.redacted && !format!("{request:?}").contains("Zq7xK9Wv"), "{request:?}");
    let mut kept = bind(whole("select Zq7xK9Wv"), "x");
    redact::request_in_mode(&mut kept, Mode::Parameters, &key);
    assert_eq!(kept.text, whole("select Zq7xK9Wv"));
}
