//! Laws that hold for every text.

use proptest::prelude::*;
use sql::catalogue::Catalogue;
use sql::{Analyser, Limits};

use super::fuzz_body;
use super::render::{facts, state, words};
use model::facts::Action;

/// Statements in pieces that may stand apart, with the action that must be found in them.
pub(crate) const STATEMENTS: &[(&[&str], Action)] = &[
    (&["SELECT", "a", ",", "b", "FROM", "t", "WHERE", "a", "=", "'x''y'", "AND", "b", ">", "1"], Action::Select),
    (&["INSERT", "INTO", "t", "(", "a", ")", "VALUES", "(", "1", ")"], Action::Insert),
    (&["UPDATE", "t", "SET", "a", "=", "1", "WHERE", "b", "=", "E'\\''"], Action::Update),
    (&["DELETE", "FROM", "t", "WHERE", "a", "IN", "(", "1", ",", "2", ")"], Action::Delete),
    (
        &["WITH", "x", "AS", "(", "DELETE", "FROM", "t", "RETURNING", "*", ")", "SELECT", "*", "FROM", "x"],
        Action::Delete,
    ),
    (
        &["MERGE", "INTO", "t", "USING", "s", "ON", "t.a", "=", "s.a", "WHEN", "MATCHED", "THEN", "DELETE"],
        Action::Delete,
    ),
    (&["EXPLAIN", "ANALYZE", "UPDATE", "t", "SET", "a", "=", "1"], Action::Update),
    (
        &["COPY", "(", "INSERT", "INTO", "t", "VALUES", "(", "1", ")", "RETURNING", "a", ")", "TO", "STDOUT"],
        Action::Insert,
    ),
    (&["TRUNCATE", "TABLE", "t"], Action::Truncate),
    (&["DROP", "TABLE", "t"], Action::Drop),
    (&["CREATE", "TABLE", "t", "AS", "SELECT", "1"], Action::Create),
    (&["ALTER", "TABLE", "t", "DROP", "COLUMN", "a"], Action::Alter),
    (&["GRANT", "SELECT", "ON", "t", "TO", "bob"], Action::Grant),
    (&["SELECT", "pg_terminate_backend", "(", "1", ")"], Action::Admin),
];

/// What may stand between two tokens without meaning anything.
fn blank() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(" ".to_owned()),
        "[ \t\n\r\x0b\x0c]{1,4}",
        Just(" /* ; DROP TABLE x */ ".to_owned()),
        Just("/* a /* 'b */ $$ */".to_owned()),
        Just(" -- ' ; \"\n".to_owned()),
    ]
}

/// A keyword or name in any case; strings stay as they are.
fn in_any_case(piece: &str, upper: u64) -> String {
    if piece.contains('\'') {
        return piece.to_owned();
    }
    let turn = |(at, letter): (usize, char)| {
        if upper >> (at % 64) & 1 == 1 { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
    };
    piece.chars().enumerate().map(turn).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fuzz_any_bytes(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz_body::run(&data);
    }

    #[test]
    fn fuzz_words_of_sql(switches in any::<u8>(), words in proptest::collection::vec(0..WORDS.len(), 0..60)) {
        let text: String = words.into_iter().flat_map(|word| [WORDS[word], " "]).collect();
        fuzz_body::run(&[&[switches], text.as_bytes()].concat());
    }

    #[test]
    fn blanks_comments_and_case_change_nothing(
        which in 0..STATEMENTS.len(),
        blanks in proptest::collection::vec(blank(), 32),
        upper in any::<u64>(),
    ) {
        let (pieces, action) = STATEMENTS[which];
        let plain = facts(&pieces.join(" "));
        let mut text = String::new();
        for (piece, blank) in pieces.iter().zip(&blanks) {
            text.push_str(blank);
            text.push_str(&in_any_case(piece, upper));
        }
        let other = facts(&text);
        prop_assert_eq!(&plain, &other, "{}", text);
        prop_assert!(other.statements.iter().flat_map(|of| &of.effects).any(|effect| effect.action == action));
    }

    #[test]
    fn a_change_is_never_read_as_a_read(
        which in 1..STATEMENTS.len(),
        around in 0..AROUND.len(),
        second in 0..STATEMENTS.len(),
    ) {
        let (pieces, action) = STATEMENTS[which];
        let (before, after) = AROUND[around];
        let text = format!("{before}{}{after}; {}", pieces.join(" "), STATEMENTS[second].0.join(" "));
        let read = facts(&text);
        let is_there = read.statements.iter().flat_map(|of| &of.effects).any(|effect| effect.action == action);
        prop_assert!(is_there || read.opaque.is_some(), "{}: {}", text, words(&read));
    }

    #[test]
    fn the_cache_gives_what_the_analysis_gives(order in proptest::collection::vec((0..STATEMENTS.len(), any::<bool>()), 1..40)) {
        let mut cached = Analyser::new(Limits { cached_texts_max: 6, ..Limits::default() });
        for (which, conforming) in order {
            let state = sql::state::State { standard_conforming_strings: conforming, ..state() };
            let text = STATEMENTS[which].0.join(" ");
            let fresh = Analyser::new(Limits::default()).facts(text.as_bytes(), &state, &Catalogue::none());
            prop_assert_eq!(cached.facts(text.as_bytes(), &state, &Catalogue::none()), fresh);
        }
    }
}

/// What may stand around a statement without hiding it.
pub(crate) const AROUND: &[(&str, &str)] = &[
    ("", ""),
    ("SELECT 1; ", ""),
    ("/* */", "--"),
    ("SELECT ';'; ", "\n"),
    ("SELECT $$ $a$ $$; ", ""),
    ("SELECT E'\\''; ", ""),
    ("SELECT 1 AS \"/*\"; ", ""),
    ("SELECT U&'\\0027'; ", ""),
    ("BEGIN; ", "; COMMIT"),
];

pub(crate) const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "INSERT INTO",
    "VALUES",
    "UPDATE",
    "SET",
    "DELETE",
    "WITH",
    "AS",
    "t",
    "a.b",
    "*",
    "(",
    ")",
    ",",
    ";",
    "=",
    "1",
    "'x'",
    "$1",
    "\"Q\"",
    "UNION",
    "JOIN",
    "ON",
    "USING",
    "ORDER BY",
    "GROUP BY",
    "LIMIT",
    "NULL",
    "NOT",
    "AND",
    "OR",
    "IN",
    "EXISTS",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "::int",
    "[1]",
    "ARRAY[",
    "]",
    "f(",
    "COPY",
    "TO",
    "STDOUT",
    "PROGRAM",
    "EXPLAIN",
    "ANALYZE",
    "PREPARE",
    "EXECUTE",
    "DECLARE c CURSOR FOR",
    "FETCH",
    "CREATE TABLE",
    "CREATE VIEW",
    "ALTER TABLE",
    "DROP",
    "GRANT",
    "REVOKE",
    "ROLE",
    "SCHEMA",
    "FUNCTION",
    "TRIGGER",
    "RETURNING",
    "MERGE INTO",
    "MATCHED",
    "LATERAL",
    "XMLTABLE(",
    "JSON_TABLE(",
    "COLUMNS",
    "PASSING",
    "OVER (",
    "PARTITION BY",
    "FOR UPDATE",
    "TABLE",
    "COMMENT ON",
    "IS",
    "TRUE",
    "DO $$ $$",
    "CALL",
    "ON CONFLICT DO",
    "INTO",
    "TEMP",
    "||",
    "OPERATOR(s.+)",
    "COLLATE",
];
