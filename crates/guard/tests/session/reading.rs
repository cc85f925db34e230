//! How a text is read is a setting, and the server reports a change of it with ReadyForQuery only.

use model::verdict::Mode;

use crate::wire::{bind, execute, message, once, parse, query, sync};
use crate::{Session, kinds};

/// With `standard_conforming_strings` off the first string goes on to the last quote, and rows are deleted.
const BETWEEN_RULES: &str =
    r"WITH x AS (SELECT '\''), d AS (DELETE FROM orders RETURNING 1) SELECT 1 FROM d --') SELECT 1";

/// Sends one batch without a transaction before it; what the client gets.
fn batch(session: &mut Session, texts: &[&str]) -> String {
    let mut bytes: Vec<u8> = texts.iter().flat_map(|text| once(text)).collect();
    bytes.extend(sync());
    kinds(&session.send(&bytes))
}

fn session() -> Session {
    Session::new(Mode::Enforce, usize::MAX)
}

#[test]
fn behind_a_change_in_its_batch_a_text_is_not_read_by_the_rules_of_before() {
    for change in [
        "set standard_conforming_strings = off",
        "set client_encoding = 'SJIS'",
        "select set_config('standard_conforming_strings', 'off', false)",
        "reset all",
        "discard all",
    ] {
        let mut session = session();
        let got = batch(&mut session, &[change, BETWEEN_RULES]);
        assert!(got.starts_with("12CE"), "{change}: {got}");
        assert_eq!(session.server.deletes, 0, "{change}");
        assert_eq!(batch(&mut session, &["select 1"]), "12CZ", "the report makes it known again");
    }
}

#[test]
fn behind_the_end_of_a_transaction_that_changed_it_neither() {
    for end in ["commit", "rollback", "rollback to s"] {
        let mut session = session();
        session.send(&query("begin"));
        session.send(&query("savepoint s"));
        assert!(kinds(&session.send(&query("set local standard_conforming_strings = off"))).starts_with("CS"));
        let got = batch(&mut session, &[end, "select 1"]);
        assert!(got.starts_with("12CE"), "{end}: {got}");
    }
}

#[test]
fn what_changes_nothing_of_it_can_go_on_in_its_batch() {
    let mut session = session();
    for text in ["set application_name = 'x'", "set search_path = a", "begin", "commit"] {
        assert_eq!(batch(&mut session, &[text, "select 1"]), "12C12CZ", "{text}");
    }
    assert_eq!(batch(&mut session, &["begin", "set local search_path = a", "commit", "select 1"]), "12C12C12C12CZ");
}

#[test]
fn behind_code_the_server_is_asked() {
    let mut session = session();
    assert_eq!(batch(&mut session, &["select app.other()", "select 1"]), "12C12CZ");
    let got = batch(&mut session, &["select app.off()", BETWEEN_RULES]);
    assert!(got.starts_with("12CE"), "{got}");
    assert_eq!(session.server.deletes, 0);
}

#[test]
fn code_that_ran_for_a_plan_counts_before_the_next_text() {
    let mut session = session();
    session.send(&query("select 0"));
    let asked = session.server.asked;
    let planned = [parse("", "select app.other()"), bind("p", "")].concat();
    let got = session.send(&[planned, once("select 1"), execute("p"), sync()].concat());
    assert_eq!(kinds(&got), "1212CCZ");
    assert_eq!(session.server.asked, asked + 1);
}

#[test]
fn what_is_no_utf8_is_not_read_as_something_else() {
    let mut session = session();
    session.send(&query("set client_encoding = 'LATIN1'"));
    let got = session.send(&message(b'Q', b"select 'caf\xe9'\0"));
    assert!(String::from_utf8_lossy(&got[0].1).contains("not understood (encoding)"), "{got:?}");
}
