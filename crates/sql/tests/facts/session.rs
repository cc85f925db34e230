//! What statements change about their session, and what that changes about others.

use std::sync::Arc;

use model::Known;
use model::facts::{StateChange, UnknownSchema};
use sql::catalogue::Catalogue;
use sql::session::Session;
use sql::state::Encoding;
use sql::{Analyser, Limits};

use super::render::{check, state, words};

#[test]
fn parameters() {
    check("SET search_path = a, \"B c\"", "SET: set_parameter parameter search_path, =search_path:\"a\", \"B c\"");
    check("SET LOCAL work_mem TO '1MB'", "SET: set_parameter parameter work_mem, =work_mem:1MB local");
    check("SET NAMES 'latin1'", "SET: set_parameter parameter client_encoding, =client_encoding:latin1");
    check("RESET search_path", "RESET: set_parameter parameter search_path, =search_path:?");
    check("RESET ALL", "RESET: set_parameter parameter -, =reset");
    check("SHOW search_path", "SHOW: show parameter search_path");
    check("SET ROLE bob", "SET: set_role role bob, =role, =role:bob");
    check("SET ROLE NONE", "SET: set_role role -, =role, =role:?");
    check("SET SESSION AUTHORIZATION bob", "SET: set_role role bob, =role, =session_authorization:bob");
    check(
        "SET TRANSACTION READ WRITE",
        "SET: set_parameter parameter transaction_read_only, =transaction_read_only:0 local",
    );
    check(
        "SELECT pg_catalog.set_config('search_path', '', false)",
        "SELECT: set_parameter parameter search_path, =search_path:",
    );
    check(
        "SELECT set_config('search_path', 'x', false) FROM t",
        "SELECT: select t all, set_parameter parameter search_path, =search_path:?",
    );
}

#[test]
fn parameters_that_are_told() {
    check("SELECT current_setting('Work_Mem')", "SELECT: show parameter work_mem");
    check("SELECT current_setting('a.b', true) FROM t", "SELECT: select t all, show parameter a.b");
    check("SELECT current_setting(name) FROM t", "SELECT: select t(name) all, show parameter -");
    check("SHOW ALL", "SHOW: show parameter -");
}

#[test]
fn names_of_the_session() {
    check("PREPARE p AS DELETE FROM t", "PREPARE: prepare session p, =prepared p {DELETE: delete t all}");
    check("EXECUTE p(1)", "EXECUTE: execute session p, =executes p");
    check("DEALLOCATE ALL", "DEALLOCATE ALL: prepare session -, =deallocated -");
    check("DECLARE c CURSOR FOR SELECT a FROM t", "DECLARE CURSOR: select t(a) all, cursor session c");
    check("FETCH 10 FROM c", "FETCH: cursor session c");
    check("EXPLAIN DELETE FROM t WHERE id = 1", "EXPLAIN: select t(id) some, explain session -");
    check("EXPLAIN SELECT app.evil(1)", "EXPLAIN: call app.evil(), explain session -");
    check("EXPLAIN EXECUTE p", "EXPLAIN: explain session -, =executes p");
    check("EXPLAIN (ANALYZE) DELETE FROM t", "EXPLAIN: delete t all, explain session -");
    check("EXPLAIN (ANALYZE off) DELETE FROM t", "EXPLAIN: explain session -");
    check(
        "BEGIN; COMMIT AND CHAIN",
        "BEGIN: transaction session -, =begin; COMMIT: transaction session -, =end, =begin",
    );
    check("ROLLBACK TO SAVEPOINT s", "ROLLBACK: transaction session s, =rolled back");
    check("PREPARE TRANSACTION 'a'", "PREPARE TRANSACTION: transaction [PREPARED TRANSACTION a], =end");
    check("COMMIT PREPARED 'a'", "COMMIT PREPARED: transaction [PREPARED TRANSACTION a], =catalogue");
    check("ROLLBACK PREPARED 'a'", "ROLLBACK PREPARED: transaction [PREPARED TRANSACTION a]");
    check("DISCARD ALL", "DISCARD ALL: discard session -, =discard");
    check("LISTEN a; NOTIFY b, 'x'", "LISTEN: listen session a; NOTIFY: notify session b");
}

#[test]
fn a_path_within_a_text_ends_with_its_transaction() {
    let path = |changes: &[StateChange]| {
        let mut state = state();
        changes.iter().for_each(|change| state.apply(change));
        state.search_path
    };
    let unknown = Known::Unknown(UnknownSchema::SearchPath);
    let known = Known::Known(Arc::from([Arc::from("a")]));
    assert_eq!(path(&[set("search_path", "a", true)]), known);
    for change in [set("search_path", "a", true), set("search_path", "a", false)] {
        assert_eq!(path(&[StateChange::Begin, change, StateChange::End]), unknown);
    }
    let timeout = set("statement_timeout", "1s", true);
    assert_eq!(path(&[StateChange::Begin, timeout, StateChange::End]), state().search_path);
}

#[test]
fn a_path_that_the_server_told_is_another_one_for_another_role() {
    let mut state = state();
    state.apply(&set("role", "bob", false));
    assert!(matches!(state.search_path, Known::Known(_)), "it says $user");
    state.apply(&set("search_path", "a", false));
    state.apply(&set("role", "carol", false));
    assert_eq!(state.search_path, Known::Unknown(UnknownSchema::SearchPath));
}

fn set(name: &str, value: &str, local: bool) -> StateChange {
    StateChange::Parameter { name: Arc::from(name), value: Some(Arc::from(value)), local }
}

fn path(session: &Session) -> String {
    match &session.state().search_path {
        Known::Known(path) => path.join(" "),
        Known::Unknown(reason) => reason.word().to_owned(),
    }
}

#[test]
fn transactions_take_back_what_they_set() {
    let mut session = Session::new(state());
    session.apply(&StateChange::Begin);
    session.apply(&set("search_path", "a, \"B\"", true));
    assert_eq!(path(&session), "a B");
    session.commit();
    assert_eq!(path(&session), "$user public");

    session.apply(&StateChange::Begin);
    session.apply(&set("search_path", "a", false));
    session.rollback();
    assert_eq!(path(&session), "$user public");

    session.apply(&StateChange::Begin);
    session.apply(&set("search_path", "a", false));
    session.apply(&StateChange::RolledBackTo);
    assert_eq!(path(&session), "search_path");
    session.rollback();
    session.apply(&set("search_path", "b", false));
    session.apply(&StateChange::DiscardAll);
    assert_eq!(path(&session), "$user public");
}

#[test]
fn a_savepoint_may_keep_a_value_that_the_transaction_left() {
    let mut session = Session::new(state());
    session.apply(&StateChange::Begin);
    session.apply(&set("search_path", "a", false));
    session.apply(&set("search_path", "\"$user\", public", false));
    session.apply(&StateChange::RolledBackTo);
    assert_eq!(path(&session), "search_path");
}

#[test]
fn strings_are_read_as_the_session_reads_them() {
    let mut analyser = Analyser::new(Limits::default());
    let text = br"SELECT 'a\' FROM secrets --' ";
    let mut state = state();
    let conforming = analyser.facts(text, &state, &Catalogue::none());
    assert_eq!(words(&conforming), "SELECT: select secrets all");
    state.apply(&set("standard_conforming_strings", "off", false));
    let escaping = analyser.facts(text, &state, &Catalogue::none());
    assert_eq!(words(&escaping), "SELECT: ");
}

#[test]
fn encodings() {
    let mut analyser = Analyser::new(Limits::default());
    let mut facts = |text: &[u8], encoding| {
        words(&analyser.facts(text, &sql::state::State { encoding, ..state() }, &Catalogue::none()))
    };
    assert_eq!(facts(b"SELECT a FROM \"\xe9\"", Encoding::Latin1), "SELECT: select \u{e9}(a) all");
    assert_eq!(facts(b"SELECT a FROM \"\xe9\"", Encoding::Utf8), "opaque: encoding");
    assert_eq!(facts(b"SELECT a FROM \"\xe9\"", Encoding::Other), "opaque: encoding");
    assert_eq!(facts(b"SELECT a FROM t", Encoding::Other), "SELECT: select t(a) all");
    assert_eq!(facts(b"SELECT 1\0", Encoding::Utf8), "opaque: encoding");
}

#[test]
fn an_unknown_setting_is_never_taken_for_a_known_one() {
    let mut state = state();
    state.apply(&StateChange::Parameter { name: Arc::from("client_encoding"), value: None, local: false });
    assert_eq!(
        words(&Analyser::new(Limits::default()).facts(b"SELECT 1", &state, &Catalogue::none())),
        "opaque: session_state"
    );
    let mut state = super::render::state();
    state.apply(&StateChange::Parameter { name: Arc::from("search_path"), value: None, local: false });
    assert_eq!(state.search_path, Known::Unknown(UnknownSchema::SearchPath));
}
