//! What names stand for, and for how long.

use crate::support::{c, check, check_session, client, s, server};
use wire_pg::Start::MidStream;

/// Bind and Execute of a named statement, and their answers.
fn use_of(statement: &str) -> (Vec<u8>, Vec<u8>) {
    (
        [client::bind_text(statement, &[]), client::execute("", 0), client::sync()].concat(),
        [server::bound(), server::complete("SET"), server::ready('I')].concat(),
    )
}

fn refused(statement: &str) -> (Vec<u8>, Vec<u8>) {
    (
        [client::bind_text(statement, &[]), client::sync()].concat(),
        [server::error("ERROR", "26000", "gone"), server::ready('I')].concat(),
    )
}

fn prepared(statement: &str, text: &str) -> (Vec<u8>, Vec<u8>) {
    ([client::parse(statement, text, &[]), client::sync()].concat(), [server::parsed(), server::ready('I')].concat())
}

fn query(text: &str, tag: &str) -> (Vec<u8>, Vec<u8>) {
    (client::query(text), [server::complete(tag), server::ready('I')].concat())
}

fn talk(turns: &[(Vec<u8>, Vec<u8>)]) -> Vec<crate::support::Piece> {
    turns.iter().flat_map(|(ask, answer)| [c(&[ask.clone()]), s(&[answer.clone()])]).collect()
}

#[test]
fn named_statements_live_until_they_are_deallocated() {
    check_session(
        &talk(&[
            prepared("s", "A"),
            use_of("s"),
            query("SELECT 1", "SELECT 1"),
            use_of("s"),
            query("DEALLOCATE ALL", "DEALLOCATE ALL"),
            refused("s"),
            prepared("s", "B"),
            query("DISCARD ALL", "DISCARD ALL"),
            refused("s"),
        ]),
        "execute 'A' s=s p= I>I 5-6 [SET]
        simple 'SELECT 1' I>I 7-8 [SELECT 1 =1]
        execute 'A' s=s p= I>I 9-10 [SET]
        simple 'DEALLOCATE ALL' I>I 11-12 [DEALLOCATE ALL]
        bind ?NoSuchName s=s p= I>I 13-14 [ERROR 26000 gone]
        simple 'DISCARD ALL' I>I 17-18 [DISCARD ALL]
        bind ?NoSuchName s=s p= I>I 19-20 [ERROR 26000 gone]",
    );
}

#[test]
fn the_unnamed_statement_is_replaced_and_destroyed_by_a_query() {
    check_session(
        &talk(&[prepared("", "A"), use_of(""), prepared("", "B"), use_of(""), query("Q", "SET"), refused("")]),
        "execute 'A' s= p= I>I 5-6 [SET]
        execute 'B' s= p= I>I 9-10 [SET]
        simple 'Q' I>I 11-12 [SET]
        bind ?NoSuchName s= p= I>I 13-14 [ERROR 26000 gone]",
    );
}

#[test]
fn a_failed_parse_makes_no_name_for_the_next_pipelined_batch() {
    let again = [client::parse("s", "B", &[]), client::sync()].concat();
    check_session(
        &[
            talk(&[prepared("s", "A")]),
            vec![
                c(&[again, use_of("s").0]),
                s(&[server::error("ERROR", "42P05", "s exists"), server::ready('I'), use_of("s").1]),
            ],
        ]
        .concat(),
        "parse 'B' s=s I>I 5-6 [ERROR 42P05 s exists]
        execute 'A' s=s p= I>I 5-6 [SET]",
    );
}

#[test]
fn statements_made_by_sql_have_no_text_of_their_own() {
    check_session(
        &talk(&[query("PREPARE x AS SELECT 1", "PREPARE"), use_of("x")]),
        "simple 'PREPARE x AS SELECT 1' I>I 3-4 [PREPARE]
        execute ?None s=x p= I>I 5-6 [SET]",
    );
    // The name may have got a new meaning behind the protocol's back.
    check_session(
        &talk(&[
            prepared("x", "A"),
            query("DEALLOCATE x", "DEALLOCATE"),
            use_of("x"),
            query("PREPARE x AS B", "PREPARE"),
            use_of("x"),
        ]),
        "simple 'DEALLOCATE x' I>I 5-6 [DEALLOCATE]
        execute 'A' s=x p= I>I 7-8 [SET]
        simple 'PREPARE x AS B' I>I 9-10 [PREPARE]
        execute ?None s=x p= I>I 11-12 [SET]",
    );
}

#[test]
fn portals_live_until_the_transaction_ends() {
    let bind = [client::bind("p", "s", &[], &[]), client::sync()].concat();
    let bound = [server::bound(), server::ready('T')].concat();
    let execute = [client::execute("p", 0), client::sync()].concat();
    check_session(
        &talk(&[
            prepared("s", "A"),
            (client::query("BEGIN"), [server::complete("BEGIN"), server::ready('T')].concat()),
            (bind, bound),
            (execute.clone(), [server::complete("SELECT 0"), server::ready('T')].concat()),
            query("COMMIT", "COMMIT"),
            (execute, [server::error("ERROR", "34000", "gone"), server::ready('I')].concat()),
        ]),
        "simple 'BEGIN' I>O 5-6 [BEGIN]
        execute 'A' s=s p=p O>O 9-10 [SELECT 0 =0]
        simple 'COMMIT' O>I 11-12 [COMMIT]
        execute ?NoSuchName p=p (?) I>I 13-14 [ERROR 34000 gone]",
    );
}

#[test]
fn names_older_than_the_observer() {
    check(
        MidStream,
        &talk(&[
            use_of("old"),
            use_of(""),
            query("SELECT 1", "SELECT 1"),
            refused(""),
            prepared("old", "A"),
            use_of("old"),
            query("DISCARD ALL", "DISCARD ALL"),
            refused("older"),
        ]),
        "execute ?PreparedBeforeStart s=old p= ?>I 1-2 [SET]
        execute ?PreparedBeforeStart s= p= I>I 3-4 [SET]
        simple 'SELECT 1' I>I 5-6 [SELECT 1 =1]
        bind ?NoSuchName s= p= I>I 7-8 [ERROR 26000 gone]
        execute 'A' s=old p= I>I 11-12 [SET]
        simple 'DISCARD ALL' I>I 13-14 [DISCARD ALL]
        bind ?NoSuchName s=older p= I>I 15-16 [ERROR 26000 gone]",
    );
}

#[test]
fn more_names_than_are_kept() {
    let many: Vec<_> = (0..4100).map(|n| prepared(&format!("s{n}"), "A")).collect();
    let turns = [many, vec![use_of("s4095"), use_of("s4096")]].concat();
    check_session(
        &talk(&turns),
        "execute 'A' s=s4095 p= I>I 8203-8204 [SET]
        execute ?TooManyNames s=s4096 p= I>I 8205-8206 [SET]",
    );
}
