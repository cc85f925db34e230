//! The control socket: one line of JSON asks, one line answers, over a Unix stream socket.
//!
//! `{"v":1,"verb":"sessions"}` -> `{"v":1,"sessions":[...]}`, or `{"v":1,"error":{"code":..,"message":..}}`.
//! Who may ask is decided by the peer's credentials: [`server`].

pub mod client;
pub mod server;

use std::borrow::Cow;

use model::session::Session;
use model::time::WallTime;
use serde::{Deserialize, Serialize};
use store::form::session::SessionForm;
use store::time::Timestamp;

/// Version of the protocol; requests of another version are refused.
pub const PROTOCOL_VERSION: u32 = 1;

/// Longest request line.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// A request line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request<'a> {
    /// Protocol version.
    pub v: u32,
    /// What is asked for.
    pub verb: Cow<'a, str>,
}

/// A response line: one of the fields beside `v`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Response<'a> {
    /// Protocol version.
    pub v: u32,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal<'a>>,
    /// Answer to `sessions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Vec<SessionView<'a>>>,
    /// Answer to `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusView>,
    /// Answer to `scan`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan: Option<ScanView>,
    /// Answer to `rotate-key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyView>,
}

/// Why a request was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal<'a> {
    /// `request_too_long`, `not_a_request`, `unsupported_version`, `unknown_verb`, `not_allowed`, `failed`.
    pub code: Cow<'a, str>,
    /// For people: what happened and what to do.
    pub message: Cow<'a, str>,
}

/// A live session: the session object of `docs/events.md`, and what it is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionView<'a> {
    /// The session object.
    #[serde(flatten)]
    pub session: SessionForm<'a>,
    /// When it was opened or found.
    pub since: Timestamp,
    /// Text of the statement that is running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<Cow<'a, str>>,
    /// When that statement was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_since: Option<Timestamp>,
}

/// A live session as the core hands it out.
#[derive(Clone, Copy, Debug)]
pub struct LiveSession<'a> {
    /// The session.
    pub session: &'a Session,
    /// When it was opened or found.
    pub since: WallTime,
    /// The statement that is running: its text (empty if unknown) and when it was received.
    pub current: Option<(&'a str, WallTime)>,
}

impl<'a> From<LiveSession<'a>> for SessionView<'a> {
    fn from(live: LiveSession<'a>) -> Self {
        Self {
            session: live.session.into(),
            since: Timestamp(live.since),
            current: live.current.map(|(text, _)| text.into()),
            current_since: live.current.map(|(_, at)| Timestamp(at)),
        }
    }
}

/// How the agent is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusView {
    /// Version of the agent.
    pub version: String,
    /// Process id of the core.
    pub pid: u32,
    /// Capability level.
    pub level: String,
    /// When it started to observe.
    pub since: Timestamp,
    /// Names of the observed databases.
    pub databases: Vec<String>,
    /// Live sessions.
    pub sessions: u64,
    /// Statements since the start.
    pub statements: u64,
    /// Events lost since the start, at all stages.
    pub lost: u64,
    /// Records written since the start.
    pub events_written: u64,
    /// Records dropped since the start.
    pub events_dropped: u64,
}

/// The key that signs the journal from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyView {
    /// Its id: the first 16 hexadecimal digits of the SHA-256 of the public key.
    pub key: String,
}

/// What a scan found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScanView {
    /// Sessions that exist now.
    pub sessions: u64,
    /// Among them: their opening had been missed.
    pub missed_open: u64,
    /// Sessions whose end had been missed.
    pub missed_close: u64,
    /// How long it took.
    pub duration_us: u64,
}
