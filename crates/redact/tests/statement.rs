//! Whole statements: texts, bound values, messages.

use std::sync::Arc;

use model::statement::{Ending, Format, Outcome, Parameter, Statement, StatementKind, Text, UnknownText, Value};
use model::time::BootTime;
use redact::WITHHELD_MESSAGE;

fn statement(text: Text, values: &[&str]) -> Statement {
    let parameter = |value: &&str| Parameter { type_oid: Some(25), value: Value::Readable((*value).to_owned()) };
    Statement {
        kind: StatementKind::Execute,
        text,
        prepared: None,
        portal: None,
        parameters: Some(values.iter().map(parameter).collect()),
        row_limit: 0,
        resumed: false,
        transaction_before: None,
        transaction_after: None,
        started: BootTime(1),
        finished: Some(BootTime(2)),
        outcomes: vec![Outcome::Failed {
            severity: "ERROR".to_owned(),
            sqlstate: "42601".to_owned(),
            message: "at or near \"S\"".to_owned(),
        }],
        outcomes_dropped: 0,
        rows_sent: 0,
        notices: 0,
        copy_bytes: 0,
        ending: Ending::Answered,
        redacted: false,
        judgement: None,
    }
}

fn whole(text: &str) -> Text {
    Text::Whole(Arc::from(text))
}

fn message(statement: &Statement) -> &str {
    let Some(Outcome::Failed { message, sqlstate, severity }) = statement.outcomes.first() else {
        return "";
    };
    assert_eq!((sqlstate.as_str(), severity.as_str()), ("42601", "ERROR"));
    message
}

fn values(statement: &Statement) -> Vec<&Value> {
    statement.parameters.iter().flatten().map(|parameter| &parameter.value).collect()
}

#[test]
fn a_plain_statement_is_left_alone() {
    let given = statement(whole("SELECT 'x' WHERE id = $1"), &["how to reset your password", "a:b@c", "md5 of x"]);
    let mut kept = given.clone();
    redact::statement(&mut kept);
    assert_eq!(kept, given);
}

#[test]
fn a_tainted_statement_loses_text_values_and_message() {
    let mut given = statement(whole("UPDATE u SET password = $1 WHERE n = 'S'"), &["S", "x"]);
    given.parameters.as_mut().unwrap()[1].value = Value::Opaque { format: Format::Binary, bytes: 5 };
    redact::statement(&mut given);
    assert_eq!(given.text, whole("UPDATE u SET password = $1 WHERE n = '***'"));
    assert_eq!(values(&given), [&Value::Redacted, &Value::Redacted]);
    assert_eq!(message(&given), WITHHELD_MESSAGE);
    assert!(given.redacted);
}

#[test]
fn a_value_can_be_a_secret_by_itself() {
    for secret in [
        "postgres://u:S@h/db",
        "host=h password=S",
        "host=h PASSWORD = 'S S'",
        "SCRAM-SHA-256$4096:c2FsdA==$a:b",
        "md5d41d8cd98f00b204e9800998ecf8427e",
        "Bearer S",
        "{\"client_secret\": \"S\"}",
        "eyJhbGciOiJIUzI1NiJ9.e30.S",
    ] {
        let mut given = statement(whole("SELECT f($1, $2)"), &["harmless", secret]);
        redact::statement(&mut given);
        assert_eq!(values(&given), [&Value::Readable("harmless".to_owned()), &Value::Redacted], "{secret}");
        assert_eq!(message(&given), WITHHELD_MESSAGE);
        assert!(given.redacted);
    }
}

#[test]
fn values_of_an_unknown_text_cannot_be_judged() {
    for reason in [UnknownText::PreparedBeforeStart, UnknownText::Lost, UnknownText::TooManyNames] {
        let mut given = statement(Text::Unknown(reason), &["S"]);
        redact::statement(&mut given);
        assert_eq!(values(&given), [&Value::Redacted]);
        assert_eq!(message(&given), WITHHELD_MESSAGE);
        assert!(given.redacted);
    }
    let mut nothing = statement(Text::Unknown(UnknownText::PreparedBeforeStart), &[]);
    nothing.outcomes.clear();
    redact::statement(&mut nothing);
    assert!(!nothing.redacted, "nothing was withheld");
}

#[test]
fn a_cut_text_is_judged_by_its_beginning_and_its_values_not_at_all() {
    let text = |beginning: &str| Text::Truncated { beginning: Arc::from(beginning), bytes: 1 << 20 };
    let mut given = statement(text("INSERT INTO t VALUES ('a', $1, "), &["S"]);
    redact::statement(&mut given);
    assert_eq!(given.text, text("INSERT INTO t VALUES ('a', $1, "));
    assert_eq!(values(&given), [&Value::Redacted]);
    let mut given = statement(text("ALTER ROLE x PASSWORD 'SECR"), &[]);
    redact::statement(&mut given);
    assert_eq!(given.text, text("ALTER ROLE x PASSWORD '***'"));
    assert!(given.redacted);
}

#[test]
fn a_message_about_a_cut_text_may_quote_what_was_cut() {
    let text = Text::Truncated { beginning: Arc::from("INSERT INTO t VALUES ('a', "), bytes: 1 << 20 };
    let mut given = statement(text, &[]);
    redact::statement(&mut given);
    assert_eq!(message(&given), WITHHELD_MESSAGE);
    assert!(given.redacted);
}

#[test]
fn a_message_can_be_a_secret_by_itself() {
    for secret in ["cannot reach postgres://u:S@h/db", "no answer: host=h password=S", "refused: Bearer S"] {
        let mut given = statement(whole("SELECT refresh()"), &["harmless"]);
        if let Some(Outcome::Failed { message, .. }) = given.outcomes.first_mut() {
            *message = secret.to_owned();
        }
        redact::statement(&mut given);
        assert_eq!(message(&given), WITHHELD_MESSAGE, "{secret}");
        assert!(given.redacted);
        assert_eq!(values(&given), [&Value::Readable("harmless".to_owned())]);
    }
}

#[test]
fn a_refused_name_keeps_its_message() {
    let mut given = statement(Text::Unknown(UnknownText::NoSuchName), &[]);
    redact::statement(&mut given);
    assert_eq!(message(&given), "at or near \"S\"");
    assert!(!given.redacted);
}
