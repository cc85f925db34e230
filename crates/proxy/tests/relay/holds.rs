//! Statements that wait for an approval, between real clients and a real server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};

use guard::{Answer, Denied};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::client::{Raw, message};
use crate::support::cluster::Cluster;
use crate::support::holds::{Desk, GRANT};
use crate::support::proxy::{Options, Proxy};

/// Rows of `t` at the beginning.
const ROWS: &str = "3\n";

struct Scene {
    cluster: Cluster,
    proxy: Proxy,
    desk: Desk,
}

fn scene() -> Scene {
    let cluster = Cluster::start("", "");
    let made = cluster.direct("create table t (a int); insert into t values (1), (2), (3)");
    assert!(made.status.success());
    let desk = Desk::default();
    let proxy = Proxy::start(Options { desk: Some(desk.clone()), ..Options::plain(&cluster) });
    Scene { cluster, proxy, desk }
}

impl Scene {
    /// What is in the table, by another way.
    fn rows(&self) -> String {
        String::from_utf8(self.cluster.direct("select count(*) from t").stdout).unwrap()
    }

    fn psql(&self) -> Child {
        let mut command = self.proxy.psql_command("sslmode=disable");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A script in Python's own environment of the tests, which gets the address.
    fn python(&self, script: &str) -> Child {
        let home = std::env::var("HOME").unwrap();
        let python = std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| format!("{home}/.cache"));
        let mut command = Command::new(format!("{python}/warder/python/bin/python"));
        command.args(["-c", script]).env("PORT", self.proxy.port.to_string());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("`cargo xtask` installs the drivers")
    }
}

fn say(input: &mut ChildStdin, sql: &str) {
    writeln!(input, "{sql}").unwrap();
}

/// Ends well; what it said, and its errors.
fn end(mut child: Child) -> (String, String) {
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_statement_of_psql_waits_and_runs_when_it_is_approved() {
    let scene = scene();
    let mut psql = scene.psql();
    let input = psql.stdin.as_mut().unwrap();
    say(input, "delete from t where a = 1 returning a;");
    let question = scene.desk.question(1);
    assert_eq!(&*question.text, "delete from t where a = 1 returning a;");
    assert!(!question.in_transaction && question.search_path.is_some());
    assert_eq!(scene.rows(), ROWS);
    // Told before it is decided.
    let mut said = BufReader::new(psql.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(
        line.contains("NOTICE:  DELETE of relation public.t waits for approval g-00000007")
            || line.contains("NOTICE:  DELETE of relation t waits"),
        "{line}"
    );
    scene.desk.approve();
    let (out, _) = end(psql);
    assert_eq!(out, "1\n");
    assert_eq!(scene.rows(), "2\n");
    assert_eq!(scene.desk.count(), 1);
}

#[test]
fn a_statement_that_is_denied_fails_its_transaction_only() {
    let scene = scene();
    let mut psql = scene.proxy.psql_command("sslmode=disable");
    let mut psql = psql.args(["-v", "ON_ERROR_STOP=0", "-v", "VERBOSITY=verbose"]);
    psql = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut psql = psql.spawn().unwrap();
    let input = psql.stdin.as_mut().unwrap();
    say(input, "begin; insert into t values (4);");
    say(input, "delete from t;");
    assert!(scene.desk.question(1).in_transaction);
    scene.desk.decide(Answer::Denied(Some(GRANT), Denied::Refused("bob@example.com has denied it: no".into())));
    say(psql.stdin.as_mut().unwrap(), "select 1;");
    say(psql.stdin.as_mut().unwrap(), "rollback; select 7 * 6;");
    let (out, errors) = end(psql);
    assert_eq!(out, "42\n", "{errors}");
    assert!(errors.contains("ERROR:  42501: DELETE of every row of relation"), "{errors}");
    assert!(errors.contains("bob@example.com has denied it: no") && errors.contains("25P02"), "{errors}");
    assert_eq!(scene.rows(), ROWS);
}

#[test]
fn a_client_that_cancels_gets_the_servers_words_and_goes_on() {
    let scene = scene();
    let mut psql = scene.proxy.psql_command("sslmode=disable");
    psql.args(["-v", "ON_ERROR_STOP=0", "-v", "VERBOSITY=verbose"]);
    let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    say(psql.stdin.as_mut().unwrap(), "delete from t;");
    scene.desk.question(1);
    // psql sends a CancelRequest of its own.
    kill(Pid::from_raw(i32::try_from(psql.id()).unwrap()), Signal::SIGINT).unwrap();
    scene.desk.is_withdrawn();
    let mut raw = Raw::login(&scene.proxy);
    raw.send(&message(b'Q', b"select 1\0"));
    raw.until_ready();
    let (_, errors) = end(psql);
    assert!(errors.contains("57014") && errors.contains("canceling statement due to user request"), "{errors}");
    assert_eq!(scene.rows(), ROWS);
}

#[test]
fn a_client_that_dies_takes_its_request_back() {
    let scene = scene();
    let mut psql = scene.psql();
    say(psql.stdin.as_mut().unwrap(), "begin; delete from t;");
    scene.desk.question(1);
    psql.kill().unwrap();
    psql.wait().unwrap();
    scene.desk.is_withdrawn();
    scene.proxy.no_session_left();
    assert_eq!(scene.rows(), ROWS);
}

#[test]
fn what_nobody_answers_is_refused_and_the_session_lives() {
    let scene = scene();
    let mut raw = Raw::login(&scene.proxy);
    for (number, answer, words) in [
        (1, Some(Answer::Denied(Some(GRANT), Denied::TimedOut)), "nobody has approved it in time"),
        (2, None, "the core is gone"),
    ] {
        raw.send(&message(b'Q', b"delete from t\0"));
        scene.desk.question(number);
        match answer {
            Some(answer) => scene.desk.decide(answer),
            None => scene.desk.lose(),
        }
        let got = raw.until_ready();
        let kinds: String = got.iter().map(|(kind, _)| char::from(*kind)).collect();
        assert_eq!(kinds, "NEZ");
        assert!(String::from_utf8_lossy(&got[1].1).contains(words));
    }
    assert_eq!(scene.rows(), ROWS);
}

/// Parse, Bind, Describe and Execute of the unnamed statement with one text value, as pgjdbc sends them.
fn extended(sql: &str, value: &str) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap().to_be_bytes();
    let bind = [&[0, 0, 0, 1, 0, 0, 0, 1], &length[..], value.as_bytes(), &[0, 0]].concat();
    [
        message(b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"].concat()),
        message(b'B', &bind),
        message(b'D', b"P\0"),
        message(b'E', &[0; 5]),
    ]
    .concat()
}

#[test]
fn in_a_batch_what_came_before_is_answered_and_what_is_behind_waits() {
    let scene = scene();
    let mut raw = Raw::login(&scene.proxy);
    let (insert, delete) = ("insert into t values ($1)", "delete from t where a = $1");
    let batch = [extended(insert, "4"), extended(delete, "1"), extended(insert, "5"), message(b'S', &[])].concat();
    raw.send(&[batch.clone(), message(b'Q', b"select 1\0")].concat());
    let question = scene.desk.question(1);
    assert_eq!((&*question.text, question.parameters.len()), (delete, 1));
    // Flushed before it waits, and then the notice: 1, 2, n, C of the first, 1, 2, n of the second.
    let before: String = (0..8).map(|_| char::from(raw.message().0)).collect();
    assert_eq!(before, "12nC12nN");
    scene.desk.approve();
    let after: String = raw.until_ready().iter().map(|(kind, _)| char::from(*kind)).collect();
    assert_eq!(after, "C12nCZ");
    let behind: String = raw.until_ready().iter().map(|(kind, _)| char::from(*kind)).collect();
    assert_eq!(behind, "TDCZ");
    assert_eq!(scene.rows(), "4\n");
    // Denied, it undoes what came before in its batch.
    raw.send(&batch);
    scene.desk.question(2);
    scene.desk.decide(Answer::Denied(None, Denied::TimedOut));
    let kinds: String = raw.until_ready().iter().map(|(kind, _)| char::from(*kind)).collect();
    assert_eq!(kinds, "12nC12nNEZ");
    assert_eq!(scene.rows(), "4\n");
}

#[test]
fn a_batch_that_has_failed_asks_nobody() {
    let scene = scene();
    let mut raw = Raw::login(&scene.proxy);
    let batch =
        [extended("insert into nowhere values ($1)", "4"), extended("delete from t where a = $1", "1")].concat();
    raw.send(&[batch, message(b'S', &[]), message(b'Q', b"select 1\0")].concat());
    let kinds: String = raw.until_ready().iter().map(|(kind, _)| char::from(*kind)).collect();
    assert_eq!(kinds, "EZ");
    raw.until_ready();
    assert_eq!(scene.desk.count(), 0);
}

#[test]
fn psycopg_waits_in_and_out_of_transactions() {
    let scene = scene();
    let mut python = scene.python(
        r#"
import os, sys, psycopg
link = psycopg.connect(f"host=127.0.0.1 port={os.environ['PORT']} user=postgres dbname=postgres sslmode=disable")
notices = []
link.add_notice_handler(lambda notice: notices.append(notice.message_primary))
try:
    link.execute("delete from t where a = %s", [1])
except psycopg.errors.InsufficientPrivilege as error:
    print("denied", error.diag.constraint_name, flush=True)
link.rollback()
link.autocommit = True
print("deleted", link.execute("delete from t where a = %s", [2]).rowcount, len(notices), flush=True)
"#,
    );
    assert!(scene.desk.question(1).in_transaction);
    scene.desk.decide(Answer::Denied(Some(GRANT), Denied::TimedOut));
    assert!(!scene.desk.question(2).in_transaction);
    scene.desk.approve();
    let mut out = String::new();
    python.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let (_, errors) = end(python);
    assert_eq!(out, "denied deletes-wait\ndeleted 1 2\n", "{errors}");
    assert_eq!(scene.rows(), "2\n");
}

#[test]
fn asyncpg_waits_with_binary_values_and_can_time_out_itself() {
    let scene = scene();
    let python = scene.python(
        r#"
import asyncio, os, asyncpg
async def main():
    link = await asyncpg.connect(host="127.0.0.1", port=int(os.environ["PORT"]), user="postgres", database="postgres", ssl=False)
    print(await link.execute("delete from t where a = $1", 1), flush=True)
    try:
        await link.execute("delete from t where a = $1", 2, timeout=1)
    except asyncio.TimeoutError:
        print("timed out", flush=True)
    print(await link.fetchval("select count(*) from t"), flush=True)
asyncio.run(main())
"#,
    );
    assert_eq!(scene.desk.question(1).parameters.len(), 1);
    scene.desk.approve();
    // It cancels when its patience ends.
    scene.desk.question(2);
    scene.desk.is_withdrawn();
    let (out, errors) = end(python);
    assert_eq!(out, "DELETE 1\ntimed out\n2\n", "{errors}");
}
