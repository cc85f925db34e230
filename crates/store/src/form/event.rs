//! The remaining record types, and all of them together.

use std::borrow::Cow;

use journal::record::{Handover, Recovered, Removed};
use serde::{Deserialize, Serialize};

use super::access::AccessForm;
use super::credential::CredentialForm;
use super::identity::{Hex128, SessionText};
use super::is_false;
use super::mediation::{BypassForm, BypassRefusedForm, CoverageForm, IntegrityForm};
use super::process::ProcessForm;
use super::session::SessionForm;
use super::statement::{RequestForm, StatementForm};
use crate::time::Timestamp;

/// `agent.start`: the agent began to observe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentStartForm<'a> {
    /// Version of the agent.
    pub version: Cow<'a, str>,
    /// Capability level.
    pub level: Cow<'a, str>,
    /// Kernel release.
    pub kernel: Cow<'a, str>,
    /// Which host.
    pub host: Hex128,
    /// Which boot.
    pub boot: Hex128,
}

/// `gap`: nothing was observed in this span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GapForm<'a> {
    /// Begin.
    pub from: Timestamp,
    /// End.
    pub to: Timestamp,
    /// Why.
    pub reason: Cow<'a, str>,
}

/// `session.close`: the final state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionCloseForm<'a> {
    /// Final state.
    #[serde(flatten)]
    pub session: SessionForm<'a>,
    /// Since it was opened or found.
    pub duration_us: u64,
    /// The end was noticed by an iterator.
    #[serde(skip_serializing_if = "is_false")]
    pub missed: bool,
}

/// `cancel`: a connection was used to cancel another session's query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CancelForm {
    /// The connection.
    pub session: SessionText,
    /// Backend pid to cancel.
    pub pid: u32,
    /// Session of that backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<SessionText>,
}

/// `refused`: an error outside any statement, which refused a session or ended it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefusedForm<'a> {
    /// Which session.
    pub session: SessionText,
    /// `server` or `proxy`; empty in older records.
    pub by: Cow<'a, str>,
    /// The client had been let in.
    #[serde(skip_serializing_if = "is_false")]
    pub logged_in: bool,
    /// Severity.
    pub severity: Cow<'a, str>,
    /// SQLSTATE.
    pub sqlstate: Cow<'a, str>,
    /// Message.
    pub message: Cow<'a, str>,
}

/// `session.gap`: part of a session's stream was not observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionGapForm<'a> {
    /// Which session.
    pub session: SessionText,
    /// `client` or `server`.
    pub side: Cow<'a, str>,
    /// Bytes, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_bytes: Option<u64>,
    /// Why.
    pub reason: Cow<'a, str>,
}

/// `process`: a process of a session executed, forked or ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessChangeForm<'a> {
    /// Which session.
    pub session: SessionText,
    /// `exec`, `fork`, `exit`.
    pub change: Cow<'a, str>,
    /// Its pid.
    pub pid: u32,
    /// The process after the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessForm<'a>>,
}

/// `loss`: events were lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LossForm<'a> {
    /// Kind of event.
    pub kind: Cow<'a, str>,
    /// `kernel` or `core`.
    pub stage: Cow<'a, str>,
    /// How many.
    pub count: u64,
}

/// `operator`: somebody used a control verb.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OperatorForm<'a> {
    /// The verb.
    pub verb: Cow<'a, str>,
    /// Uid of the caller.
    pub uid: u32,
}

/// Fields of `proxy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProxyForm<'a> {
    /// What happened.
    pub event: Cow<'a, str>,
    /// Name of the database in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_entry: Option<Cow<'a, str>>,
    /// Number of the worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// `agent.start`
    AgentStart(AgentStartForm<'static>),
    /// `agent.stop`
    AgentStop,
    /// `gap`
    Gap(GapForm<'static>),
    /// `session.open`
    SessionOpen(Box<SessionForm<'static>>),
    /// `session.change`
    SessionChange(Box<SessionForm<'static>>),
    /// `session.close`
    SessionClose(Box<SessionCloseForm<'static>>),
    /// `request`
    Request(Box<RequestForm<'static>>),
    /// `statement`
    Statement(Box<StatementForm<'static>>),
    /// `cancel`
    Cancel(CancelForm),
    /// `refused`
    Refused(RefusedForm<'static>),
    /// `session.gap`
    SessionGap(SessionGapForm<'static>),
    /// `process`
    Process(Box<ProcessChangeForm<'static>>),
    /// `loss`
    Loss(LossForm<'static>),
    /// `operator`
    Operator(OperatorForm<'static>),
    /// `access`
    Access(Box<AccessForm<'static>>),
    /// `proxy`
    Proxy(ProxyForm<'static>),
    /// `bypass`
    Bypass(Box<BypassForm<'static>>),
    /// `bypass.refused`
    BypassRefused(Box<BypassRefusedForm<'static>>),
    /// `integrity`
    Integrity(IntegrityForm<'static>),
    /// `coverage`
    Coverage(Box<CoverageForm<'static>>),
    /// `credential`
    Credential(Box<CredentialForm<'static>>),
    /// `segment`: a segment of the journal begins.
    Segment,
    /// `checkpoint`: everything before it is signed.
    Checkpoint,
    /// `key.handover`: another key signs from here on.
    KeyHandover(Handover),
    /// `segments.removed`: the oldest records are removed.
    SegmentsRemoved(Removed),
    /// `journal.recovered`: what a killed agent left was repaired.
    Recovered(Recovered),
    /// A type that this version does not know (a newer writer); its name.
    Other(String),
}
