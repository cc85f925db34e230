//! Texts that are made to hurt: facts come soon, on a stack of [`STACK_BYTES`], or the text is opaque.

use std::thread;
use std::time::{Duration, Instant};

use sql::catalogue::Catalogue;
use sql::{Analyser, Limits, STACK_BYTES};

use super::render::{check, facts, state, words};

/// In a test build, on a busy machine; `cargo bench -p sql` prints what a release build takes (below 50 ms each).
const SLOWEST: Duration = Duration::from_secs(2);

/// A whole text of everything that a grammar can chain or nest.
fn hostile() -> Vec<(String, String)> {
    let full = Limits::default().text_bytes_max - 64;
    let deep = Limits::default().nesting_max - 1;
    let mut texts = Vec::new();
    for (before, piece) in [
        ("SELECT a", " AND a"),
        ("SELECT a", " OR a"),
        ("SELECT a", "||a"),
        ("SELECT a", "+a"),
        ("SELECT a", " OPERATOR(x.+) a"),
        ("SELECT a", "::b"),
        ("SELECT a", "[1]"),
        ("SELECT a", ".b"),
        ("SELECT a", ",b"),
        ("SELECT a", " COLLATE b"),
        ("SELECT a", " IS NULL"),
        ("SELECT a", " AT TIME ZONE b"),
        ("SELECT 1", " UNION SELECT 1"),
        ("SELECT 1", " INTERSECT SELECT 1"),
        ("SELECT 1 FROM t", " CROSS JOIN t"),
        ("SELECT 1 FROM t", " NATURAL JOIN t"),
        ("SELECT 1 FROM t", " JOIN t USING (a)"),
        ("SELECT 1 FROM t", " JOIN t ON a = b"),
        ("SELECT 1 FROM t", ",t"),
        ("SELECT 1", ",(SELECT 1 FROM t)"),
        ("SELECT 1 FROM t WHERE true", " AND a = (SELECT b FROM t)"),
        ("SELECT 1 FROM t WHERE a IN (1", ",1"),
        ("WITH a AS (SELECT 1)", ",b AS (SELECT 1 FROM a)"),
        ("INSERT INTO t VALUES (1)", ",(1)"),
        ("TRUNCATE t", ",t"),
        ("SELECT 1", ",set_config($1, '', 'f')"),
        ("SELECT 'a'", "\n'a'"),
        ("", "SELECT 1;"),
        ("", ";"),
        ("", "-"),
        ("SELECT ", "- "),
        ("SELECT ", "NOT "),
        ("SELECT ", "("),
        ("SELECT ", "CASE WHEN "),
        ("SELECT 1 ", "/*"),
        ("SELECT 1 ", "/**/"),
        ("SELECT 1 ", "/***"),
        ("SELECT 1 ", "/* x */"),
        ("SELECT 1 ", "-- x\n"),
        ("SELECT 1 ", "--\n"),
        ("", "$a"),
        ("", "'"),
        ("", "\""),
        ("SELECT ", "E'\\'"),
        ("", "SELECT * FROM ("),
        ("", "WITH x AS ("),
        ("", "EXPLAIN "),
        ("", "\u{e9}"),
    ] {
        texts.push((
            format!("{piece} ..."),
            format!("{before}{}", piece.repeat(full.saturating_sub(before.len()) / piece.len())),
        ));
    }
    for (open, core, close) in [
        ("SELECT (", "SELECT 1", ")"),
        ("SELECT * FROM (", "SELECT 1", ") s"),
        ("SELECT * FROM t, LATERAL (", "SELECT 1", ") s"),
        ("SELECT a FROM t WHERE EXISTS (", "SELECT 1", ")"),
        ("SELECT a FROM t WHERE a IN (", "SELECT 1", ")"),
        ("WITH x AS (", "SELECT 1", ") SELECT 1"),
        ("WITH x AS (", "DELETE FROM t RETURNING a", ") SELECT 1"),
        ("(", "SELECT 1", ")"),
        ("SELECT 1 UNION (", "SELECT 1", ")"),
        ("SELECT ARRAY(", "SELECT 1", ")"),
    ] {
        texts.push((format!("{open}{open}"), format!("{}{core}{}", open.repeat(deep), close.repeat(deep))));
    }
    for (open, close) in
        [("(", ")"), ("f(", ")"), ("ARRAY[", "]"), ("CASE WHEN a THEN ", " END"), ("(a = 1 AND b OR ", ")")]
    {
        texts.push((open.to_owned(), format!("SELECT 1 FROM t WHERE {}a{}", open.repeat(deep), close.repeat(deep))));
    }
    let numbered = |piece: fn(usize) -> String, count| (0..count).map(piece).collect::<String>();
    texts.push(("joins".into(), format!("SELECT 1 FROM t{}", numbered(|i| format!(" JOIN t{i} ON a=b"), 3_400))));
    texts.push((
        "columns".into(),
        format!("SELECT 1{} FROM t{}", numbered(|i| format!(",c{i}"), 4_000), numbered(|i| format!(",t{i}"), 4_000)),
    ));
    texts.push(("dollars".into(), numbered(|i| format!("$a{i:03}$"), 9_000)));
    texts
}

#[test]
fn nothing_takes_long_or_overflows_the_stack() {
    for (name, text) in hostile() {
        let read = move || {
            #[expect(clippy::disallowed_methods, reason = "the time is what is tested")]
            let start = Instant::now();
            let facts = Analyser::new(Limits::default()).facts(text.as_bytes(), &state(), &Catalogue::none());
            (start.elapsed(), facts)
        };
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(read).unwrap();
        let (elapsed, _) = thread.join().unwrap();
        println!("{elapsed:?} {name}");
        assert!(elapsed < SLOWEST, "{name} takes {elapsed:?}");
    }
}

#[test]
fn many_rows_in_one_insert_are_read() {
    // What drivers make of a batch: every row with its own parameters.
    let rows: Vec<String> = (0..8_000).map(|row| format!("(${},${})", row * 2 + 1, row * 2 + 2)).collect();
    let text = format!("INSERT INTO t (a, b) VALUES {}", rows.join(","));
    assert!(text.len() > 100_000 && text.len() < Limits::default().text_bytes_max);
    check(&text, "INSERT: insert t(a b)");
}

#[test]
fn what_is_over_a_limit_is_opaque() {
    let limits = Limits::default();
    check(&" ".repeat(limits.text_bytes_max + 1), "opaque: too_large");
    check(&" ".repeat(limits.text_bytes_max), "");
    check(
        &format!("SELECT {}1{}", "(".repeat(limits.nesting_max + 1), ")".repeat(limits.nesting_max + 1)),
        "opaque: too_large",
    );
    check(&format!("SELECT {}1{}", "(".repeat(limits.nesting_max), ")".repeat(limits.nesting_max)), "SELECT: ");
    check(&format!("SELECT '{}'", "(".repeat(1000)), "SELECT: ");
    check(&"BEGIN;".repeat(limits.statements_max + 1), "opaque: too_large");
    check(&format!("SELECT 1 {}", "/*".repeat(10_000)), "opaque: too_large");
    check(&format!("SELECT {} 1", "--\n".repeat(4_097)), "opaque: too_large");
    check(&format!("SELECT {} 1", "--\n".repeat(4_096)), "SELECT: ");
    assert_eq!(facts(&"SELECT 1 -- one\n;".repeat(1_000)).statements.len(), 1_000);
    assert_eq!(facts(&"BEGIN;".repeat(limits.statements_max)).statements.len(), limits.statements_max);
}

#[test]
fn the_cache_forgets_and_never_mixes() {
    let mut analyser = Analyser::new(Limits { cached_texts_max: 4, ..Limits::default() });
    for round in 0..3 {
        for number in 0..50 {
            let text = format!("SELECT c{number} FROM t");
            let facts = analyser.facts(text.as_bytes(), &state(), &Catalogue::none());
            assert_eq!(words(&facts), format!("SELECT: select t(c{number}) all"), "round {round}");
        }
    }
}
