//! What leaves the pipeline: the records of the timeline.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::access::AccessEvent;
use crate::coverage::{BypassReason, Coverage};
use crate::credential::Credential;
use crate::id::SessionId;
use crate::process::Process;
use crate::request::Request;
use crate::session::Session;
use crate::statement::Statement;
use crate::time::WallTime;

/// One record with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it happened (not when it was written).
    pub time: WallTime,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The agent started to observe.
    AgentStarted {
        /// Version of the agent.
        version: &'static str,
        /// Capability level, in fixed words (documented in `docs/kernel-support.md`).
        level: String,
        /// Kernel release.
        kernel: String,
    },
    /// The agent stopped on request.
    AgentStopped,
    /// Nothing was observed in this span: the agent was not running.
    NotObserved {
        /// Begin of the span.
        from: WallTime,
        /// End of the span.
        to: WallTime,
        /// Why, in fixed words.
        reason: &'static str,
    },
    /// A session became known.
    SessionOpened(Arc<Session>),
    /// A session's client is now identified, logged in, encrypted, or refused: the whole session as of now.
    SessionChanged(Arc<Session>),
    /// A session ended: its final state.
    SessionClosed {
        /// Final state.
        session: Arc<Session>,
        /// Duration in nanoseconds since it was opened or found.
        duration: u64,
        /// The end was noticed by an iterator, not seen live.
        missed: bool,
    },
    /// A client asked for something through the proxy; it goes to the server when this is recorded as safely as the
    /// configuration wants.
    Requested {
        /// Of which session.
        session: SessionId,
        /// The request.
        request: Box<Request>,
    },
    /// A statement ended.
    Statement {
        /// Of which session.
        session: SessionId,
        /// Number within the session, from 1.
        number: u64,
        /// The statement.
        statement: Box<Statement>,
    },
    /// A connection was used to cancel another session's query.
    CancelRequested {
        /// The connection.
        session: SessionId,
        /// Backend pid to cancel.
        pid: u32,
        /// The session of that backend, where known.
        target: Option<SessionId>,
    },
    /// An error outside any statement: a session was refused (failed login, too many connections, ...), or ended
    /// between statements.
    Refused {
        /// Which session.
        session: SessionId,
        /// `server` or `proxy`.
        by: &'static str,
        /// The session was open: its client had been let in.
        logged_in: bool,
        /// Severity.
        severity: String,
        /// SQLSTATE.
        sqlstate: String,
        /// Message.
        message: String,
    },
    /// Part of a session's stream was not observed, or was not the protocol.
    SessionGap {
        /// Which session.
        session: SessionId,
        /// `client` or `server`.
        side: &'static str,
        /// Bytes, where known.
        bytes: Option<u64>,
        /// Why, in fixed words.
        reason: &'static str,
    },
    /// A process of a session executed another program, or forked, or ended.
    ProcessChanged {
        /// Which session.
        session: SessionId,
        /// `exec`, `fork` or `exit`.
        change: &'static str,
        /// The process after the change.
        process: Option<Arc<Process>>,
        /// Its pid.
        pid: u32,
    },
    /// Events were lost.
    Lost {
        /// Kind of event.
        kind: &'static str,
        /// Stage at which it was lost.
        stage: &'static str,
        /// How many since the last such record.
        count: u64,
    },
    /// A session got around the proxy of a guarded database. The record before tells all about it.
    Bypass {
        /// The session.
        session: Arc<Session>,
        /// How.
        reason: BypassReason,
    },
    /// A local process wanted to get around the proxy, and was refused before it could connect.
    BypassRefused {
        /// Name of the database in the configuration.
        database_name: Arc<str>,
        /// Where it wanted to connect to.
        server: SocketAddr,
        /// The process.
        client: Arc<Process>,
    },
    /// The two witnesses disagree on a session that went through the proxy.
    IntegrityAlert {
        /// Which session.
        session: SessionId,
        /// On which figure, in fixed words: `bytes_to_server`, `bytes_from_server`, `messages_to_server`,
        /// `messages_from_server`.
        figure: &'static str,
        /// What the proxy says.
        proxy: u64,
        /// What the kernel says.
        kernel: u64,
        /// `quiet` (nothing was under way) or `end`.
        when: &'static str,
    },
    /// The coverage ledger of one database for one interval.
    Coverage(Arc<Coverage>),
    /// Something happened to the proxy itself.
    Proxy {
        /// What, in fixed words: `worker_ended`, `steered`, `not_steered`, `steering_lost`, `socket_taken`,
        /// `socket_given_back`, `socket_retaken`,
        /// `policies_loaded`, `policies_refused`.
        event: &'static str,
        /// Name of the database in the configuration, where it concerns one.
        database_name: Option<Arc<str>>,
        /// Number of the worker, where it concerns one.
        worker: Option<u32>,
        /// For people: why, how.
        detail: Option<String>,
    },
    /// Something became of a grant; it takes effect after this record.
    Access(Box<AccessEvent>),
    /// A role that lives as long as one session: what became of it.
    Credential(Box<Credential>),
    /// An operator used a control verb.
    OperatorCommand {
        /// The verb.
        verb: String,
        /// Uid of the caller, by `SO_PEERCRED`.
        uid: u32,
    },
}
