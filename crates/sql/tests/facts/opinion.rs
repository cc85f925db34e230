//! The second parser is asked where it can change the outcome, and only there.

use proptest::prelude::*;
use sql::catalogue::Catalogue;
use sql::opinion::{in_words, seen};
use sql::state::State;
use sql::{Analyser, Limits};

use super::laws::{AROUND, STATEMENTS, WORDS};
use super::render::{check, state, words};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    /// The rule: what the second parser sees has its word in the text.
    #[test]
    fn it_sees_nothing_without_the_word(words in proptest::collection::vec(0..WORDS.len(), 0..12)) {
        let text: String = words.into_iter().flat_map(|word| [WORDS[word], " "]).collect();
        if let Some(seen) = seen(&text) {
            prop_assert!(seen.is_within(in_words(&text)), "{}", text);
        }
    }
}

#[test]
fn it_sees_the_changes_that_there_are() {
    for (pieces, _) in STATEMENTS {
        for (before, after) in AROUND {
            let text = format!("{before}{}{after}", pieces.join(" "));
            if let Some(seen) = seen(&text) {
                assert!(seen.is_within(in_words(&text)), "{text}");
            }
        }
    }
    assert!(!seen("DELETE FROM t").unwrap().is_empty());
    assert!(!seen("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x").unwrap().is_empty());
    assert!(seen("SELECT 'delete', \"update\" FROM drop_log").unwrap().is_empty());
}

#[test]
fn words_in_other_places_are_no_disagreement() {
    check("SELECT 'drop table x' AS \"delete\"", "SELECT: ");
    check("SELECT a FROM t FOR UPDATE", "SELECT: select t(a) all, lock t");
    check("GRANT UPDATE, DELETE ON t TO bob", "GRANT: grant t");
    check(
        "CREATE TRIGGER g AFTER UPDATE OR DELETE ON t EXECUTE FUNCTION f()",
        "CREATE TRIGGER: call f(), create [TRIGGER g], alter t, =relation(t)",
    );
    check("ALTER TABLE t DROP COLUMN a", "ALTER TABLE: alter t, =relation(t)");
    check("EXPLAIN DELETE FROM t", "EXPLAIN: explain session -");
    check("PREPARE p AS DELETE FROM t", "PREPARE: prepare session p, =prepared p {DELETE: delete t all}");
}

#[test]
fn a_change_that_only_the_second_parser_sees_is_opaque() {
    // It does not know that a backslash may take a quote's meaning away.
    let text = br"SELECT 'a\'; DELETE FROM t; --'";
    let state = State { standard_conforming_strings: false, ..state() };
    let facts = Analyser::new(Limits::default()).facts(text, &state, &Catalogue::none());
    assert_eq!(words(&facts), "opaque: disagreement");
}

#[test]
fn a_word_ends_where_no_byte_of_a_name_follows() {
    let text = "SELECT updated_at, deleted, insert$1, created, grant\u{e9}e, drop0 FROM altered";
    assert!(in_words(text).is_empty(), "{text}");
    for text in ["delete", "1delete", "x.delete", "DELETE/**/FROM t", "'drop'", "\"grant\"", "(update)", "create\n"] {
        assert!(!in_words(text).is_empty(), "{text}");
    }
}
