//! The agent's journal, read as typed records (the form is `docs/events.md`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{process, wait};

/// One line of the events file.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Format version.
    pub v: u32,
    /// Number of the record.
    pub seq: u64,
    /// RFC 3339.
    pub time: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. Types that no test looks into are [`What::Other`].
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type")]
pub enum What {
    /// The agent started.
    #[serde(rename = "agent.start")]
    AgentStart,
    /// The agent stopped on request.
    #[serde(rename = "agent.stop")]
    AgentStop,
    /// Nothing was observed in a span.
    #[serde(rename = "gap")]
    Gap {
        /// Begin of the span.
        from: String,
        /// End of the span.
        to: String,
        /// Why.
        reason: String,
    },
    /// A session became known.
    #[serde(rename = "session.open")]
    SessionOpen(Box<Session>),
    /// More is known about a session.
    #[serde(rename = "session.change")]
    SessionChange(Box<Session>),
    /// A session ended.
    #[serde(rename = "session.close")]
    SessionClose(Box<Session>),
    /// A message of a client through the proxy, before anything came of it.
    #[serde(rename = "request")]
    Request {
        /// Which session.
        session: String,
        /// `simple`, `parse`, `bind`, `execute`, `function_call`.
        kind: String,
        /// SQL text.
        #[serde(default)]
        text: Option<String>,
    },
    /// A message of a client with what came of it.
    #[serde(rename = "statement")]
    Statement(Box<Statement>),
    /// A cancel request.
    #[serde(rename = "cancel")]
    Cancel {
        /// The connection that carried it.
        session: String,
        /// Backend to cancel.
        pid: u32,
    },
    /// The server refused the session.
    #[serde(rename = "refused")]
    Refused {
        /// Which session.
        session: String,
        /// SQLSTATE.
        sqlstate: String,
    },
    /// Part of a stream was not observed, or was not the protocol.
    #[serde(rename = "session.gap")]
    SessionGap {
        /// Which session.
        session: String,
        /// `client` or `server`.
        side: String,
        /// Why.
        reason: String,
    },
    /// A process of a session executed, forked or ended.
    #[serde(rename = "process")]
    Process {
        /// Which session.
        session: String,
        /// `exec`, `fork`, `exit`.
        change: String,
        /// Which process.
        pid: u32,
    },
    /// Events were lost.
    #[serde(rename = "loss")]
    Loss {
        /// Kind of event.
        kind: String,
        /// `kernel` or `core`.
        stage: String,
        /// How many.
        count: u64,
    },
    /// A session of a guarded database does not go through the proxy.
    #[serde(rename = "bypass")]
    Bypass {
        /// How it got around.
        reason: String,
        /// The session.
        #[serde(flatten)]
        session: Box<Session>,
    },
    /// A local process that wanted to get around the proxy was refused.
    #[serde(rename = "bypass.refused")]
    BypassRefused {
        /// Name in the configuration.
        database_entry: String,
        /// Where it wanted to connect to.
        server_address: String,
        /// Who.
        client: Box<Process>,
    },
    /// Something happened to the proxy itself.
    #[serde(rename = "proxy")]
    Proxy {
        /// What.
        event: String,
        /// More about it.
        #[serde(default)]
        detail: Option<String>,
    },
    /// The two witnesses disagree.
    #[serde(rename = "integrity")]
    Integrity {
        /// Which session.
        session: String,
        /// About what.
        figure: String,
        /// What the proxy says.
        proxy: u64,
        /// What the kernel says.
        kernel: u64,
    },
    /// What became of a role that was made for one session.
    #[serde(rename = "credential")]
    Credential(Box<Credential>),
    /// Anything else.
    #[serde(other)]
    Other,
}

/// The `credential` object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of docs/events.md")]
pub struct Credential {
    pub step: String,
    pub role: String,
    pub group: String,
    pub session: Option<String>,
    pub end: Option<String>,
    pub confirmation: Option<String>,
    pub latency_us: Option<u64>,
    pub detail: Option<String>,
}

/// The session object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of docs/events.md")]
pub struct Session {
    pub session: String,
    pub database_entry: Option<String>,
    pub transport: Option<String>,
    pub client_address: Option<String>,
    pub server_address: Option<String>,
    pub socket_path: Option<String>,
    pub origin: Option<String>,
    pub encryption: Option<String>,
    pub client: Option<Process>,
    pub client_unknown: Option<String>,
    pub principal: Option<Principal>,
    pub principal_unknown: Option<String>,
    pub server: Option<Process>,
    pub server_unknown: Option<String>,
    pub peer_pid: Option<u32>,
    pub peer_uid: Option<u32>,
    pub user: Option<String>,
    pub database: Option<String>,
    pub application_name: Option<String>,
    pub inferred: Option<bool>,
    pub authenticated: Option<bool>,
    pub statements: Option<u64>,
    pub errors: Option<u64>,
    pub gaps: Option<u64>,
    pub received_bytes: Option<u64>,
    pub sent_bytes: Option<u64>,
    pub coverage: Option<f64>,
    pub class: Option<String>,
    pub class_detail: Option<String>,
    pub mediation: Option<Mediation>,
}

/// The principal object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of docs/events.md")]
pub struct Principal {
    pub kind: String,
    pub id: String,
    pub proof: String,
    pub purpose: Option<String>,
}

/// The proxy's part of a session.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of docs/events.md")]
pub struct Mediation {
    pub accepted: u64,
    pub listener: Option<String>,
    pub upstream: Option<u64>,
    pub hop: Option<String>,
    pub hop_encryption: Option<String>,
    pub relayed: bool,
    pub from_client_bytes: u64,
    pub to_client_bytes: u64,
    pub to_server_bytes: u64,
    pub from_server_bytes: u64,
    pub messages_to_server: u64,
    pub messages_to_client: u64,
    pub front_received_bytes: u64,
    pub front_sent_bytes: u64,
    pub kernel_messages_to_server: u64,
    pub kernel_messages_from_server: u64,
    pub undelivered_bytes: u64,
    pub refused: Option<String>,
    pub ended_by: Option<String>,
}

/// The process object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of docs/events.md")]
pub struct Process {
    pub pid: u32,
    pub name: Option<String>,
    pub exe: Option<String>,
    pub exe_inode: Option<u64>,
    pub exe_flags: Vec<String>,
    pub argv: Option<Vec<String>>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub source: Option<String>,
    pub ancestors: Option<Vec<Ancestor>>,
}

/// A parent of a process.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of docs/events.md")]
pub struct Ancestor {
    pub pid: u32,
    pub name: Option<String>,
}

/// The statement object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of docs/events.md")]
pub struct Statement {
    pub session: String,
    pub number: u64,
    pub kind: String,
    pub function: Option<u32>,
    pub text: Option<String>,
    pub text_bytes: Option<u64>,
    pub text_unknown: Option<String>,
    pub prepared: Option<String>,
    pub portal: Option<String>,
    pub parameters: Option<Vec<Parameter>>,
    pub resumed: bool,
    pub latency_us: Option<u64>,
    pub outcomes: Vec<Outcome>,
    pub ending: Option<String>,
    pub redacted: bool,
}

/// A bound value.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of docs/events.md")]
pub struct Parameter {
    #[serde(rename = "type")]
    pub oid: Option<u32>,
    pub value: Option<String>,
    pub null: bool,
    pub opaque_bytes: Option<u64>,
    pub redacted: bool,
}

/// What came of a statement.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of docs/events.md")]
pub struct Outcome {
    pub tag: Option<String>,
    pub rows: Option<u64>,
    pub sqlstate: Option<String>,
    pub message: Option<String>,
    pub empty: bool,
    pub suspended: bool,
}

impl Statement {
    /// Whether an error was among its outcomes.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.sqlstate.is_some())
    }
}

/// The journal of an agent. Reading goes over all segments of it, oldest first.
#[derive(Clone, Debug)]
pub struct Events {
    directory: PathBuf,
}

impl Events {
    /// The events that are written to `directory`.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// All bytes that were written so far, for searches of what must not be there.
    ///
    /// # Errors
    /// When a file can not be read.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            files.push(entry?.path());
        }
        let segment = |path: &PathBuf, ending: &str| path.to_str().is_some_and(|path| path.ends_with(ending));
        files.retain(|path| segment(path, ".jsonl") || segment(path, ".jsonl.zst"));
        // They sort by age, and what is there in both forms (it is just being sealed) counts once.
        files.sort();
        files.dedup_by_key(|path| path.to_string_lossy().replace(".zst", ""));
        let mut bytes = Vec::new();
        for file in files {
            bytes.extend(segment_bytes(&file).with_context(|| format!("{} can not be read", file.display()))?);
        }
        Ok(bytes)
    }

    /// All whole records so far.
    ///
    /// # Errors
    /// When a line is not a record as documented.
    pub fn all(&self) -> Result<Vec<Event>> {
        let bytes = self.bytes()?;
        let text = String::from_utf8(bytes).context("the events file is not UTF-8")?;
        let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
        let parse = |line: &str| serde_json::from_str(line).with_context(|| format!("no documented record: {line}"));
        whole.lines().filter(|line| !line.is_empty()).map(parse).collect()
    }

    /// Waits until the records satisfy `predicate` and returns what it found.
    ///
    /// # Errors
    /// When that takes longer than `limit`, with the last records as help.
    pub fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut predicate: impl FnMut(&[Event]) -> Option<T>,
    ) -> Result<T> {
        wait::until(what, limit, || Ok(predicate(&self.all()?))).with_context(|| self.tail())
    }

    /// Waits until a statement with this text was recorded.
    ///
    /// # Errors
    /// When that takes longer than [`wait::PATIENCE`].
    pub fn wait_for_text(&self, text: &str) -> Result<Statement> {
        self.wait_for(&format!("the record of {text:?}"), wait::PATIENCE, |events| {
            statements(events).find(|statement| statement.text.as_deref() == Some(text)).cloned()
        })
    }

    fn tail(&self) -> String {
        let bytes = self.bytes().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().rev().take(12).collect();
        let cut = |line: &&str| line.chars().take(400).collect::<String>();
        format!("last records:\n{}", lines.iter().rev().map(cut).collect::<Vec<_>>().join("\n"))
    }
}

/// The lines of a segment; the compressed form is read with a tool that does not know the agent.
fn segment_bytes(file: &Path) -> Result<Vec<u8>> {
    let sealed = file.with_extension("jsonl.zst");
    if file.extension().is_some_and(|extension| extension == "jsonl") {
        match std::fs::read(file) {
            // Sealed since it was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && sealed.exists() => {}
            other => return Ok(other?),
        }
    }
    let sealed = if sealed.exists() { sealed } else { file.to_owned() };
    Ok(process::run(std::process::Command::new("zstd").arg("-dcq").arg(sealed))?.stdout)
}

/// Time from one record to a later one, at most a day.
///
/// # Errors
/// When one of them has no UTC time in RFC 3339 form.
pub fn between(earlier: &Event, later: &Event) -> Result<Duration> {
    const DAY: f64 = 86_400.0;
    let apart = seconds_of_day(&later.time)? - seconds_of_day(&earlier.time)?;
    Ok(Duration::from_secs_f64(apart.rem_euclid(DAY)))
}

fn seconds_of_day(time: &str) -> Result<f64> {
    let (_, clock) = time.split_once('T').with_context(|| format!("{time} is no time"))?;
    let clock = clock.strip_suffix('Z').with_context(|| format!("{time} is not UTC"))?;
    clock.split(':').try_fold(0.0, |sum, part| Ok(sum * 60.0 + part.parse::<f64>()?))
}

/// The statements among the events.
pub fn statements(events: &[Event]) -> impl Iterator<Item = &Statement> {
    events.iter().filter_map(|event| match &event.what {
        What::Statement(statement) => Some(statement.as_ref()),
        _ => None,
    })
}

/// The last known state of each session, by id.
#[must_use]
pub fn sessions(events: &[Event]) -> HashMap<&str, &Session> {
    let mut found = HashMap::new();
    for event in events {
        if let What::SessionOpen(session) | What::SessionChange(session) | What::SessionClose(session) = &event.what {
            found.insert(session.session.as_str(), session.as_ref());
        }
    }
    found
}

/// The final state of each session that ended.
pub fn closed(events: &[Event]) -> impl Iterator<Item = &Session> {
    events.iter().filter_map(|event| match &event.what {
        What::SessionClose(session) => Some(session.as_ref()),
        _ => None,
    })
}

/// Lost events by kind, all stages together.
#[must_use]
pub fn losses(events: &[Event]) -> HashMap<&str, u64> {
    let mut found = HashMap::new();
    for event in events {
        if let What::Loss { kind, count, .. } = &event.what {
            *found.entry(kind.as_str()).or_default() += count;
        }
    }
    found
}
