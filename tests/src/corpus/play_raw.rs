//! The corpus by hand: every step, message by message.

use anyhow::{Context, Result};

use super::case::{Extended, FunctionCall, Message, Step};
use super::ground::{DATABASE, Scene};
use super::play::{Entrance, Play, Played};
use super::session::{Answer, CopyData, Session};
use crate::wait;
use crate::wire::{self, RawClient, message};

/// Plays a case; a refused log-in is its only answer.
///
/// # Errors
/// When the server is silent.
pub fn play(entrance: &Entrance, scene: &mut Scene, play: &Play<'_>) -> Result<Played> {
    let login = (entrance.login)(play.case.policy);
    let client = RawClient::tcp(entrance.way.port)?;
    let mut session = match Session::open(client, &login, DATABASE, &play.case.startup)? {
        Ok(session) => session,
        Err(answers) => return Ok(Played { answers, session: Some(String::new()), ..Played::default() }),
    };
    let mut answers = Vec::new();
    for step in play.steps {
        answers.extend(send(entrance, scene, &mut session, step)?);
    }
    let sight = play.case.session_sight().map(|expression| own_sight(&mut session, expression)).transpose()?;
    if session.failed() {
        session.query(b"rollback")?;
    }
    let last = session.query(b"select 'alive'")?;
    let alive = last.contains(&Answer::Row("alive".into())) && !session.failed();
    Ok(Played { answers, session: sight, alive, wrong: session.wrong().to_vec() })
}

fn own_sight(session: &mut Session, expression: &str) -> Result<String> {
    if session.failed() {
        session.query(b"rollback")?;
    }
    session.scalar(&format!("select {expression}"))
}

fn send(entrance: &Entrance, scene: &mut Scene, session: &mut Session, step: &Step) -> Result<Vec<Answer>> {
    match step {
        Step::Query(sql) | Step::CopyOut(sql) => session.query(sql.as_bytes()),
        Step::QueryBytes(characters) => session.query(&single_bytes(characters)?),
        Step::Extended(extended) => session.exchange(&messages_of(extended), 1, CopyData::Fail),
        Step::CopyIn(copy) => session.exchange(&wire::query(copy.sql.as_bytes()), 1, CopyData::Send(&copy.data)),
        Step::FunctionCall(call) => session.exchange(&function_call(scene, call)?, 1, CopyData::Fail),
        Step::Messages(messages) => burst(scene, session, messages),
        Step::CancelBystander(_) => {
            let bystander = scene.bystander.as_ref().context("no bystander")?;
            cancel(entrance, bystander.pid, bystander.secret).map(|()| Vec::new())
        }
        Step::Cancelled(sql) => cancelled(entrance, scene, session, sql),
        Step::Psql(_) | Step::Program(_) => anyhow::bail!("not a step of this client"),
    }
}

fn single_bytes(characters: &str) -> Result<Vec<u8>> {
    characters.chars().map(|character| Ok(u8::try_from(u32::from(character))?)).collect()
}

fn messages_of(extended: &Extended) -> Vec<u8> {
    [
        parse("", &extended.sql),
        bind("", "", &extended.parameters),
        message(b'D', b"P\0"),
        execute("", 0),
        message(b'S', b""),
    ]
    .concat()
}

/// Sends messages at once and reads as many answers as they have.
fn burst(scene: &mut Scene, session: &mut Session, messages: &[Message]) -> Result<Vec<Answer>> {
    let bytes: Vec<Vec<u8>> = messages.iter().map(|message| encode(scene, message)).collect::<Result<_>>()?;
    let told = messages.iter().find_map(|message| match message {
        Message::Answers(number) => Some(*number),
        _ => None,
    });
    let answered =
        |message: &&Message| matches!(message, Message::Query(_) | Message::FunctionCall(_) | Message::Sync(_));
    let ready = told.map_or_else(|| u32::try_from(messages.iter().filter(answered).count()), Ok)?;
    session.exchange(&bytes.concat(), ready, CopyData::Sent)
}

fn encode(scene: &mut Scene, one: &Message) -> Result<Vec<u8>> {
    let named = |kind: u8, what: &[u8], name: &str| message(kind, &[what, name.as_bytes(), b"\0"].concat());
    Ok(match one {
        Message::Query(sql) => wire::query(sql.as_bytes()),
        Message::Parse(statement, sql) => parse(statement, sql),
        Message::Bind(portal, statement, parameters) => bind(portal, statement, parameters),
        Message::DescribePortal(name) => named(b'D', b"P", name),
        Message::DescribeStatement(name) => named(b'D', b"S", name),
        Message::Execute(portal, rows) => execute(portal, *rows),
        Message::ClosePortal(name) => named(b'C', b"P", name),
        Message::CloseStatement(name) => named(b'C', b"S", name),
        Message::FunctionCall(call) => function_call(scene, call)?,
        Message::CopyData(data) => message(b'd', data.as_bytes()),
        Message::CopyDone(_) => message(b'c', b""),
        Message::Flush(_) => message(b'H', b""),
        Message::Sync(_) => message(b'S', b""),
        Message::Answers(_) => Vec::new(),
    })
}

fn parse(statement: &str, sql: &str) -> Vec<u8> {
    message(b'P', &[statement.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"].concat())
}

/// Parameters as text, results as text.
fn bind(portal: &str, statement: &str, parameters: &[String]) -> Vec<u8> {
    let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\0"].concat();
    body.extend(values(parameters));
    body.extend([0, 0]);
    message(b'B', &body)
}

fn execute(portal: &str, rows: u32) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), b"\0", &rows.to_be_bytes()].concat())
}

/// Their number, then each with its length.
fn values(values: &[String]) -> Vec<u8> {
    let number = u16::try_from(values.len()).unwrap_or(u16::MAX);
    let mut bytes = number.to_be_bytes().to_vec();
    for value in values {
        bytes.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(value.as_bytes());
    }
    bytes
}

fn function_call(scene: &mut Scene, call: &FunctionCall) -> Result<Vec<u8>> {
    let number = scene.observer.scalar(&format!("select '{}'::regprocedure::oid", call.function))?;
    let number: u32 = number.parse()?;
    // All arguments as text, the result as text.
    let mut body = [number.to_be_bytes().as_slice(), &[0, 0]].concat();
    body.extend(values(&call.arguments));
    body.extend([0, 0]);
    Ok(message(b'F', &body))
}

/// Sends a CancelRequest along the way of the case and waits until it was taken.
fn cancel(entrance: &Entrance, pid: u32, secret: u32) -> Result<()> {
    let mut client = RawClient::tcp(entrance.way.port)?;
    client.send(&wire::cancel(pid, secret))?;
    client.until_closed()
}

fn cancelled(entrance: &Entrance, scene: &mut Scene, session: &mut Session, sql: &str) -> Result<Vec<Answer>> {
    let client = session.client();
    let (pid, secret) = (client.backend_pid.context("no key")?, client.backend_secret.context("no key")?);
    client.send(&wire::query(sql.as_bytes()))?;
    let running = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
    wait::until("the statement to cancel", wait::PATIENCE, || {
        Ok((scene.observer.scalar(running)? == "1").then_some(()))
    })?;
    cancel(entrance, pid, secret)?;
    session.exchange(&[], 1, CopyData::Fail)
}
