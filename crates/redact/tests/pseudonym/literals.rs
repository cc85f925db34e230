//! Every form of literal, what is equal, and what is doubtful. `‹v›` stands for the mark of the value v.

use crate::{is_withheld, key, replaced};

#[track_caller]
fn check(text: &str, expected: &str) {
    let mut marked = String::new();
    for part in expected.split_inclusive('›') {
        match part.strip_suffix('›').and_then(|part| part.split_once('‹')) {
            Some((before, value)) => marked.push_str(&format!("{before}'{}'", key().fingerprint(value))),
            None => marked.push_str(part),
        }
    }
    assert_eq!(replaced(text), marked, "{text}");
    assert_eq!(replaced(&marked), marked, "a second time: {text}");
}

#[track_caller]
fn check_withheld(text: &str) {
    let kept = replaced(text);
    assert!(is_withheld(&kept), "{text}: {kept}");
    assert_eq!(replaced(&kept), kept, "a second time: {text}");
}

#[test]
fn strings() {
    check("SELECT 'a'", "SELECT ‹a›");
    check("SELECT ''", "SELECT ‹›");
    check("SELECT'a'::text||'b'", "SELECT‹a›::text||‹b›");
    check("SELECT 'a''b', E'a\\'b', e'a''b', $$a'b$$, $t_1$a'b$t_1$, N'a''b', n'a''b'", &{
        let same = ["‹a'b›"; 7].join(", ");
        format!("SELECT {same}")
    });
    check("SELECT U&'d\\0061t\\+000061', U&'d!0061t!+000061' UESCAPE '!'", "SELECT ‹data›, ‹data›");
    check("SELECT u&'a!!b' /* c */ uescape '!', U&'a\\\\b'", "SELECT ‹a!b›, ‹a\\b›");
    check("SELECT U&'\\d83d\\de00', U&'\\+00d83d\\+00de00', E'\\ud83d\\ude00', E'\\U0001f600', '😀'", &{
        let same = ["‹😀›"; 5].join(", ");
        format!("SELECT {same}")
    });
    check("SELECT E'\\x61\\141\\u0061', E'\\xg\\8\\/'", "SELECT ‹aaa›, ‹xg8/›");
    check("SELECT E'\\b\\f\\n\\r\\t', E'a\\\\', E'\\\\''x'", "SELECT ‹\u{8}\u{c}\n\r\t›, ‹a\\›, ‹\\'x›");
    check("SELECT E'\\xc3\\xa9', 'é'", "SELECT ‹é›, ‹é›");
    check("SELECT $a$ $$ $b$ $a$, $$$a$$a", "SELECT ‹ $$ $b$ ›, ‹$a› a");
}

#[test]
fn strings_that_go_on_in_the_next_line() {
    check("SELECT 'a'\n'b', 'a' \t\r\n \n'b', 'ab'", "SELECT ‹ab›, ‹ab›, ‹ab›");
    check("SELECT 'a' -- c\n'b', 'a'\n-- c\n --d\n 'b'", "SELECT ‹ab›, ‹ab›");
    check("SELECT E'\\x61'\n'\\x62'", "SELECT ‹ab›");
    check("SELECT E'\\1'\n'2', U&'\\00'\n'61', B'1'\n'0'", "SELECT ‹\u{1}2›, ‹a›, ‹10›");
    check("SELECT 'a' -- c\n, 'b'", "SELECT ‹a› /*…*/\n, ‹b›");
    check_withheld("SELECT 'a' 'b'");
    check_withheld("SELECT 'a' /* c */\n 'b'");
    check_withheld("SELECT 'a'$$b$$");
    check_withheld("SELECT 1\n'b'");
    check_withheld("SELECT 192.168.1.1");
}

#[test]
fn bit_strings() {
    check("SELECT B'00101010', b'00101010', X'2a', x'2A'", "SELECT ‹00101010›, ‹00101010›, ‹00101010›, ‹00101010›");
    check("SELECT B'', '00101010'", "SELECT ‹›, ‹00101010›");
    check_withheld("SELECT B'012'");
    check_withheld("SELECT X'fg'");
    check_withheld("SELECT B'0''1'");
}

#[test]
fn numbers() {
    check("SELECT 42, '42', 4_2, 0x2A, 0o52, 0B101010, 4.2e1", &format!("SELECT {}", ["‹42›"; 7].join(", ")));
    check("SELECT 0.5, .5, 5e-1, 5., 5", "SELECT ‹0.5›, ‹0.5›, ‹0.5›, ‹5›, ‹5›");
    check("UPDATE t SET a = a + -17 WHERE b=-.5", "UPDATE t SET a = a + -‹17› WHERE b=-‹0.5›");
    check("SELECT t1.c2, x[1:2], a1 FROM t LIMIT 10;", "SELECT t1.c2, x[‹1›:‹2›], a1 FROM t LIMIT ‹10›;");
    check("SELECT 1..10", "SELECT ‹1›..‹10›");
    check("SELECT u&5, u&$$a$$", "SELECT u& ‹5›, u& ‹a›");
    for junk in ["1a", "1and 2", "1_", "0x", "0b2", "1e", "1$a$", "1é", "e.5", "$1.5"] {
        check_withheld(&format!("SELECT {junk}"));
    }
}

#[test]
fn what_is_no_value_stays() {
    for text in [
        "",
        ";",
        "SELECT $1, $2::int, $65535 FROM \"it's $$ 5\" AS straße$$x WHERE a <> b AND c @> d OR e ?| f",
        "SELECT U&\"d!0061ta\" UESCAPE '!', U&\"a\" FROM u&b",
        "SELECT uescape FROM t WHERE x IS NOT NULL AND TRUE",
        "SELECT foo$1, _e, e, x, b.n FROM e",
        "SELECT `a` FROM b; COPY t FROM STDIN; ",
        "SELECT '***', E'***', \"***\" /*…*/",
    ] {
        assert_eq!(replaced(text).replace("E'***'", "'***'"), text.replace("E'***'", "'***'"), "{text}");
    }
    check("SELECT \"a\"\"b\", 'c'", "SELECT \"a\"\"b\", ‹c›");
    check("EXECUTE p('a', 1)", "EXECUTE p(‹a›, ‹1›)");
    check("DECLARE c CURSOR FOR SELECT 'x'", "DECLARE c CURSOR FOR SELECT ‹x›");
    check("DO $$BEGIN PERFORM 'a'; END$$LANGUAGE plpgsql", "DO ‹BEGIN PERFORM 'a'; END› LANGUAGE plpgsql");
    check("SELECT uescape 'a'", "SELECT uescape ‹a›");
}

#[test]
fn comments() {
    check("SELECT /* id=5 /* 'x' */ */ 1 -- alice", "SELECT /*…*/ ‹1› /*…*/");
    check("/*+ hint */SELECT a--b\n+--c\r2", "/*…*/SELECT a/*…*/\n+/*…*/\r‹2›");
    check("SELECT 4/--x\n2", "SELECT ‹4›/ /*…*/\n‹2›");
    check_withheld("SELECT 1 /* /* x */");
}

#[test]
fn secrets_have_no_fingerprint() {
    check("ALTER ROLE x PASSWORD 'S' VALID UNTIL 'x'", "ALTER ROLE x PASSWORD '***' VALID UNTIL '***'");
    check("SELECT password, 5, 'a'\n'b'", "SELECT password, '***', '***'");
    check("SELECT 'password', 5", "SELECT '***', '***'");
}

#[test]
fn what_the_server_may_read_differently_is_withheld() {
    for text in [
        "SELECT 'a",
        "SELECT E'a\\'",
        "SELECT $$a",
        "SELECT $a$b$A$",
        "SELECT \"a",
        "SELECT U&\"a",
        // A backslash before a quote: what it means depends on standard_conforming_strings.
        "SELECT 'a\\'b'",
        "SELECT 'a\\''b'",
        "SELECT 'a\\', 'b'",
        "SELECT 'a\\\\\\'",
        // The second byte of a character in Shift-JIS, perhaps.
        "SELECT 'é\\\\'",
        "SELECT E'é\\'b'",
        "SELECT '\u{fffd}'",
        // A quote that was not doubled.
        "SELECT 'O'Brien'",
        "SELECT 'a'b",
        "SELECT E'\\u12'",
        "SELECT E'\\ud83d'",
        "SELECT E'\\ud83dx'",
        "SELECT E'\\U00110000'",
        "SELECT E'\\u0000'",
        "SELECT U&'\\12'",
        "SELECT U&'\\+110000'",
        "SELECT U&'\\de00'",
        "SELECT U&'a' UESCAPE 'ab'",
        "SELECT U&'a' UESCAPE '+'",
        "SELECT U&'a' UESCAPE 'f'",
        "SELECT U&'a' UESCAPE E'!'",
        "SELECT U&\"a\" UESCAPE 'alice'",
        "SELECT U&\"a\" /* alice */ UESCAPE '!'",
        "SELECT U&'a' UESCAPE /* b",
        "SELECT $70000",
        "SELECT $1a",
        "SELECT $",
        "SELECT $1$",
        "SELECT a \\ b",
        "SELECT {d '2020-01-01'}",
        "SELECT \u{1}",
        "SELECT https://example.org/alice",
        "SELECT \"https://example.org/alice\"",
        "COPY t FROM stdin;\n1\talice\n\\.\n",
        "copy t (a) from STDIN with csv;\nalice,smith",
    ] {
        check_withheld(text);
    }
}

#[test]
fn a_backslash_that_means_the_same_in_any_case_is_read() {
    check("SELECT '\\d+', 'C:\\dir', '\\x00ff', 'a\\\\'", "SELECT ‹\\d+›, ‹C:\\dir›, ‹\\x00ff›, ‹a\\\\›");
}

#[test]
fn equal_texts_are_withheld_equally() {
    assert_eq!(replaced("SELECT 'a"), replaced("SELECT 'a"));
    assert_ne!(replaced("SELECT 'a"), replaced("SELECT 'b"));
}

#[test]
fn a_text_with_too_many_literals_is_withheld() {
    let most = format!("SELECT {}1", "1,".repeat(9_999));
    assert!(replaced(&most).starts_with("SELECT 'fp:"));
    check_withheld(&format!("SELECT {}1", "1,".repeat(10_000)));
}

#[test]
fn hostile_texts_take_linear_time() {
    for piece in [
        "'\\\\",
        "''",
        "E'\\",
        "$a$",
        "$a",
        "/*",
        "1_",
        "1e-400,",
        "U&'\\",
        "'a'\n",
        "--",
        "\"",
        "'\\\\\\\\",
        "0x",
        "U&\"\" ",
        "'a',",
    ] {
        let _ = replaced(&piece.repeat(100_000));
        let _ = replaced(&format!("'{}'", piece.repeat(100_000)));
    }
    let _ = replaced(&format!("0.{}e-400", "0".repeat(1_000_000)));
}
