//! The corpus by psql: one process a case, one `-c` a step, all of them in one session.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};

use super::case::Step;
use super::ground::DATABASE;
use super::play::{Entrance, Play, Played};
use super::session::Answer;
use crate::route::Route;

/// What marks a line that was asked for by this client and not by the case.
const MARK: &str = "corpus-mark";

/// Whether all steps are of the simple protocol; `-c` has one standard input for all data.
#[must_use]
pub fn plays(steps: &[Step]) -> bool {
    let own = |step: &Step| {
        matches!(step, Step::Query(_) | Step::Psql(_) | Step::CopyIn(_) | Step::CopyOut(_))
            || matches!(steps, [Step::Program(_)])
    };
    steps.iter().all(own) && steps.iter().filter(|step| matches!(step, Step::CopyIn(_))).count() <= 1
}

/// Plays a case.
///
/// # Errors
/// When psql is missing.
pub fn play(entrance: &Entrance, play: &Play<'_>) -> Result<Played> {
    if let [Step::Program(words)] = play.steps {
        return program(entrance, play, words);
    }
    let mut command = client(entrance, play, "psql")?;
    command.args(["-XAt", "-v", "VERBOSITY=verbose"]);
    let mut data = "";
    for step in play.steps {
        match step {
            Step::Query(sql) | Step::Psql(sql) | Step::CopyOut(sql) => command.args(["-c", sql]),
            Step::CopyIn(copy) => {
                data = &copy.data;
                command.args(["-c", &copy.sql])
            }
            _ => anyhow::bail!("not a step of this client"),
        };
    }
    let sight = play.case.session_sight().map(|expression| format!("select '{MARK} session ' || ({expression})"));
    // In a failed transaction the first is refused, and the one behind ROLLBACK counts.
    for sql in sight.iter().map(String::as_str).chain(["rollback"]).chain(sight.iter().map(String::as_str)) {
        command.args(["-c", sql]);
    }
    command.args(["-c", &format!("select '{MARK} alive'")]);
    let output = run(&mut command, data)?;
    Ok(played(&output))
}

/// A program that makes a session of its own: it is alive if it says so by its status.
fn program(entrance: &Entrance, play: &Play<'_>, words: &[String]) -> Result<Played> {
    let (name, arguments) = words.split_first().context("no program")?;
    let output = run(client(entrance, play, name)?.args(arguments), "")?;
    let alive = output.status.success();
    Ok(Played { alive, ..played(&output) })
}

fn client(entrance: &Entrance, play: &Play<'_>, program: &str) -> Result<Command> {
    let login = (entrance.login)(play.case.policy);
    let mut command = entrance.way.client(program, Route::Tcp)?;
    command
        .env("PGDATABASE", DATABASE)
        .env("PGUSER", &login.user)
        .envs(login.password.map(|word| ("PGPASSWORD", word)));
    let variable = |name: &str| match name {
        "options" => Some("PGOPTIONS"),
        "application_name" => Some("PGAPPNAME"),
        "client_encoding" => Some("PGCLIENTENCODING"),
        _ => None,
    };
    for (name, value) in &play.case.startup {
        command.env(variable(name).with_context(|| format!("psql cannot set '{name}' at start"))?, value);
    }
    Ok(command)
}

fn run(command: &mut Command, input: &str) -> Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // Whoever was refused reads no data.
    let _ = child.stdin.take().context("no input")?.write_all(input.as_bytes());
    Ok(child.wait_with_output()?)
}

fn played(output: &Output) -> Played {
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let marked: Vec<_> = said.lines().filter_map(|line| line.strip_prefix(MARK)).map(str::trim).collect();
    let rows = said.lines().filter(|line| !line.starts_with(MARK) && *line != "ROLLBACK");
    let mut answers: Vec<_> = rows.map(|line| Answer::Row(line.to_owned())).collect();
    answers.extend(complained.lines().filter_map(complaint));
    let session = marked.iter().find_map(|line| line.strip_prefix("session "));
    Played {
        answers,
        session: Some(session.unwrap_or_default().to_owned()),
        alive: marked.last() == Some(&"alive"),
        wrong: Vec::new(),
    }
}

/// A line of psql's standard error: `ERROR:  42P01: relation "x" does not exist`.
fn complaint(line: &str) -> Option<Answer> {
    // Of what every case is followed by.
    if line.contains("there is no transaction in progress") || line.starts_with("LOCATION:") {
        return None;
    }
    let severity = ["ERROR", "FATAL"].into_iter().find(|word| line.contains(&format!("{word}:  ")));
    let told = severity.and_then(|severity| {
        let (_, rest) = line.split_once(":  ")?;
        let (sqlstate, text) = rest.split_once(": ")?;
        let (severity, sqlstate, text) = (severity.into(), sqlstate.into(), text.into());
        Some(Answer::Error { severity, sqlstate, text })
    });
    Some(told.unwrap_or_else(|| Answer::Notice(line.to_owned())))
}
