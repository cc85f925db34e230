//! Query, FunctionCall, errors, things that come at any time.

use model::wire::Side::{Client, Server};

use crate::support::{Piece, c, check_session, client, s, server};

#[test]
fn one_query() {
    check_session(
        &[
            c(&[client::query("SELECT 1")]),
            s(&[server::row_description(), server::row("1"), server::complete("SELECT 1"), server::ready('I')]),
        ],
        "simple 'SELECT 1' rows=1 I>I 3-4 [SELECT 1 =1]",
    );
}

#[test]
fn several_statements_in_one_query() {
    check_session(
        &[
            c(&[client::query("BEGIN; INSERT INTO t VALUES (1); ; SELECT 1/0; SELECT 2")]),
            s(&[server::complete("BEGIN")]),
            s(&[server::complete("INSERT 0 1"), server::error("ERROR", "22012", "division by zero")]),
            s(&[server::ready('E')]),
            c(&[client::query("ROLLBACK")]),
            s(&[server::complete("ROLLBACK"), server::ready('I')]),
        ],
        "simple 'BEGIN; INSERT INTO t VALUES (1); ; SELECT 1/0; SELECT 2' I>F 3-5 \
             [BEGIN; INSERT 0 1 =1; ERROR 22012 division by zero]
        simple 'ROLLBACK' F>I 7-8 [ROLLBACK]",
    );
}

#[test]
fn an_empty_query() {
    check_session(&[c(&[client::query("")]), s(&[server::empty(), server::ready('I')])], "simple '' I>I 3-4 [empty]");
}

#[test]
fn outcomes_beyond_the_limit_are_counted() {
    let completes: Vec<_> = (0..70).map(|_| server::complete("SET")).collect();
    let outcomes = vec!["SET"; 64].join("; ");
    check_session(
        &[c(&[client::query("SET x = 1; ...")]), s(&completes), s(&[server::ready('I')])],
        &format!("simple 'SET x = 1; ...' dropped=6 I>I 3-4 [{outcomes}]"),
    );
}

#[test]
fn pipelined_queries_are_answered_in_order() {
    check_session(
        &[
            c(&[client::query("SELECT 1"), client::query("BEGIN"), client::query("SELECT x")]),
            s(&[server::complete("SELECT 1"), server::ready('I'), server::complete("BEGIN"), server::ready('T')]),
            s(&[server::error("ERROR", "42703", "no column"), server::ready('E')]),
        ],
        "simple 'SELECT 1' I>I 3-4 [SELECT 1 =1]
        simple 'BEGIN' I>O 3-4 [BEGIN]
        simple 'SELECT x' O>F 3-5 [ERROR 42703 no column]",
    );
}

#[test]
fn what_comes_at_any_time() {
    check_session(
        &[
            s(&[server::notification("idle", "payload"), server::status("TimeZone", "UTC")]),
            c(&[client::query("SELECT f()")]),
            s(&[server::notice("one"), server::row_description(), server::notice("two"), server::row("1")]),
            s(&[server::complete("SELECT 1"), server::notification("busy", ""), server::ready('I')]),
            s(&[server::notice("nobody's")]),
        ],
        "notification idle
        status TimeZone=UTC
        notification busy
        simple 'SELECT f()' rows=1 notices=2 I>I 4-6 [SELECT 1 =1]",
    );
}

#[test]
fn function_calls() {
    check_session(
        &[
            c(&[client::function_call(952)]),
            s(&[server::function_result(), server::ready('T')]),
            c(&[client::function_call(953)]),
            Piece::Skipped(Server, b'V', 13, 1),
            s(&[server::ready('T')]),
            c(&[client::function_call(954)]),
            s(&[server::error("ERROR", "42883", "no function"), server::ready('E')]),
        ],
        "function(952) ?None I>O 3-4 [returned]
        function(953) ?None O>O 5-6 [returned]
        function(954) ?None O>F 8-9 [ERROR 42883 no function]",
    );
}

#[test]
fn rows_that_were_skipped_are_counted() {
    check_session(
        &[
            c(&[client::query("SELECT * FROM t")]),
            Piece::Skipped(Server, b'T', 30, 1),
            Piece::Skipped(Server, b'D', 5000, 100),
            Piece::Skipped(Server, b'D', 300, 0),
            Piece::Skipped(Server, b'D', 40, 2),
            s(&[server::complete("SELECT 102"), server::ready('I')]),
        ],
        "simple 'SELECT * FROM t' rows=102 I>I 3-8 [SELECT 102 =102]",
    );
}

#[test]
fn texts_longer_than_what_was_captured() {
    let long = client::query(&"x".repeat(100));
    check_session(
        &[
            Piece::Bytes(Client, long[..25].to_vec()),
            Piece::Skipped(Client, b'Q', 81, 0),
            s(&[server::complete("SELECT 0"), server::ready('I')]),
            // A hole: what comes after it does not belong to the beginning.
            Piece::Bytes(Client, long[..15].to_vec()),
            Piece::Skipped(Client, b'Q', 10, 0),
            Piece::Bytes(Client, long[25..].to_vec()),
            s(&[server::complete("SELECT 0"), server::ready('I')]),
        ],
        "simple 'xxxxxxxxxxxxxxxxxxxx'..100 I>I 4-5 [SELECT 0 =0]
        simple 'xxxxxxxxxx'..100 I>I 8-9 [SELECT 0 =0]",
    );
}

#[test]
fn texts_longer_than_the_limit() {
    let text = "y".repeat((1 << 20) + 10);
    let expect = format!("simple '{}'..{} I>I 3-4 [SELECT 0 =0]", "y".repeat(1 << 20), (1 << 20) + 10);
    check_session(&[c(&[client::query(&text)]), s(&[server::complete("SELECT 0"), server::ready('I')])], &expect);
}

#[test]
fn text_that_is_not_utf8() {
    let query = crate::support::message(b'Q', b"SELECT '\xe9'\0");
    check_session(
        &[c(&[query]), s(&[server::complete("SELECT 0"), server::ready('I')])],
        "simple 'SELECT '\u{fffd}'' I>I 3-4 [SELECT 0 =0]",
    );
}

#[test]
fn fatal_errors_end_the_statement_or_the_session() {
    check_session(
        &[
            c(&[client::query("SELECT pg_sleep(9)"), client::query("SELECT 2")]),
            s(&[server::error("FATAL", "57P01", "terminating")]),
        ],
        "simple 'SELECT pg_sleep(9)' I>? 3-4 [FATAL 57P01 terminating]
        simple 'SELECT 2' I>? 3- [] Unanswered",
    );
    check_session(&[s(&[server::error("FATAL", "57P05", "idle")])], "refused FATAL 57P05 idle");
    check_session(
        &[
            c(&[client::bind_text("", &[]), client::execute("", 0), client::sync()]),
            s(&[server::bound(), server::error("FATAL", "57P01", "terminating")]),
        ],
        "execute ?None s= p= I>? 3-4 [FATAL 57P01 terminating]",
    );
}

#[test]
fn a_query_without_an_answer() {
    check_session(
        &[c(&[client::query("SELECT 1"), client::terminate()]), s(&[server::row_description(), server::row("1")])],
        "terminated
        simple 'SELECT 1' rows=1 I>? 3- [] Unanswered",
    );
}

#[test]
fn broken_bytes_are_one_violation_and_no_statement() {
    check_session(
        &[
            c(&[client::query("SELECT 1")]),
            s(&[b"\x01garbage".to_vec(), server::complete("SELECT 1")]),
            s(&[b"more garbage".to_vec()]),
            s(&[b"tail".to_vec(), server::ready('I')]),
            c(&[client::query("SELECT 2")]),
            s(&[server::complete("SELECT 1"), server::ready('I')]),
        ],
        "violation Server unknown message type
        simple 'SELECT 1' ?>? 3- [] Lost
        simple 'SELECT 2' ?>I 7-8 [SELECT 1 =1]",
    );
}
