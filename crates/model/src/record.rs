//! What leaves the pipeline: the records of the timeline.

use std::sync::Arc;

use crate::id::SessionId;
use crate::process::Process;
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
    /// The server refused the session outside any statement (failed login, too many connections, ...).
    Refused {
        /// Which session.
        session: SessionId,
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
    /// An operator used a control verb.
    OperatorCommand {
        /// The verb.
        verb: String,
        /// Uid of the caller, by `SO_PEERCRED`.
        uid: u32,
    },
}
