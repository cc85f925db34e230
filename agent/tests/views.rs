//! What people see of sessions and records: the table, and the timeline through the real binary.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use agent::control::SessionView;
use agent::sessions_view::table;
use agent::terminal::{Colour, Terminal};
use model::coverage::{BypassReason, Class, ClassCount, Coverage};
use model::id::{BootId, DatabaseId, HostId, SessionId, SocketCookie};
use model::record::{Record, What};
use model::time::WallTime;
use store::files::{Form, segment_path};
use store::keys::KeyFiles;
use store::line::Machine;
use store::writer::{Limits, Writer};

fn sessions() -> Vec<SessionView<'static>> {
    let json = r#"[
      {"session":"aaaaaaaa-bbbbbbbb-42","database_entry":"main","transport":"tcp","client_address":"10.0.0.7:51000",
       "encryption":"tls","user":"al\u001b[2Jice","database":"shop","client":{"pid":1234,"name":"psql","exe":"/usr/bin/psql","uid":1000},
       "statements":12,"errors":1,"received_bytes":1500,"sent_bytes":3000000,"coverage":1.0,"since":"2026-11-22T09:30:00.5Z",
       "current":"select *\nfrom a_rather_long_name_of_a_table where id = 17"},
      {"session":"aaaaaaaa-bbbbbbbb-7","database_entry":"postgresql-5433","transport":"unix","socket_path":"/run/postgresql/.s.PGSQL.5433",
       "client_unknown":"gone","since":"2026-11-22T09:31:00Z","coverage":0.25,"current":""}
    ]"#;
    serde_json::from_str(json).unwrap()
}

#[test]
fn the_table_is_whole_in_a_pipe() {
    assert_eq!(
        table(&sessions(), Terminal::PIPE),
        "\
SESSION  DATABASE             USER            CLIENT PROCESS       TRANSPORT                           SINCE (UTC)          STATEMENTS     BYTES IN/OUT  COVERAGE  CURRENT
42       shop (main)          al\\u{1b}[2Jice  psql[1234] uid 1000  tls 10.0.0.7:51000                  2026-11-22 09:30:00  12 (1 failed)  1.5K/2.9M     100%      select *\\nfrom a_rather_long_name_of_a_table where id = 17
7        - (postgresql-5433)  -               (already gone)       unix /run/postgresql/.s.PGSQL.5433  2026-11-22 09:31:00  0              0/0           25.00%    (text not known)
"
    );
    assert_eq!(table(&[], Terminal::PIPE), "no live sessions\n");
}

#[test]
fn the_table_fits_a_terminal() {
    let shown = table(&sessions(), Terminal { width: Some(200), colour: Colour::Off });
    assert!(shown.lines().all(|line| line.chars().count() <= 200), "{shown}");
    assert!(shown.contains("select *\\nfrom a_r"), "{shown}");
    let coloured = table(&sessions(), Terminal { width: Some(200), colour: Colour::On });
    assert!(coloured.starts_with("\x1b[1mSESSION"));
    assert!(coloured.lines().nth(2).unwrap().starts_with("\x1b[33m7 "), "incomplete observation is conspicuous");
}

const NINE_THIRTY: WallTime = WallTime(1_795_339_800_000_000_000);

fn session(boot: u128, cookie: u64) -> SessionId {
    SessionId { host: HostId(0xaaaa_aaaa << 96), boot: BootId(boot << 96), cookie: SocketCookie(cookie) }
}

fn writer(directory: &Path) -> Writer {
    let machine = Machine { host: HostId(0), boot: BootId(0) };
    let keys = KeyFiles::load_or_create(&directory.join("key")).unwrap();
    let limits = Limits { segment_bytes_max: 4096, ..Limits::default() };
    Writer::open(directory, machine, limits, keys, NINE_THIRTY).unwrap().0
}

fn append(writer: &mut Writer, session: SessionId, reason: &'static str) {
    let what = What::SessionGap { session, side: "client", bytes: None, reason };
    writer.append(&Record { time: NINE_THIRTY, what }).unwrap();
    writer.flush(NINE_THIRTY).unwrap();
}

fn timeline(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warder"));
    command.args(["timeline", "--journal"]).arg(directory).args(arguments).output().unwrap()
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn stderr(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_session_is_named_by_id_beginning_or_cookie() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    for (boot, cookie, reason) in [(1, 42, "first"), (1, 421, "second"), (2, 42, "third"), (0xc000_0000, 5, "fourth")] {
        append(&mut writer, session(boot, cookie), reason);
    }
    let show = |text: &str| stdout(timeline(directory.path(), &[text]));
    assert_eq!(
        show("421"),
        "--- 2026-11-22 (UTC) ---\nsession 421  (who it is was recorded earlier)\n  \
         09:30:00.000000  !! GAP: an unknown number of bytes from the client were not observed: second\n"
    );
    assert!(show("aaaaaaaa-00000001-42").ends_with("first\n"));
    assert!(show("AAAAAAAA-c").ends_with("fourth\n"));
    assert_eq!(
        stderr(timeline(directory.path(), &["42"])),
        "warder: \"42\" means 2 sessions; name one of aaaaaaaa-00000001-42, aaaaaaaa-00000002-42\n"
    );
    let error = stderr(timeline(directory.path(), &["99"]));
    assert!(error.contains("no session \"99\" is recorded") && error.contains("warder sessions"), "{error}");
}

#[test]
fn json_is_the_records_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    append(&mut writer(directory.path()), session(1, 42), "lost");
    let recorded = std::fs::read_to_string(segment_path(directory.path(), 1, Form::Plain)).unwrap();
    assert_eq!(stdout(timeline(directory.path(), &["--json"])), recorded);
}

#[test]
fn a_line_that_is_no_record_does_not_end_the_timeline() {
    let directory = tempfile::tempdir().unwrap();
    append(&mut writer(directory.path()), session(1, 42), "before");
    let path = segment_path(directory.path(), 1, Form::Plain);
    let line = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{line}garbage\n{line}{{\"v\":1,\"se")).unwrap();
    let output = timeline(directory.path(), &[]);
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(error.contains("this line is not a record"), "{error}");
    assert_eq!(stdout(output).matches("GAP").count(), 2);
}

#[test]
fn a_session_that_is_played_from_a_damaged_journal_is_not_called_whole() {
    let directory = tempfile::tempdir().unwrap();
    append(&mut writer(directory.path()), session(1, 42), "before");
    let play = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warder"));
        command.args(["replay", "--no-wait", "--journal"]).arg(directory.path()).arg("42").output().unwrap()
    };
    assert!(stdout(play()).contains("GAP"));
    let path = segment_path(directory.path(), 1, Form::Plain);
    let line = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{line}garbage\n{line}")).unwrap();
    let output = play();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("GAP"), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("may be of this session"), "{output:?}");
}

#[test]
fn no_folder_is_said_with_what_to_do() {
    let error = stderr(timeline(Path::new("/nonexistent"), &[]));
    assert!(error.contains("there is no folder /nonexistent") && error.contains("--journal"), "{error}");
}

#[test]
fn following_shows_what_happens_over_rotations() {
    const RECORDS: usize = 100;
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    append(&mut writer, session(1, 42), "lost");
    let mut child = Command::new(env!("CARGO_BIN_EXE_warder"))
        .args(["timeline", "--json", "--follow", "--journal"])
        .arg(directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"seq\":1,"));
    for _ in 1..RECORDS {
        append(&mut writer, session(1, 42), "lost");
    }
    for seq in 2..=RECORDS {
        assert!(lines.next().unwrap().unwrap().contains(&format!("\"seq\":{seq},")));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_closed_pipe_is_an_ordinary_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    for _ in 0..2000 {
        append(&mut writer, session(1, 42), "lost");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_warder"))
        .args(["timeline", "--journal"])
        .arg(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
}

#[test]
fn coverage_is_added_up_from_the_files_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    let count = |sessions, open, bytes| ClassCount { sessions, open, bytes };
    for minute in 0..3 {
        let (from, to) = (minute * 60_000_000_000, (minute + 1) * 60_000_000_000);
        let coverage = Coverage {
            database: DatabaseId(0),
            database_name: "orders".into(),
            from: WallTime(NINE_THIRTY.0 + from),
            to: WallTime(NINE_THIRTY.0 + to),
            classes: vec![
                (Class::Mediated, count(2, minute, 100)),
                (Class::Bypass(BypassReason::FailOpen), count(u64::from(minute == 1), 0, minute)),
            ],
            lost_events: 0,
        };
        let time = WallTime(NINE_THIRTY.0 + to);
        writer.append(&Record { time, what: What::Coverage(Arc::new(coverage)) }).unwrap();
    }
    writer.flush(NINE_THIRTY).unwrap();
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warder"));
        command.args(["coverage", "--json", "--journal"]).arg(directory.path()).args(arguments).output().unwrap()
    };
    let all: serde_json::Value = serde_json::from_str(&stdout(ask(&[]))).unwrap();
    let database = &all["databases"][0];
    assert_eq!(database["observed"], serde_json::json!({"sessions": 7, "open": 2, "bytes": 303}));
    assert_eq!(database["classes"][0]["detail"], "fail_open");
    let late: serde_json::Value = serde_json::from_str(&stdout(ask(&["--since", "2026-11-22T09:33:00"]))).unwrap();
    assert_eq!(late["databases"][0]["intervals"], 1);
    let wrong = ask(&["--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let shown = stdout(timeline(directory.path(), &[]));
    assert!(shown.contains("coverage of orders: mediated 1 session open, 2 new, 100; bypass (fail_open)"), "{shown}");
}

#[test]
fn every_command_has_help_with_its_exit_codes() {
    for command in ["sessions", "timeline", "coverage", "doctor"] {
        let output = Command::new(env!("CARGO_BIN_EXE_warder")).args([command, "--help"]).output().unwrap();
        assert!(stdout(output).contains("Exit codes:"), "{command}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_warder")).arg("version").output().unwrap();
    assert_eq!(stdout(output), format!("warder {}\n", env!("CARGO_PKG_VERSION")));
    let output = Command::new(env!("CARGO_BIN_EXE_warder")).arg("nonsense").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_is_empty_or_garbage_is_not_called_signed() {
    let check = |directory: &Path, code: i32, words: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_warder")).arg("verify").arg(directory).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words) && !said.contains("every record is signed"), "{said}");
    };
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), 2, "there are no records");
    std::fs::write(segment_path(folder.path(), 1, Form::Plain), "nobody wrote this\n").unwrap();
    check(folder.path(), 1, "not known: what follows the fault was not read");
}

#[test]
fn what_cannot_be_read_proves_nothing_either_way() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, "nobody wrote this").unwrap();
    for (proof, key) in [(&garbage, &garbage), (&folder.path().join("nothing"), &garbage)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warder"));
        let output = command.arg("verify-proof").arg(proof).arg("--key").arg(key).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("cannot verify"), "{said}");
    }
}
