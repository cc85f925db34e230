//! Parse, Bind, Describe, Execute, Close, Flush, Sync.

use model::wire::Side::Server;

use crate::support::{Piece, c, check_session, client, s, server};

#[test]
fn one_batch() {
    check_session(
        &[
            c(&[
                client::parse("", "SELECT $1", &[23]),
                client::bind_text("", &["7"]),
                client::describe('P', ""),
                client::execute("", 0),
                client::sync(),
            ]),
            s(&[
                server::parsed(),
                server::bound(),
                server::row_description(),
                server::row("7"),
                server::complete("SELECT 1"),
                server::ready('I'),
            ]),
        ],
        "execute 'SELECT $1' s= p= ('7':23) rows=1 I>I 3-4 [SELECT 1 =1]",
    );
}

#[test]
fn answers_that_were_skipped_count() {
    check_session(
        &[
            c(&[client::parse("s", "SELECT $1", &[]), client::describe('S', "s"), client::sync()]),
            s(&[server::parsed(), server::parameters(&[25])]),
            Piece::Skipped(Server, b'T', 30, 1),
            s(&[server::ready('I')]),
            c(&[client::bind_text("s", &["x"]), client::execute("", 0), client::sync()]),
            s(&[server::bound()]),
            Piece::Skipped(Server, b'D', 12, 1),
            s(&[server::complete("SELECT 1"), server::ready('I')]),
        ],
        "execute 'SELECT $1' s=s p= ('x':25) rows=1 I>I 7-10 [SELECT 1 =1]",
    );
}

#[test]
fn row_limits_suspend_and_resume() {
    let rows = [server::row("1"), server::row("2")].concat();
    check_session(
        &[
            c(&[
                client::parse("s", "SELECT x", &[]),
                client::bind("p", "s", &[], &[]),
                client::execute("p", 2),
                client::flush(),
            ]),
            s(&[server::parsed(), server::bound(), rows.clone(), server::suspended()]),
            c(&[client::execute("p", 2), client::flush()]),
            s(&[rows, server::suspended()]),
            c(&[client::execute("p", 0), client::close('P', "p"), client::sync()]),
            s(&[server::complete("SELECT 4"), server::closed(), server::ready('I')]),
            c(&[client::execute("p", 0), client::sync()]),
            s(&[server::error("ERROR", "34000", "portal \"p\" does not exist"), server::ready('I')]),
        ],
        "execute 'SELECT x' s=s p=p limit=2 rows=2 I>? 3-4 [suspended 2]
        execute 'SELECT x' s=s p=p limit=2 rows=2 resumed I>? 5-6 [suspended 2]
        execute 'SELECT x' s=s p=p resumed I>I 7-8 [SELECT 4 =4]
        execute ?NoSuchName p=p (?) I>I 9-10 [ERROR 34000 portal \"p\" does not exist]",
    );
}

#[test]
fn an_error_skips_everything_up_to_sync() {
    let insert = |value: &str| [client::bind_text("i", &[value]), client::execute("", 0)].concat();
    check_session(
        &[
            c(&[client::parse("i", "INSERT", &[]), insert("1"), insert("2"), insert("3"), client::query("SELECT 1")]),
            s(&[server::parsed(), server::bound(), server::complete("INSERT 0 1"), server::bound()]),
            s(&[server::error("ERROR", "23505", "duplicate")]),
            // Skipped as well: the server has not seen Sync yet.
            c(&[
                client::parse("j", "UPDATE", &[]),
                client::bind_text("j", &[]),
                client::execute("", 0),
                client::sync(),
            ]),
            s(&[server::ready('I')]),
            c(&[insert("4"), client::sync()]),
            s(&[server::bound(), server::complete("INSERT 0 1"), server::ready('I')]),
            c(&[client::bind_text("j", &[]), client::execute("", 0), client::sync()]),
            s(&[server::error("ERROR", "26000", "no statement j"), server::ready('I')]),
        ],
        "execute 'INSERT' s=i p= ('1') I>? 3-4 [INSERT 0 1 =1]
        execute 'INSERT' s=i p= ('2') I>? 3-5 [ERROR 23505 duplicate]
        execute 'INSERT' s=i p= ('3') I>? 3- [] Discarded
        simple 'SELECT 1' I>? 3- [] Discarded
        execute 'UPDATE' s=j p= I>? 6- [] Discarded
        execute 'INSERT' s=i p= ('4') I>I 8-9 [INSERT 0 1 =1]
        bind ?NoSuchName s=j p= I>I 10-11 [ERROR 26000 no statement j]
        execute ?NoSuchName s=j p= I>I 10- [] Discarded",
    );
}

#[test]
fn refused_messages_are_statements() {
    check_session(
        &[
            c(&[
                client::parse("s", "SELEC 1", &[]),
                client::bind_text("s", &["1"]),
                client::execute("", 0),
                client::sync(),
            ]),
            s(&[server::error("ERROR", "42601", "syntax error"), server::ready('I')]),
            c(&[client::parse("s", "SELECT $1::int", &[]), client::bind_text("s", &["x"]), client::execute("", 0)]),
            c(&[client::sync()]),
            s(&[server::parsed(), server::error("ERROR", "22P02", "invalid input"), server::ready('I')]),
            c(&[client::describe('S', "s2"), client::sync()]),
            s(&[server::error("ERROR", "26000", "no s2"), server::ready('I')]),
            c(&[client::describe('P', "p2"), client::sync()]),
            s(&[server::error("ERROR", "34000", "no p2"), server::ready('I')]),
        ],
        "parse 'SELEC 1' s=s I>I 3-4 [ERROR 42601 syntax error]
        execute 'SELEC 1' s=s p= ('1') I>I 3- [] Discarded
        bind 'SELECT $1::int' s=s p= ('x') I>I 5-7 [ERROR 22P02 invalid input]
        execute 'SELECT $1::int' s=s p= ('x') I>I 5- [] Discarded
        describe ?NoSuchName s=s2 I>I 8-9 [ERROR 26000 no s2]
        describe ?NoSuchName p=p2 I>I 10-11 [ERROR 34000 no p2]",
    );
}

#[test]
fn batches_are_pipelined_to_any_depth() {
    let batch = |text: &str| {
        [client::parse("", text, &[]), client::bind_text("", &[]), client::execute("", 0), client::sync()].concat()
    };
    let answer = [server::parsed(), server::bound(), server::complete("SET"), server::ready('I')].concat();
    let expect: Vec<_> = (0..50).map(|n| format!("execute 'SET a = {n}' s= p= I>I 3-4 [SET]")).collect();
    check_session(
        &[c(&(0..50).map(|n| batch(&format!("SET a = {n}"))).collect::<Vec<_>>()), s(&vec![answer; 50])],
        &expect.join("\n"),
    );
}

#[test]
fn the_transaction_after_is_known_only_with_its_ready() {
    check_session(
        &[
            c(&[client::parse("", "BEGIN", &[]), client::bind_text("", &[]), client::execute("", 0), client::sync()]),
            s(&[server::parsed(), server::bound(), server::complete("BEGIN"), server::ready('T')]),
            c(&[client::parse("", "COMMIT", &[]), client::bind_text("", &[]), client::execute("", 0), client::sync()]),
            s(&[server::parsed(), server::bound(), server::complete("COMMIT")]),
            s(&[server::ready('I')]),
        ],
        "execute 'BEGIN' s= p= I>O 3-4 [BEGIN]
        execute 'COMMIT' s= p= O>? 5-6 [COMMIT]",
    );
}

#[test]
fn an_error_of_the_commit_at_sync_is_no_statements() {
    check_session(
        &[
            c(&[client::parse("", "INSERT", &[]), client::bind_text("", &[]), client::execute("", 0), client::sync()]),
            s(&[server::parsed(), server::bound(), server::complete("INSERT 0 1")]),
            s(&[server::error("ERROR", "23503", "deferred constraint"), server::ready('I')]),
        ],
        "execute 'INSERT' s= p= I>? 3-4 [INSERT 0 1 =1]
        refused ERROR 23503 deferred constraint",
    );
}

#[test]
fn parameters_with_formats_and_types() {
    let values: &[Option<&[u8]>] = &[Some(&[0, 0, 0, 5]), Some(b"txt"), None, Some(&[1, 2])];
    check_session(
        &[
            c(&[
                client::parse("", "q", &[23, 0, 25]),
                client::bind("", "", &[1, 0, 0, 1], values),
                client::execute("", 0),
                client::bind("", "", &[1], &[Some(&[0, 0, 0, 6])]),
                client::execute("", 0),
                client::sync(),
            ]),
            s(&[server::parsed(), server::bound(), server::complete("SET"), server::bound(), server::complete("SET")]),
            s(&[server::ready('I')]),
        ],
        "execute 'q' s= p= ('5':23, 'txt', NULL:25, binary[2]) I>? 3-4 [SET]
        execute 'q' s= p= ('6':23) I>? 3-4 [SET]",
    );
}

#[test]
fn types_from_a_description_that_comes_after_the_bind() {
    check_session(
        &[
            c(&[
                client::parse("s", "q", &[]),
                client::bind("", "s", &[1], &[Some(&[0, 0, 0, 5])]),
                client::describe('S', "s"),
                client::execute("", 0),
                client::sync(),
            ]),
            s(&[server::parsed(), server::bound(), server::parameters(&[23]), server::no_data()]),
            s(&[server::complete("SET"), server::ready('I')]),
        ],
        "execute 'q' s=s p= ('5':23) I>I 3-5 [SET]",
    );
}

#[test]
fn values_beyond_the_limits_are_opaque() {
    let long = vec![b'v'; 5000];
    let block = vec![b'w'; 4096];
    let mut values: Vec<Option<&[u8]>> = vec![Some(&long)];
    values.extend(vec![Some(&block[..]); 17]);
    let shown = format!("'{}'", "w".repeat(4096));
    let expect = format!("text[5000], {}, text[4096]", vec![shown; 16].join(", "));
    check_session(
        &[
            c(&[
                client::parse("", "q", &[]),
                client::bind("", "", &[], &values),
                client::execute("", 0),
                client::sync(),
            ]),
            s(&[server::parsed(), server::bound(), server::complete("SET"), server::ready('I')]),
        ],
        &format!("execute 'q' s= p= ({expect}) I>I 3-4 [SET]"),
    );
}

#[test]
fn a_query_in_between_needs_no_sync() {
    check_session(
        &[
            c(&[client::parse("", "a", &[]), client::bind_text("", &[]), client::execute("", 0), client::query("b")]),
            s(&[
                server::parsed(),
                server::bound(),
                server::complete("SET"),
                server::complete("SET"),
                server::ready('I'),
            ]),
        ],
        "execute 'a' s= p= I>? 3-4 [SET]
        simple 'b' I>I 3-4 [SET]",
    );
}

#[test]
fn a_response_that_nothing_asked_for() {
    check_session(
        &[
            c(&[client::query("SELECT 1")]),
            s(&[server::parsed(), server::complete("SELECT 1"), server::ready('I')]),
            c(&[client::query("SELECT 2")]),
            s(&[server::complete("SELECT 1"), server::ready('I')]),
        ],
        "violation Server a response that nothing asked for
        simple 'SELECT 1' ?>? 3- [] Lost
        simple 'SELECT 2' I>I 5-6 [SELECT 1 =1]",
    );
}
