//! Timelines as they are shown. The records come from lines, as in the file.

use store::form::identity::SessionText;
use store::line::{Entry, decode, decode_head};

use super::render::Renderer;
use crate::terminal::{Colour, Terminal};

const CLIENT: &str = r#""client":{"pid":1234,"name":"psql","exe":"/usr/bin/psql","uid":1000,"login_uid":1001,"ancestors":[{"pid":9,"uid":1000,"name":"bash"},{"pid":8,"uid":0,"name":"sshd"}]}"#;

fn entry(line: &str) -> Entry {
    let head = decode_head(line.as_bytes()).expect(line);
    decode(&head, line.as_bytes()).expect(line)
}

/// A line at a second after 09:30 with these fields.
fn at(second: u32, fields: &str) -> Entry {
    entry(&format!(r#"{{"v":1,"seq":1,"time":"2026-11-22T09:30:{second:02}.000250Z",{fields}}}"#))
}

fn session(word: &str, cookie: u32, fields: &str) -> String {
    format!(
        r#""type":"session.{word}","session":"aaaaaaaa-bbbbbbbb-{cookie}","database_entry":"main","transport":"tcp",
        "client_address":"10.0.0.7:51000","server_address":"10.0.0.1:5432","origin":"opened",{fields}"#
    )
    .replace('\n', "")
}

fn statement(cookie: u32, number: u32, fields: &str) -> String {
    format!(r#""type":"statement","session":"aaaaaaaa-bbbbbbbb-{cookie}","number":{number},"kind":"simple",{fields}"#)
}

#[track_caller]
fn check(terminal: Terminal, entries: &[Entry], expected: &str) {
    let mut renderer = Renderer::new(terminal);
    let shown: String = entries.iter().map(|entry| renderer.entry(entry)).collect();
    assert_eq!(shown, expected, "\n{shown}");
}

const AGENT: &str = r#""principal":{"kind":"agent","id":"nightly-report","issuer":"https://id.example.com","acting_for":[{"kind":"person","id":"alice@example.com","issuer":"https://id.example.com"}],"proof":"token"}"#;

fn verdict(decision: &str) -> String {
    format!(
        r#""verdict":{{"decision":"{decision}","rule":"no-drop","what":"DROP of table public.t","reason":"nobody drops tables","epoch":7,"mode":"enforce"}}"#
    )
}

#[test]
fn who_acts_and_what_was_refused_reads_in_one_line() {
    let error = r#""outcomes":[{"severity":"ERROR","sqlstate":"42501","message":"told to the client"}]"#;
    let open = |cookie, principal: &str| {
        session("open", cookie, &format!(r#"{CLIENT},{principal},"encryption":"tls","user":"app","database":"shop""#))
    };
    let request = |text: &str, verdict: &str| {
        format!(r#""type":"request","session":"aaaaaaaa-bbbbbbbb-42","kind":"simple","text":"{text}",{verdict}"#)
    };
    let allowed = r#""verdict":{"decision":"allowed","epoch":7,"mode":"enforce","allowed_by":["readers"]}"#;
    let masked = r#""verdict":{"decision":"allowed","epoch":7,"mode":"enforce","masked":[{"rule":"mail","column":"public.t.email"},{"rule":"numbers","column":"public.t.ssn"},{"rule":"numbers","column":"public.t.tax"}]}"#;
    check(
        Terminal::PIPE,
        &[
            at(1, &open(42, AGENT)),
            at(2, &request("drop table t", &verdict("refused"))),
            at(2, &statement(42, 1, &format!(r#""text":"drop table t","latency_us":90,{error},{}"#, verdict("refused")))),
            at(3, &statement(42, 2, &format!(r#""text":"drop table t","latency_us":1200,"outcomes":[{{"tag":"DROP TABLE"}}],{}"#, verdict("would_refuse")))),
            at(4, &request("select 1", allowed)),
            at(4, &statement(42, 3, &format!(r#""text":"select 1","latency_us":90,"outcomes":[{{"tag":"SELECT 1"}}],{allowed}"#))),
            at(4, &statement(42, 4, &format!(r#""text":"table t","latency_us":90,"outcomes":[{{"tag":"SELECT 1"}}],{masked}"#))),
            at(5, &open(7, r#""principal_unknown":"shared_pool""#)),
            at(5, &open(8, r#""principal_unknown":"not_asked""#)),
        ],
        "\
--- 2026-11-22 (UTC) ---
session 42  app@shop (main)  agent nightly-report for person alice@example.com  psql[1234] uid 1000 (login uid 1001) <- bash <- sshd  tls 10.0.0.7:51000
  09:30:01.000250  opened  to 10.0.0.1:5432
  09:30:02.000250  asked   refused by no-drop: DROP of table public.t (nobody drops tables)  drop table t
  09:30:02.000250  #1          90 us  refused by no-drop: DROP of table public.t (nobody drops tables)  drop table t
  09:30:03.000250  #2        1.20 ms  DROP TABLE; would be refused by no-drop: DROP of table public.t (nobody drops tables)  drop table t
  09:30:04.000250  asked   select 1
  09:30:04.000250  #3          90 us  SELECT 1  select 1
  09:30:04.000250  #4          90 us  SELECT 1; masked by mail, numbers  table t
session 7  app@shop (main)  nobody known (shared pool)  psql[1234] uid 1000 (login uid 1001) <- bash <- sshd  tls 10.0.0.7:51000
  09:30:05.000250  opened  to 10.0.0.1:5432
session 8  app@shop (main)  psql[1234] uid 1000 (login uid 1001) <- bash <- sshd  tls 10.0.0.7:51000
  09:30:05.000250  opened  to 10.0.0.1:5432
",
    );
}

fn whole_story() -> Vec<Entry> {
    vec![
        at(0, r#""type":"agent.start","version":"0.1.0","level":"full","kernel":"6.18""#),
        at(0, r#""type":"gap","from":"2026-11-22T09:28:00Z","to":"2026-11-22T09:30:00Z","reason":"agent was killed""#),
        at(1, &session("open", 42, r#""client_unknown":"not_seen""#)),
        at(
            2,
            &session(
                "change",
                42,
                &format!(r#"{CLIENT},"encryption":"tls","user":"alice","database":"shop","application_name":"psql""#),
            ),
        ),
        at(
            3,
            &statement(
                42,
                1,
                r#""text":"select *\nfrom t","latency_us":1200,"outcomes":[{"tag":"SELECT 5","rows":5}]"#,
            ),
        ),
        at(
            4,
            &statement(
                42,
                2,
                r#""text":"select * from x","latency_us":90,"outcomes":[{"severity":"ERROR","sqlstate":"42P01","message":"relation \"x\" does not exist"}]"#,
            ),
        ),
        at(5, &statement(7, 1, r#""text_unknown":"prepared_before_start","ending":"unanswered""#)),
        at(6, r#""type":"loss","kind":"content","stage":"kernel","count":3"#),
        at(
            7,
            r#""type":"session.gap","session":"aaaaaaaa-bbbbbbbb-42","side":"client","gap_bytes":100,"reason":"events lost""#,
        ),
        at(8, r#""type":"process","session":"aaaaaaaa-bbbbbbbb-42","change":"exit","pid":1234"#),
        at(
            9,
            &session(
                "close",
                42,
                &format!(
                    r#"{CLIENT},"encryption":"tls","user":"alice","database":"shop","application_name":"psql","statements":2,"errors":1,"gaps":1,"received_bytes":2048,"sent_bytes":10,"coverage":0.951,"duration_us":8000000"#
                ),
            ),
        ),
    ]
}

#[test]
fn a_whole_story_in_a_pipe() {
    check(
        Terminal::PIPE,
        &whole_story(),
        "\
--- 2026-11-22 (UTC) ---
09:30:00.000250  agent 0.1.0 started, capability level full, kernel 6.18
09:30:00.000250  !! NOT OBSERVED from 2026-11-22 09:28:00 to 2026-11-22 09:30:00 (2 min 00 s): agent was killed
session 42  ?@? (main)  client (not seen)  tcp 10.0.0.7:51000
  09:30:01.000250  opened  to 10.0.0.1:5432
session 42  alice@shop (main)  psql[1234] uid 1000 (login uid 1001) <- bash <- sshd  tls 10.0.0.7:51000  app \"psql\"
  09:30:03.000250  #1        1.20 ms  SELECT 5  select *\\nfrom t
  09:30:04.000250  #2          90 us  ERROR 42P01: relation \"x\" does not exist  select * from x
session 7  (who it is was recorded earlier)
  09:30:05.000250  #1              -  not answered (the session ended)  (text not known: prepared before start)
09:30:06.000250  !! LOST 3 events of kind content at stage kernel
session 42  alice@shop (main)  psql[1234] uid 1000 (login uid 1001) <- bash <- sshd  tls 10.0.0.7:51000  app \"psql\"
  09:30:07.000250  !! GAP: 100 bytes from the client were not observed: events lost
  09:30:08.000250  process 1234 ended
  09:30:09.000250  closed after 8.000 s: 2 statements, 1 failed, 2.0K in, 10 out, coverage 95.10%, 1 gap
",
    );
}

#[test]
fn a_terminal_gets_colours_and_lines_that_fit() {
    let terminal = Terminal { width: Some(72), colour: Colour::On };
    let long =
        format!(r#""text":"select {}","latency_us":90,"outcomes":[{{"tag":"SELECT 1","rows":1}}]"#, "x, ".repeat(100));
    check(
        terminal,
        &[at(1, &statement(7, 1, &long)), at(2, r#""type":"loss","kind":"content","stage":"kernel","count":1"#)],
        "\x1b[2m--- 2026-11-22 (UTC) ---\x1b[0m
\x1b[1msession 7  (who it is was recorded earlier)\x1b[0m
\x1b[2m  09:30:01.000250  #1          90 us  \x1b[0m\x1b[32mSELECT 1\x1b[0m  select x, x, x, x, x,...
\x1b[1;31m09:30:02.000250  !! LOST 1 event of kind content at stage kernel\x1b[0m
",
    );
}

/// Whatever a client chooses, no control character of its reaches the output.
#[test]
fn nothing_a_client_says_commands_the_terminal() {
    let evil = r"\u001b]0;owned\u0007\u009b31m\u202e\r\n\u0000";
    let e = |text: &str| text.replace("EVIL", evil);
    let process = r#"{"pid":1,"name":"EVIL","exe":"/tmp/EVIL","uid":1,"ancestors":[{"pid":2,"uid":1,"name":"EVIL"}]}"#;
    let entries = [
        at(
            1,
            &e(&session(
                "open",
                1,
                &format!(
                    r#""client":{process},"server":{process},"user":"EVIL","database":"EVIL","application_name":"EVIL","replication":"EVIL","encryption":"EVIL""#
                ),
            )),
        ),
        at(
            2,
            &e(&statement(
                1,
                1,
                r#""text":"EVIL","prepared":"EVIL","portal":"EVIL","parameters":[{"value":"EVIL"}],"outcomes":[{"tag":"EVIL"},{"severity":"EVIL","sqlstate":"EVIL","message":"EVIL"}],"ending":"EVIL""#,
            )),
        ),
        at(
            2,
            &e(r#""type":"statement","session":"aaaaaaaa-bbbbbbbb-1","number":1,"kind":"EVIL","text_unknown":"EVIL""#),
        ),
        at(3, &e(r#""type":"request","session":"aaaaaaaa-bbbbbbbb-1","kind":"simple","text":"EVIL""#)),
        at(3, &e(r#""type":"request","session":"aaaaaaaa-bbbbbbbb-1","kind":"execute","text_unknown":"EVIL""#)),
        at(
            3,
            &e(
                r#""type":"refused","session":"aaaaaaaa-bbbbbbbb-1","severity":"EVIL","sqlstate":"EVIL","message":"EVIL""#,
            ),
        ),
        at(3, &e(r#""type":"session.gap","session":"aaaaaaaa-bbbbbbbb-1","side":"EVIL","reason":"EVIL""#)),
        at(
            3,
            &e(&format!(
                r#""type":"process","session":"aaaaaaaa-bbbbbbbb-1","change":"exec","pid":1,"process":{process}"#
            )),
        ),
        at(
            3,
            &e(r#""type":"cancel","session":"aaaaaaaa-bbbbbbbb-1","pid":1,"target":"EVIL""#)
                .replace(evil, "a-b-\\u001b"),
        ),
        at(
            3,
            &e(&format!("{},\"reason\":\"EVIL\"", session("open", 1, r#""user":"EVIL""#))
                .replace("session.open", "bypass")),
        ),
        at(
            3,
            &e(
                r#""type":"integrity","session":"aaaaaaaa-bbbbbbbb-1","figure":"EVIL","proxy":1,"kernel":2,"when":"EVIL""#,
            ),
        ),
        at(4, &e(r#""type":"coverage","database_entry":"EVIL","classes":[{"class":"EVIL","detail":"EVIL"}]"#)),
        at(4, &e(r#""type":"loss","kind":"EVIL","stage":"EVIL","count":1"#)),
        at(4, &e(r#""type":"gap","from":"2026-11-22T09:28:00Z","to":"2026-11-22T09:30:00Z","reason":"EVIL""#)),
        at(4, &e(r#""type":"agent.start","version":"EVIL","level":"EVIL","kernel":"EVIL""#)),
        at(4, &e(r#""type":"operator","verb":"EVIL","uid":1"#)),
        at(4, &e(r#""type":"EVIL""#)),
        at(5, &e(&session("close", 1, &format!(r#""client":{process},"user":"EVIL""#)))),
    ];
    for terminal in [Terminal::PIPE, Terminal { width: Some(400), colour: Colour::Off }] {
        let mut renderer = Renderer::new(terminal);
        for entry in &entries {
            let shown = renderer.entry(entry);
            let lines = shown.trim_end_matches('\n');
            let bad = lines.chars().find(|char| (char.is_control() && *char != '\n') || *char == '\u{202e}');
            assert_eq!(bad, None, "{entry:?}");
            assert!(lines.lines().count() <= 3, "a client cannot begin a line: {shown}");
        }
    }
}

#[test]
fn one_session_is_shown_with_what_concerns_the_host_meanwhile() {
    let wanted: SessionText = serde_json::from_str(r#""aaaaaaaa-bbbbbbbb-42""#).expect("an id");
    let mut renderer = Renderer::new(Terminal::PIPE).only(wanted);
    let loss = || at(6, r#""type":"loss","kind":"content","stage":"kernel","count":3"#);
    assert_eq!(renderer.entry(&loss()), "", "before the session");
    assert!(!renderer.entry(&at(7, &session("open", 42, CLIENT))).is_empty());
    assert!(renderer.entry(&loss()).contains("LOST"));
    assert!(!renderer.entry(&at(8, &session("close", 42, CLIENT))).is_empty());
    assert_eq!(renderer.entry(&loss()), "", "after the session");
}

#[test]
fn who_refused_a_session_or_ended_it_is_said() {
    let refused = |second, fields: &str| {
        at(
            second,
            &format!(
                r#""type":"refused","session":"aaaaaaaa-bbbbbbbb-42",{fields},"sqlstate":"57P01","message":"bye""#
            ),
        )
    };
    let open = session("open", 42, &format!(r#"{CLIENT},"encryption":"tls","user":"app","database":"shop""#));
    let entries = [
        at(1, &open),
        refused(2, r#""by":"server","severity":"FATAL""#),
        refused(3, r#""by":"proxy","severity":"FATAL""#),
        refused(4, r#""by":"proxy","logged_in":true,"severity":"FATAL""#),
        refused(5, r#""by":"server","logged_in":true,"severity":"ERROR""#),
        // Of an older agent.
        refused(6, r#""severity":"FATAL""#),
    ];
    let mut renderer = Renderer::new(Terminal::PIPE);
    let shown: Vec<String> = entries.iter().map(|entry| renderer.entry(entry)).collect();
    let told: Vec<&str> =
        shown.iter().skip(1).map(|line| line.trim_start().split_once("  ").expect("a time").1.trim_end()).collect();
    assert_eq!(
        told,
        [
            "refused by the server: FATAL 57P01: bye",
            "refused by the proxy: FATAL 57P01: bye",
            "ended by the proxy: FATAL 57P01: bye",
            "told of an error outside of a statement by the server: ERROR 57P01: bye",
            "refused: FATAL 57P01: bye",
        ]
    );
}
