//! Whole statements: texts, bound values, messages.

use std::sync::Arc;

use model::statement::{Ending, Format, Outcome, Parameter, Statement, StatementKind, Text, UnknownText, Value};
use model::time::BootTime;
use redact::WITHHELD_MESSAGE;
use redact::policy::Mode;

use crate::{is_withheld, key};

const MODES: [Mode; 4] = [Mode::None, Mode::Literals, Mode::Parameters, Mode::Both];

fn statement(text: &str, parameters: &[(u32, &str)]) -> Statement {
    let parameter = |(type_oid, value): &(u32, &str)| Parameter {
        type_oid: (*type_oid != 0).then_some(*type_oid),
        value: Value::Readable((*value).to_owned()),
    };
    Statement {
        kind: StatementKind::Execute,
        text: Text::Whole(Arc::from(text)),
        prepared: Some(Arc::from("p'5'")),
        portal: Some(Arc::from("c 5")),
        parameters: Some(parameters.iter().map(parameter).collect()),
        row_limit: 0,
        resumed: false,
        transaction_before: None,
        transaction_after: None,
        started: BootTime(1),
        finished: Some(BootTime(2)),
        outcomes: Vec::new(),
        outcomes_dropped: 0,
        rows_sent: 0,
        notices: 0,
        copy_bytes: 0,
        ending: Ending::Answered,
        redacted: false,
        judgement: None,
    }
}

fn failed(sqlstate: &str, message: &str) -> Outcome {
    Outcome::Failed { severity: "ERROR".to_owned(), sqlstate: sqlstate.to_owned(), message: message.to_owned() }
}

/// Redacts; a second time must change nothing.
fn in_mode(given: &Statement, mode: Mode) -> Statement {
    let mut once = given.clone();
    redact::statement_in_mode(&mut once, mode, &key());
    let mut twice = once.clone();
    redact::statement_in_mode(&mut twice, mode, &key());
    assert_eq!(twice, once);
    once
}

fn text(statement: &Statement) -> &str {
    match &statement.text {
        Text::Whole(text) | Text::Truncated { beginning: text, .. } => text,
        Text::Unknown(_) => "unknown",
    }
}

fn value(statement: &Statement, index: usize) -> String {
    match statement.parameters.iter().flatten().nth(index).map(|parameter| &parameter.value) {
        Some(Value::Readable(value)) => value.clone(),
        other => format!("{other:?}"),
    }
}

fn mark(value: &str) -> String {
    key().fingerprint(value).to_string()
}

#[test]
fn modes_say_what_is_replaced() {
    let given = statement("SELECT 'alice' WHERE a = $1", &[(25, "bob")]);
    for (mode, literal, parameter) in [
        (Mode::None, "alice", "bob"),
        (Mode::Literals, &*mark("alice"), "bob"),
        (Mode::Parameters, "alice", &*mark("bob")),
        (Mode::Both, &*mark("alice"), &*mark("bob")),
    ] {
        let kept = in_mode(&given, mode);
        assert_eq!(text(&kept), format!("SELECT '{literal}' WHERE a = $1"), "{mode:?}");
        assert_eq!(value(&kept, 0), parameter, "{mode:?}");
        assert_eq!(kept.redacted, mode != Mode::None);
        assert_eq!((&kept.prepared, &kept.portal), (&given.prepared, &given.portal));
    }
}

#[test]
fn a_statement_without_values_is_not_marked() {
    let mut given = statement("SELECT a FROM t", &[]);
    given.outcomes = vec![Outcome::Completed { tag: "SELECT 5".to_owned(), rows: Some(5) }];
    for mode in MODES {
        assert_eq!(in_mode(&given, mode), given);
    }
}

#[test]
fn a_parameter_equals_a_literal_of_the_same_value() {
    for (literal, type_oid, parameter, sign) in [
        ("'a''b'", 25, "a'b", ""),
        ("E'a\\nb'", 0, "a\nb", ""),
        ("42", 23, "42", ""),
        ("42", 0, "42", ""),
        ("42", 20, " +042 ", ""),
        ("-42", 23, "-42", "-"),
        ("-1.50", 1700, "-1.50", "-"),
        ("1000", 701, "1e+3", ""),
        ("'\\x00ff'", 17, "\\x00ff", ""),
        ("B'101'", 1560, "101", ""),
        ("'NaN'", 1700, "NaN", ""),
        ("'-42'", 25, "-42", ""),
    ] {
        let kept = in_mode(&statement(&format!("SELECT {literal}"), &[(type_oid, parameter)]), Mode::Both);
        let literal = text(&kept).strip_prefix("SELECT ").unwrap().replace('\'', "");
        let parameter = value(&kept, 0);
        assert_eq!(literal, parameter);
        assert!(parameter.strip_prefix(sign).unwrap().starts_with("fp:"), "{parameter}");
    }
}

#[test]
fn what_is_no_readable_value_stays() {
    let mut given = statement("SELECT $1, $2, $3", &[(25, "a"), (25, "b"), (25, "c")]);
    let kept = [Value::Null, Value::Opaque { format: Format::Binary, bytes: 5 }, Value::Redacted];
    for (parameter, value) in given.parameters.as_mut().unwrap().iter_mut().zip(kept) {
        parameter.value = value;
    }
    assert_eq!(in_mode(&given, Mode::Both), given);
}

#[test]
fn secrets_are_taken_out_first() {
    let mut given = statement("ALTER ROLE x PASSWORD 'S' CONNECTION LIMIT 5", &[(25, "S")]);
    given.outcomes = vec![failed("22023", "S")];
    let kept = in_mode(&given, Mode::Both);
    assert_eq!(text(&kept), "ALTER ROLE x PASSWORD '***' CONNECTION LIMIT '***'");
    assert_eq!(value(&kept, 0), "Some(Redacted)");
    assert_eq!(kept.outcomes, [failed("22023", WITHHELD_MESSAGE)]);
    let kept = in_mode(&statement("SELECT $1", &[(25, "postgres://u:S@h/db")]), Mode::Parameters);
    assert_eq!(value(&kept, 0), "Some(Redacted)");
}

#[test]
fn messages_may_quote_values() {
    let mut given = statement("SELECT $1::int", &[(25, "abc")]);
    given.outcomes = vec![failed("22P02", "invalid input syntax for type integer: \"abc\"")];
    assert_eq!(in_mode(&given, Mode::None), given);
    for mode in [Mode::Literals, Mode::Parameters, Mode::Both] {
        let kept = in_mode(&given, mode);
        let [Outcome::Failed { message, sqlstate, .. }] = &kept.outcomes[..] else {
            panic!("{kept:?}");
        };
        assert!(message.starts_with("message withheld: it may quote a value (fp:"), "{message}");
        assert_eq!(sqlstate, "22P02");
        assert!(kept.redacted);
    }
}

#[test]
fn words_that_the_server_did_not_know_may_be_values() {
    for (sqlstate, query) in [
        ("42601", "SELECT * FROM t WHERE name = John Smith"),
        ("42703", "SELECT * FROM t WHERE name = \"John Smith\""),
        ("42P01", "SELECT * FROM t WHERE name = john.smith"),
    ] {
        let mut given = statement(query, &[]);
        given.outcomes = vec![failed(sqlstate, "no")];
        assert!(is_withheld(text(&in_mode(&given, Mode::Literals))), "{query}");
        assert_eq!(text(&in_mode(&given, Mode::Parameters)), query);
    }
    let mut given = statement("INSERT INTO t VALUES (a)", &[]);
    given.outcomes = vec![failed("23505", "duplicate key")];
    assert_eq!(text(&in_mode(&given, Mode::Both)), "INSERT INTO t VALUES (a)");
}

#[test]
fn of_a_cut_text_nothing_stays() {
    let mut given = statement("", &[]);
    let mut seen = Vec::new();
    for bytes in [1 << 20, 2 << 20] {
        given.text = Text::Truncated { beginning: Arc::from("INSERT INTO t VALUES ('alice', 1"), bytes };
        assert_eq!(in_mode(&given, Mode::Parameters), given);
        let kept = in_mode(&given, Mode::Literals);
        assert!(matches!(kept.text, Text::Truncated { bytes: length, .. } if length == bytes));
        assert!(is_withheld(text(&kept)));
        seen.push(text(&kept).to_owned());
        assert_eq!(redact::text_in_mode(&given.text, Mode::Both, &key()), kept.text);
    }
    assert_ne!(seen[0], seen[1], "texts of different length differ");
    given.text = Text::Unknown(UnknownText::NoSuchName);
    assert_eq!(in_mode(&given, Mode::Both), given);
}

#[test]
fn a_text_alone_is_redacted_like_its_statement() {
    for query in ["SELECT 'a'", "SELECT 'a", "ALTER ROLE x PASSWORD 'S'", "SELECT 'password', 5", "SELECT a"] {
        for mode in MODES {
            let given = statement(query, &[]);
            assert_eq!(redact::text_in_mode(&given.text, mode, &key()), in_mode(&given, mode).text, "{query}");
        }
    }
}
