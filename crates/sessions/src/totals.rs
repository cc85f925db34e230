//! Counters since the start, for metrics.

use std::collections::BTreeMap;

use model::coverage::{Class, ClassCount};
use model::id::DatabaseId;
use model::session::{Ledger, Origin, Session, Transport};
use model::statement::{Ending, Outcome, Statement, StatementKind};

/// How a client reaches the server, without the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransportKind {
    /// TCP.
    Tcp,
    /// A Unix socket.
    Unix,
}

impl TransportKind {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Unix];
}

impl From<&Transport> for TransportKind {
    fn from(transport: &Transport) -> Self {
        match transport {
            Transport::Tcp { .. } => Self::Tcp,
            Transport::Unix { .. } => Self::Unix,
        }
    }
}

/// Which message asked for a statement, without the function's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KindLabel {
    /// Simple query.
    Simple,
    /// Execute of a portal.
    Execute,
    /// Refused Parse.
    Parse,
    /// Refused Bind.
    Bind,
    /// Refused Describe or Close.
    Describe,
    /// Function call.
    FunctionCall,
}

impl KindLabel {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 6] =
        [Self::Simple, Self::Execute, Self::Parse, Self::Bind, Self::Describe, Self::FunctionCall];
}

impl From<StatementKind> for KindLabel {
    fn from(kind: StatementKind) -> Self {
        match kind {
            StatementKind::Simple => Self::Simple,
            StatementKind::Execute => Self::Execute,
            StatementKind::Parse => Self::Parse,
            StatementKind::Bind => Self::Bind,
            StatementKind::Describe => Self::Describe,
            StatementKind::FunctionCall { .. } => Self::FunctionCall,
        }
    }
}

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResultLabel {
    /// Answered without an error.
    Completed,
    /// Answered with an error.
    Failed,
    /// Skipped by the server because of an earlier error.
    Discarded,
    /// The session ended first.
    Unanswered,
    /// The answer was not observed.
    Lost,
}

impl ResultLabel {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 5] = [Self::Completed, Self::Failed, Self::Discarded, Self::Unanswered, Self::Lost];
}

impl From<&Statement> for ResultLabel {
    fn from(statement: &Statement) -> Self {
        if statement.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Failed { .. })) {
            return Self::Failed;
        }
        match statement.ending {
            Ending::Answered => Self::Completed,
            Ending::Discarded => Self::Discarded,
            Ending::Unanswered => Self::Unanswered,
            Ending::Lost => Self::Lost,
        }
    }
}

/// Sessions of one database over one transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Became known, however.
    pub opened: u64,
    /// Of the opened: found at the agent's start.
    pub found_at_start: u64,
    /// Of the opened: their opening was missed, an iterator found them later.
    pub missed_open: u64,
    /// Ended.
    pub closed: u64,
    /// Of the closed: an iterator noticed it.
    pub missed_close: u64,
    /// Of the closed: the client might have been local, and its process never became known.
    pub unattributed: u64,
}

impl SessionCounts {
    /// Open now.
    #[must_use]
    pub const fn live(&self) -> u64 {
        self.opened - self.closed
    }
}

/// Statements by kind and result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatementCounts([[u64; ResultLabel::ALL.len()]; KindLabel::ALL.len()]);

impl StatementCounts {
    /// How many of this kind had this result.
    #[must_use]
    pub const fn get(&self, kind: KindLabel, result: ResultLabel) -> u64 {
        self.0[kind as usize][result as usize]
    }

    pub(crate) fn add(&mut self, statement: &Statement) -> ResultLabel {
        let result = ResultLabel::from(statement);
        self.0[KindLabel::from(statement.kind) as usize][result as usize] += 1;
        result
    }
}

/// What happened on one database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseTotals {
    sessions: [SessionCounts; TransportKind::ALL.len()],
    /// Statements that ended.
    pub statements: StatementCounts,
    /// Bytes of all sessions, as their ledgers were last reported.
    pub bytes: Ledger,
    /// Gaps in observed streams: lost bytes.
    pub gaps: u64,
    /// Bytes that were not the protocol.
    pub violations: u64,
    /// Sessions' errors outside any statement.
    pub refused: u64,
    /// Cancel requests.
    pub cancels: u64,
}

impl DatabaseTotals {
    /// Sessions over this transport.
    #[must_use]
    pub const fn sessions(&self, transport: TransportKind) -> &SessionCounts {
        &self.sessions[transport as usize]
    }

    pub(crate) fn sessions_mut(&mut self, transport: &Transport) -> &mut SessionCounts {
        &mut self.sessions[TransportKind::from(transport) as usize]
    }

    /// A session became known.
    pub(crate) fn opened(&mut self, session: &Session) {
        let counts = self.sessions_mut(&session.transport);
        counts.opened += 1;
        counts.found_at_start += u64::from(session.origin == Origin::FoundAtStart);
        counts.missed_open += u64::from(session.origin == Origin::MissedOpen);
    }

    /// A session that is counted turns out to have another transport.
    pub(crate) fn moved(&mut self, session: &Session, to: &Transport) {
        let (found, missed) = (session.origin == Origin::FoundAtStart, session.origin == Origin::MissedOpen);
        let before = self.sessions_mut(&session.transport);
        before.opened -= 1;
        before.found_at_start -= u64::from(found);
        before.missed_open -= u64::from(missed);
        let after = self.sessions_mut(to);
        after.opened += 1;
        after.found_at_start += u64::from(found);
        after.missed_open += u64::from(missed);
    }

    pub(crate) fn add_bytes(&mut self, more: &Ledger) {
        self.bytes = merge_ledgers(&self.bytes, more, u64::saturating_add);
    }
}

/// Counters since the start. They never go down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By database, for those that had a session.
    pub databases: BTreeMap<DatabaseId, DatabaseTotals>,
    /// Statements of sockets whose opening is not known (yet); they are in no database's counters.
    pub statements_without_session: StatementCounts,
    /// Openings beyond [`crate::Limits::sessions_max`].
    pub sessions_beyond_limit: u64,
    /// Events dropped: their socket's opening never came, or too many waited.
    pub early_events_dropped: u64,
    /// Events that came after their session's end, or for a session beyond the limit. Statements among the
    /// former are recorded nonetheless.
    pub late_events: u64,
    /// Client processes whose session never came.
    pub clients_unmatched: u64,
    /// Losses reported by others, by kind and stage.
    pub lost: BTreeMap<(&'static str, &'static str), u64>,
    /// Events of the kernel witness that a worker of the proxy has told as well.
    pub repeated_events: u64,
    /// Connections to the proxy that are older than this core, of which the proxy never told anything.
    pub fronts_unexplained: u64,
    /// Differences between the two witnesses, by figure.
    pub integrity_alerts: BTreeMap<&'static str, u64>,
    /// Sessions and bytes by class, as far as they are counted: at the end of an interval and of a session.
    pub coverage: BTreeMap<(DatabaseId, Class), ClassCount>,
}

impl Totals {
    pub(crate) fn database(&mut self, id: DatabaseId) -> &mut DatabaseTotals {
        self.databases.entry(id).or_default()
    }
}

/// Applies `merge` to every field of two ledgers.
pub(crate) fn merge_ledgers(one: &Ledger, other: &Ledger, merge: fn(u64, u64) -> u64) -> Ledger {
    Ledger {
        socket_received: merge(one.socket_received, other.socket_received),
        socket_sent: merge(one.socket_sent, other.socket_sent),
        content_received: merge(one.content_received, other.content_received),
        content_sent: merge(one.content_sent, other.content_sent),
        captured: merge(one.captured, other.captured),
        overhead_received_max: merge(one.overhead_received_max, other.overhead_received_max),
        overhead_sent_max: merge(one.overhead_sent_max, other.overhead_sent_max),
        messages_received: merge(one.messages_received, other.messages_received),
        messages_sent: merge(one.messages_sent, other.messages_sent),
    }
}
