//! One record, one line: the common fields, then the fields of the record's type, in one flat object.

use std::borrow::Cow;

use journal::{head, record};
use model::id::{BootId, HostId};
use model::record::{Record, What};
use serde::{Deserialize, Serialize};

use crate::form::access::AccessForm;
use crate::form::credential::CredentialForm;
use crate::form::event::{
    AgentStartForm, CancelForm, Event, GapForm, LossForm, OperatorForm, ProcessChangeForm, ProxyForm, RefusedForm,
    SessionCloseForm, SessionGapForm,
};
use crate::form::identity::SessionText;
use crate::form::mediation::{BypassForm, BypassRefusedForm, CoverageForm, IntegrityForm};
use crate::form::process::ProcessForm;
use crate::form::session::SessionForm;
use crate::form::statement_line::{write_request_line, write_statement};
use crate::time::Timestamp;

/// Version of the line format (`v`). Fields are only ever added, so it has never changed.
pub const FORMAT_VERSION: u64 = 1;

/// Which host and boot this agent runs on; written with every `agent.start`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Which host.
    pub host: HostId,
    /// Which boot.
    pub boot: BootId,
}

/// Appends `record` as one line, newline included, to `out`.
pub fn encode(out: &mut Vec<u8>, seq: u64, machine: Machine, record: &Record) {
    head::write(out, seq, record.time, type_word(&record.what));
    match &record.what {
        What::AgentStarted { version, level, kernel } => {
            let (version, level, kernel) = ((*version).into(), level.into(), kernel.into());
            let (host, boot) = (machine.host.into(), machine.boot.into());
            write_fields(out, &AgentStartForm { version, level, kernel, host, boot });
        }
        What::AgentStopped => out.extend_from_slice(b"}\n"),
        What::NotObserved { from, to, reason } => {
            write_fields(out, &GapForm { from: Timestamp(*from), to: Timestamp(*to), reason: (*reason).into() });
        }
        What::SessionOpened(session) | What::SessionChanged(session) => {
            write_fields(out, &SessionForm::from(&**session));
        }
        What::SessionClosed { session, duration, missed } => {
            let session = SessionForm::from(&**session);
            write_fields(out, &SessionCloseForm { session, duration_us: duration / 1000, missed: *missed });
        }
        What::Requested { session, request } => write_request_line(out, *session, request),
        What::Statement { session, number, statement } => {
            write_statement(out, *session, *number, statement);
        }
        What::CancelRequested { session, pid, target } => {
            let target = target.map(SessionText::from);
            write_fields(out, &CancelForm { session: (*session).into(), pid: *pid, target });
        }
        What::Refused { session, by, logged_in, severity, sqlstate, message } => {
            let (by, severity, sqlstate, message) = ((*by).into(), severity.into(), sqlstate.into(), message.into());
            let session = (*session).into();
            write_fields(out, &RefusedForm { session, by, logged_in: *logged_in, severity, sqlstate, message });
        }
        What::SessionGap { session, side, bytes, reason } => {
            let (side, reason) = ((*side).into(), (*reason).into());
            write_fields(out, &SessionGapForm { session: (*session).into(), side, gap_bytes: *bytes, reason });
        }
        What::ProcessChanged { session, change, process, pid } => {
            let process = process.as_deref().map(ProcessForm::from);
            let change = (*change).into();
            write_fields(out, &ProcessChangeForm { session: (*session).into(), change, pid: *pid, process });
        }
        What::Lost { kind, stage, count } => {
            write_fields(out, &LossForm { kind: (*kind).into(), stage: (*stage).into(), count: *count });
        }
        What::Bypass { session, reason } => {
            write_fields(out, &BypassForm { session: SessionForm::from(&**session), reason: reason.word().into() });
        }
        What::BypassRefused { database_name, server, client } => {
            let (database_entry, client) = ((&**database_name).into(), ProcessForm::from(&**client));
            write_fields(out, &BypassRefusedForm { database_entry, server_address: server.to_string().into(), client });
        }
        What::IntegrityAlert { session, figure, proxy, kernel, when } => {
            let (figure, when) = ((*figure).into(), (*when).into());
            write_fields(
                out,
                &IntegrityForm { session: (*session).into(), figure, proxy: *proxy, kernel: *kernel, when },
            );
        }
        What::Coverage(coverage) => write_fields(out, &CoverageForm::from(&**coverage)),
        What::Proxy { event, database_name, worker, detail } => {
            let database_entry = database_name.as_deref().map(Into::into);
            let detail = detail.as_deref().map(Into::into);
            write_fields(out, &ProxyForm { event: (*event).into(), database_entry, worker: *worker, detail });
        }
        What::Access(event) => write_fields(out, &AccessForm::from(&**event)),
        What::Credential(credential) => write_fields(out, &CredentialForm::from(&**credential)),
        What::OperatorCommand { verb, uid } => write_fields(out, &OperatorForm { verb: verb.into(), uid: *uid }),
    }
}

const fn type_word(what: &What) -> &'static str {
    match what {
        What::AgentStarted { .. } => "agent.start",
        What::AgentStopped => "agent.stop",
        What::NotObserved { .. } => "gap",
        What::SessionOpened(_) => "session.open",
        What::SessionChanged(_) => "session.change",
        What::SessionClosed { .. } => "session.close",
        What::Requested { .. } => "request",
        What::Statement { .. } => "statement",
        What::CancelRequested { .. } => "cancel",
        What::Refused { .. } => "refused",
        What::SessionGap { .. } => "session.gap",
        What::ProcessChanged { .. } => "process",
        What::Lost { .. } => "loss",
        What::Access(_) => "access",
        What::OperatorCommand { .. } => "operator",
        What::Proxy { .. } => "proxy",
        What::Bypass { .. } => "bypass",
        What::BypassRefused { .. } => "bypass.refused",
        What::IntegrityAlert { .. } => "integrity",
        What::Coverage(_) => "coverage",
        What::Credential(_) => "credential",
    }
}

/// The fields of the type, into the object that [`head::write`] left open: the fields' own opening brace
/// becomes the comma between the two.
fn write_fields(out: &mut Vec<u8>, fields: &impl Serialize) {
    let comma = out.len();
    serde_json::to_writer(&mut *out, fields).expect("forms have text keys, and memory does not fail");
    if let Some(brace) = out.get_mut(comma) {
        *brace = b',';
    }
    out.push(b'\n');
}

/// The common fields, and which session a record belongs to: all that a filter needs.
#[derive(Debug, Deserialize)]
pub struct Head<'a> {
    /// Format version.
    pub v: u64,
    /// Number of the record.
    pub seq: u64,
    /// When it happened.
    pub time: Timestamp,
    /// Type word.
    #[serde(rename = "type", borrow)]
    pub type_word: Cow<'a, str>,
    /// Session, for types that have one.
    #[serde(default)]
    pub session: Option<SessionText>,
    /// The other session of a `cancel`.
    #[serde(default)]
    pub target: Option<SessionText>,
}

/// One record as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Number of the record.
    pub seq: u64,
    /// When it happened.
    pub time: Timestamp,
    /// Session, for types that have one.
    pub session: Option<SessionText>,
    /// What happened.
    pub event: Event,
}

/// Reads the common fields of a line. Unknown fields are ignored, so this also works on newer versions.
pub fn decode_head(line: &[u8]) -> Result<Head<'_>, serde_json::Error> {
    serde_json::from_slice(line)
}

/// Reads the fields of a line whose head is known.
pub fn decode(head: &Head<'_>, line: &[u8]) -> Result<Entry, serde_json::Error> {
    let event = match &*head.type_word {
        "agent.start" => Event::AgentStart(serde_json::from_slice(line)?),
        "agent.stop" => Event::AgentStop,
        "gap" => Event::Gap(serde_json::from_slice(line)?),
        "session.open" => Event::SessionOpen(serde_json::from_slice(line)?),
        "session.change" => Event::SessionChange(serde_json::from_slice(line)?),
        "session.close" => Event::SessionClose(serde_json::from_slice(line)?),
        "request" => Event::Request(serde_json::from_slice(line)?),
        "statement" => Event::Statement(serde_json::from_slice(line)?),
        "cancel" => Event::Cancel(serde_json::from_slice(line)?),
        "refused" => Event::Refused(serde_json::from_slice(line)?),
        "session.gap" => Event::SessionGap(serde_json::from_slice(line)?),
        "process" => Event::Process(serde_json::from_slice(line)?),
        "loss" => Event::Loss(serde_json::from_slice(line)?),
        "access" => Event::Access(serde_json::from_slice(line)?),
        "operator" => Event::Operator(serde_json::from_slice(line)?),
        "bypass" => Event::Bypass(serde_json::from_slice(line)?),
        "bypass.refused" => Event::BypassRefused(serde_json::from_slice(line)?),
        "integrity" => Event::Integrity(serde_json::from_slice(line)?),
        "proxy" => Event::Proxy(serde_json::from_slice(line)?),
        "coverage" => Event::Coverage(serde_json::from_slice(line)?),
        "credential" => Event::Credential(serde_json::from_slice(line)?),
        record::SEGMENT => Event::Segment,
        record::CHECKPOINT => Event::Checkpoint,
        record::HANDOVER => Event::KeyHandover(serde_json::from_slice(line)?),
        record::REMOVED => Event::SegmentsRemoved(serde_json::from_slice(line)?),
        record::RECOVERED => Event::Recovered(serde_json::from_slice(line)?),
        other => Event::Other(other.to_owned()),
    };
    Ok(Entry { seq: head.seq, time: head.time, session: head.session, event })
}
