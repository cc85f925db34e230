//! The control socket: one line of JSON asks, one line answers, over a Unix stream socket.
//!
//! `{"v":1,"verb":"sessions"}` -> `{"v":1,"sessions":[...]}`, or `{"v":1,"error":{"code":..,"message":..}}`.
//! Who may ask is decided by the peer's credentials: [`server`].

pub mod client;
pub mod grants;
pub mod server;
pub(crate) mod shares;

use std::borrow::Cow;

use grants::{GrantAsk, GrantView};
use model::session::Session;
use model::time::WallTime;
use serde::{Deserialize, Serialize};
use store::form::session::SessionForm;
use store::time::Timestamp;

use crate::link::SteeringState;

/// Version of the protocol; requests of another version are refused.
pub const PROTOCOL_VERSION: u32 = 1;

/// Longest request line.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// A request line. Without `Debug`: there may be a token in it.
#[derive(Serialize, Deserialize)]
pub struct Request<'a> {
    /// Protocol version.
    pub v: u32,
    /// What is asked for.
    pub verb: Cow<'a, str>,
    /// `steer-on`, `steer-off`, `steer-status`: name of a database; absent: all that have a proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Cow<'a, str>>,
    /// `grant-...`: the particulars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantAsk>,
    /// `end-access`: name of a role, or of a principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whose: Option<Cow<'a, str>>,
}

impl<'a> Request<'a> {
    /// This verb, about nothing in particular.
    #[must_use]
    pub fn of(verb: &'a str) -> Self {
        Self { v: PROTOCOL_VERSION, verb: verb.into(), database: None, grant: None, whose: None }
    }
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
    /// Answer to `steer-on`, `steer-off` and `steer-status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steering: Option<Vec<SteeringView>>,
    /// Answer to `accesses` and, those that end now, to `end-access`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accesses: Option<Vec<AccessView>>,
    /// Answer to `rotate-key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyView>,
    /// Answer to `grant-...`: those that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<GrantView>>,
}

/// Why a request was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal<'a> {
    /// `request_too_long`, `not_a_request`, `unsupported_version`, `unknown_verb`, `not_allowed`, `busy`, `failed`;
    /// of grants also `no_token`, `token`, `no_grant`, `unknown_grant`, `unknown_database`, `scope`, `policy`, `person`,
    /// `state`, `digest`, `too_much`, `too_many`.
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
    /// The journal cannot be written now.
    pub write_failing: bool,
}

/// What an operator wants of steering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SteerVerb {
    /// Send connections through the proxy.
    On,
    /// Let them go to the server.
    Off,
    /// Say how it is.
    Status,
}

/// How steering of a database is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SteeringView {
    /// Name of the database.
    pub database: String,
    /// TCP connections are steered to the proxy.
    pub steered: bool,
    /// The Unix socket is taken over.
    pub socket_taken: bool,
    /// What happens without a live worker: `open` (connections reach the server) or `closed` (they are refused).
    pub fail: String,
    /// Listeners that take connections now.
    pub listeners_live: u32,
    /// All listeners.
    pub listeners: u32,
    /// Age of the oldest heartbeat in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_age_ms: Option<u64>,
    /// Connections that were steered.
    pub connections_steered: u64,
    /// The proxy's own connections to the server.
    pub connections_hop: u64,
    /// Connections that a rule allows to be direct.
    pub connections_direct: u64,
    /// Connections that reached the server because no worker was alive.
    pub connections_passed_open: u64,
    /// Connections that were dropped because no worker was alive.
    pub connections_dropped_closed: u64,
    /// Folder of the control group whose processes may not go past the proxy; absent: none is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse_direct: Option<String>,
    /// The kernel refuses them now.
    pub refusing: bool,
    /// What an operator should know.
    pub remarks: Vec<String>,
}

impl From<SteeringState> for SteeringView {
    fn from(state: SteeringState) -> Self {
        Self {
            database: state.database,
            steered: state.steered,
            socket_taken: state.socket_taken,
            fail: if state.fail_closed { "closed" } else { "open" }.to_owned(),
            listeners_live: state.listeners_live,
            listeners: state.listeners,
            heartbeat_age_ms: state.heartbeat_age.map(|nanos| nanos / 1_000_000),
            connections_steered: state.connections.steered,
            connections_hop: state.connections.hop,
            connections_direct: state.connections.direct,
            connections_passed_open: state.connections.passed_open,
            connections_dropped_closed: state.connections.dropped_closed,
            refusing: state.refusal.as_ref().is_some_and(|refusal| refusal.attached && refusal.refusing),
            refuse_direct: state.refusal.map(|refusal| refusal.cgroup),
            remarks: state.remarks,
        }
    }
}

/// The access of one session through the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccessView {
    /// Name of the role that was made for it; absent: its login at the server is one that others have as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The role whose rights it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Name of the database.
    pub database: String,
    /// For whom, and behind it for whom he acts; empty: another core knew it.
    pub principal: String,
    /// When the access ends at the latest; absent: with the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Cookie of the client's accepted socket.
    pub connection: u64,
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
