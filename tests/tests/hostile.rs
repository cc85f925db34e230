//! What no well-behaved client sends: the agent stays alive, keeps to its memory, and records what it saw.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use warder_tests::agent::Agent;
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::events::{self, Event, Session, What};
use warder_tests::wire::{self, RawClient, message};
use warder_tests::{process, tooling, wait};

/// Memory that all processes of the agent may hold together at any time of these tests.
const RESIDENT_MAX: u64 = 192 * 1024 * 1024;

/// A cluster with an agent that must survive.
struct Stage {
    cluster: Cluster,
    agent: Agent,
}

impl Stage {
    fn new() -> Result<Self> {
        let cluster = Cluster::start(&ClusterOptions::default())?;
        let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
        Ok(Self { cluster, agent })
    }

    fn client(&self) -> Result<RawClient> {
        RawClient::tcp(self.cluster.port())
    }

    /// The agent lives, is small, and records the next statement.
    fn check_health(&mut self) -> Result<()> {
        self.cluster.sql("select 'healthy'")?;
        self.agent.events().wait_for_text("select 'healthy'")?;
        ensure!(self.agent.alive()?, "the agent ended; it said:\n{}", self.agent.log()?);
        self.check_memory()
    }

    fn check_memory(&self) -> Result<()> {
        let mut resident = 0;
        for pid in self.agent.processes()? {
            resident += process::resident_bytes(pid)?;
        }
        ensure!(resident <= RESIDENT_MAX, "the agent holds {resident} bytes");
        Ok(())
    }

    fn wait_for<T>(&self, what: &str, predicate: impl FnMut(&[Event]) -> Option<T>) -> Result<T> {
        self.agent.events().wait_for(what, wait::PATIENCE, predicate)
    }

    fn wait_closed(&self, count: usize) -> Result<()> {
        self.wait_for(&format!("the end of {count} sessions"), |all| {
            (events::closed(all).count() >= count).then_some(())
        })
    }
}

/// What the record says of bytes that are no start of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recorded {
    /// A gap: not the protocol.
    NotTheProtocol,
    /// TLS that is not read.
    Tls,
    /// A session that ended before it began.
    Nobody,
}

/// Bytes that are no start of a session, one connection each.
const GARBAGE: &[(&[u8], Recorded)] = &[
    (b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", Recorded::NotTheProtocol),
    (b"\0\0\0\0", Recorded::Nobody),
    (b"\0\0\0\x08\x04\xd2\x16\x2fnot tls at all, although it was asked for", Recorded::NotTheProtocol),
    (b"\xff\xff\xff\xff\xff\xff\xff\xff", Recorded::NotTheProtocol),
    (b"\0\0\0\x09\0\x03\0\0x", Recorded::Nobody),
    (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03direct TLS, cut short", Recorded::Tls),
    (b"\0", Recorded::Nobody),
    (b"", Recorded::Nobody),
];

#[test]
fn garbage_on_the_port() -> Result<()> {
    let mut stage = Stage::new()?;
    let mut sources = Vec::new();
    for (bytes, _) in GARBAGE {
        let mut connection = TcpStream::connect(("127.0.0.1", stage.cluster.port()))?;
        sources.push(connection.local_addr()?.to_string());
        connection.write_all(bytes)?;
    }
    stage.check_health()?;
    for ((bytes, expected), source) in GARBAGE.iter().zip(&sources) {
        let text = String::from_utf8_lossy(bytes);
        let is_from_there = |session: &&Session| session.client_address.as_ref() == Some(source);
        let all = stage.wait_for(&format!("the end of who said {text:?}"), |all| {
            events::closed(all).find(is_from_there).map(|_| all.to_vec())
        })?;
        let session = events::closed(&all).find(is_from_there).context("it was there")?;
        ensure!(recorded(&all, session) == *expected, "{text:?} is {:?}: {session:?}", recorded(&all, session));
        ensure!(session.received_bytes == Some(bytes.len() as u64), "{text:?}: {session:?}");
        let is_somebody =
            session.user.is_some() || session.authenticated == Some(true) || session.statements != Some(0);
        ensure!(!is_somebody, "{text:?} became a session: {session:?}");
    }
    Ok(())
}

fn recorded(all: &[Event], session: &Session) -> Recorded {
    let is_gap = |what: &What| {
        matches!(what, What::SessionGap { session: id, side, reason }
            if *id == session.session && side == "client" && reason == "not the PostgreSQL protocol")
    };
    match (all.iter().any(|event| is_gap(&event.what)), session.encryption.as_deref()) {
        (true, _) => Recorded::NotTheProtocol,
        (false, Some("tls")) => Recorded::Tls,
        (false, _) => Recorded::Nobody,
    }
}

#[test]
fn half_open_sessions() -> Result<()> {
    let mut stage = Stage::new()?;
    let startup = wire::startup("postgres", "postgres");
    let mut half = Vec::new();
    for length in 0..30 {
        let mut client = stage.client()?;
        client.send(startup.get(..length).unwrap_or(&startup))?;
        half.push(client);
    }
    stage.check_health()?;
    drop(half);
    stage.wait_closed(30)
}

#[test]
fn a_message_that_declares_a_gibibyte() -> Result<()> {
    let mut stage = Stage::new()?;
    let mut client = stage.client()?;
    client.login()?;
    let declared = [&[b'Q'][..], &0x3fff_fff0_u32.to_be_bytes(), b"select 'the beginning of something long"].concat();
    client.send(&declared)?;
    stage.check_health()?;
    drop(client);
    stage.check_health()
}

#[test]
fn a_query_of_64_mebibytes() -> Result<()> {
    let mut stage = Stage::new()?;
    let mut client = stage.client()?;
    client.login()?;
    let text = format!("select length('{}')", "x".repeat(64 << 20));
    client.query(&text)?;
    // While its client says nothing more.
    let statement = stage.agent.events().wait_for("the record of the long query", Duration::from_secs(60), |all| {
        events::statements(all).find(|statement| statement.text_bytes.is_some()).cloned()
    })?;
    ensure!(statement.text_bytes == Some(text.len() as u64), "text_bytes is {:?}", statement.text_bytes);
    let kept = statement.text.unwrap_or_default();
    ensure!(text.starts_with(&kept) && kept.len() > 1024, "{} bytes were kept", kept.len());
    stage.check_health()
}

/// In the long form the longest message that the server takes: 1 GiB but for what it adds.
#[test]
fn a_message_that_is_streamed() -> Result<()> {
    const CHUNK: usize = 1 << 20;
    let chunks = if tooling::long_form() { 1023 } else { 127 };
    let (before, after) = ("select 1 /*", "*/");
    let length = before.len() + chunks * CHUNK + after.len();
    let mut stage = Stage::new()?;
    let mut client = stage.client()?;
    client.login()?;
    client.send(&[b"Q", &u32::try_from(4 + length + 1)?.to_be_bytes()[..], before.as_bytes()].concat())?;
    for _ in 0..chunks {
        client.send(&[b'x'; CHUNK])?;
        stage.check_memory()?;
    }
    client.send(format!("{after}\0").as_bytes())?;
    client.until_ready()?;
    stage.wait_for("the record of the streamed query", |all| {
        events::statements(all).any(|statement| statement.text_bytes == Some(length as u64)).then_some(())
    })?;
    stage.check_health()
}

#[test]
fn invalid_text() -> Result<()> {
    let mut stage = Stage::new()?;
    let mut client = stage.client()?;
    client.login()?;
    for text in [&b"select '\xff\xfe\xc3'"[..], b"select 1\0select 2", b"\x1b[31mselec\x07", b"select '\xe2\x80\xae'"] {
        client.send(&wire::query(text))?;
        client.until_ready().ok();
    }
    stage.wait_for("records of the texts", |all| {
        events::statements(all)
            .find(|statement| statement.text.as_deref().is_some_and(|text| text.contains('\u{fffd}')))
            .map(drop)
    })?;
    stage.check_health()
}

#[test]
fn messages_of_unknown_types_and_wrong_order() -> Result<()> {
    let mut stage = Stage::new()?;
    for bytes in [
        message(b'!', b"?"),
        message(b'd', b"copy data of no copy"),
        message(b'p', b"a password"),
        vec![b'Q', 0, 0, 0, 1],
    ] {
        let mut client = stage.client()?;
        client.login()?;
        client.send(&bytes)?;
        client.send(&wire::query(b"select 1")).ok();
    }
    stage.check_health()
}

#[test]
fn cancel_requests() -> Result<()> {
    let mut stage = Stage::new()?;
    let mut client = stage.client()?;
    client.login()?;
    let (pid, secret) = (client.backend_pid.unwrap_or_default(), client.backend_secret.unwrap_or_default());
    client.send(&wire::query(b"select pg_sleep(60)"))?;
    let activity = "select 1 from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'";
    wait::until("the sleeping query", wait::PATIENCE, || Ok((stage.cluster.sql(activity)? == "1").then_some(())))?;
    stage.client()?.send(&wire::cancel(pid, secret))?;
    client.until_ready()?;
    stage.wait_for("the cancel record", |all| {
        all.iter().any(|event| matches!(event.what, What::Cancel { pid: target, .. } if target == pid)).then_some(())
    })?;
    let statement = stage.agent.events().wait_for_text("select pg_sleep(60)")?;
    let state = statement.outcomes.first().and_then(|outcome| outcome.sqlstate.clone());
    ensure!(state.as_deref() == Some("57014"), "not canceled: {statement:?}");
    stage.check_health()
}

#[test]
fn the_longest_startup_message_hides_nobody() -> Result<()> {
    /// What the server accepts: `MAX_STARTUP_PACKET_LENGTH` and the length word.
    const LONGEST: usize = 10_004;
    let mut stage = Stage::new()?;
    let rest = wire::startup("postgres", "postgres").len() + b"application_name\0\0".len();
    let name = "n".repeat(LONGEST - rest);
    let packet = wire::startup_with("postgres", "postgres", &[("application_name", &name)]);
    ensure!(packet.len() == LONGEST, "{} bytes", packet.len());
    let mut client = stage.client()?;
    client.send(&packet)?;
    client.until_ready()?;
    let text = "select 'said by somebody'";
    client.query(text)?;
    let statement = stage.agent.events().wait_for_text(text)?;
    let all = stage.agent.events().all()?;
    let sessions = events::sessions(&all);
    let session = sessions.get(statement.session.as_str());
    ensure!(session.is_some_and(|session| session.user.as_deref() == Some("postgres")), "hidden: {session:?}");
    stage.check_health()
}

#[test]
fn a_direct_hello_of_tls_is_no_plaintext() -> Result<()> {
    let mut stage = Stage::new()?;
    let mut connection = TcpStream::connect(("127.0.0.1", stage.cluster.port()))?;
    connection.write_all(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03")?;
    drop(connection);
    let session = stage.wait_for("the end of the session", |all| events::closed(all).next().cloned())?;
    ensure!(session.encryption.as_deref() == Some("tls"), "{session:?}");
    stage.check_health()
}

#[test]
fn a_query_behind_the_startup_message() -> Result<()> {
    let mut stage = Stage::new()?;
    let text = "select 'pipelined before AuthenticationOk'";
    let mut client = stage.client()?;
    client.send(&[wire::startup("postgres", "postgres"), wire::query(text.as_bytes())].concat())?;
    client.until_ready()?;
    client.until_ready()?;
    stage.agent.events().wait_for_text(text)?;
    stage.check_health()
}
