//! What a client asked for and what became of it. The unit is the protocol message (a `Query`, or one
//! `Execute`), each with 1..n outcomes, so that it can be compared with the server's own log.

use std::sync::Arc;

use crate::time::BootTime;
use crate::verdict::Judgement;

/// Which message asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatementKind {
    /// Simple query protocol: one `Query` ('Q'), possibly several SQL statements.
    Simple,
    /// Extended protocol: one `Execute` ('E') of a portal.
    Execute,
    /// A `Parse` ('P') that the server refused (successful ones are no statement).
    Parse,
    /// A `Bind` ('B') that the server refused.
    Bind,
    /// A `Describe` ('D') or `Close` that the server refused.
    Describe,
    /// A `FunctionCall` ('F').
    FunctionCall {
        /// Object id of the function.
        function: u32,
    },
}

/// The SQL text, as far as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Text {
    /// The whole text; lossy UTF-8.
    Whole(Arc<str>),
    /// The beginning of a text that is longer than the capture bound.
    Truncated {
        /// What was captured; lossy UTF-8.
        beginning: Arc<str>,
        /// Length of the whole text in bytes.
        bytes: u64,
    },
    /// No text, for this reason.
    Unknown(UnknownText),
}

/// Why a statement has no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownText {
    /// The prepared statement or portal was created before the agent observed the session.
    PreparedBeforeStart,
    /// The message that carried it was lost between kernel and agent.
    Lost,
    /// The client named a statement or portal that does not exist.
    NoSuchName,
    /// More names were open in the session than the decoder keeps (its limit is documented there).
    TooManyNames,
    /// The message carries none (a function call).
    None,
}

/// Format of a value on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Format code 0.
    Text,
    /// Format code 1.
    Binary,
}

/// A bound parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// Readable form: the text format, or a binary value of a known type; lossy UTF-8.
    Readable(String),
    /// A value that is not decoded: unknown binary type, or longer than the capture bound.
    Opaque {
        /// Format on the wire.
        format: Format,
        /// Length in bytes.
        bytes: u64,
    },
    /// Withheld: it may be a secret.
    Redacted,
}

/// A bound parameter with its type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parameter {
    /// Type object id where the client or the server named it; 0 is never stored.
    pub type_oid: Option<u32>,
    /// The value.
    pub value: Value,
}

/// One result of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// CommandComplete.
    Completed {
        /// Command tag as sent, for example `SELECT 5` or `CREATE TABLE`.
        tag: String,
        /// Row count from the tag, where it has one.
        rows: Option<u64>,
    },
    /// ErrorResponse.
    Failed {
        /// Non-localised severity (`ERROR`, `FATAL`, `PANIC`).
        severity: String,
        /// Five-character SQLSTATE.
        sqlstate: String,
        /// Primary message; may be withheld by redaction.
        message: String,
    },
    /// EmptyQueryResponse.
    Empty,
    /// PortalSuspended: the row limit of the Execute was reached after this many rows.
    Suspended {
        /// Rows sent by this Execute.
        rows: u64,
    },
    /// FunctionCallResponse.
    Returned,
    /// A COPY or replication stream began; it ends with Completed or Failed.
    CopyStarted {
        /// Which way the data flows.
        direction: CopyDirection,
    },
}

/// Which way COPY data flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyDirection {
    /// Client to server.
    In,
    /// Server to client.
    Out,
    /// Both (replication).
    Both,
}

/// How the observation of a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Its last response was seen.
    Answered,
    /// The server skipped it: an earlier message of the same batch had failed.
    Discarded,
    /// The session ended first: received, not known to be executed.
    Unanswered,
    /// The response fell into a gap of the observation.
    Lost,
}

/// Transaction status of ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transaction {
    /// `I`
    Idle,
    /// `T`
    Open,
    /// `E`
    Failed,
}

/// One message of a client with everything that came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Which message asked for it.
    pub kind: StatementKind,
    /// SQL text (of the prepared statement, for an Execute).
    pub text: Text,
    /// Prepared statement name; `None` for the simple protocol, empty for the unnamed statement.
    pub prepared: Option<Arc<str>>,
    /// Portal name; `None` for the simple protocol, empty for the unnamed portal.
    pub portal: Option<Arc<str>>,
    /// Bound values in order. `None`: the Bind was not observed (then the values are unknown, not absent).
    pub parameters: Option<Vec<Parameter>>,
    /// Row limit of the Execute; 0 is no limit.
    pub row_limit: u32,
    /// The portal had been executed before: the server logs it as `execute fetch from`.
    pub resumed: bool,
    /// Transaction status before the message, where known.
    pub transaction_before: Option<Transaction>,
    /// Transaction status at the ReadyForQuery after it, where one was seen with it.
    pub transaction_after: Option<Transaction>,
    /// When the last byte of the message was received by the server.
    pub started: BootTime,
    /// When the last response of it was sent; `None` unless [`Ending::Answered`].
    pub finished: Option<BootTime>,
    /// Results in order.
    pub outcomes: Vec<Outcome>,
    /// Outcomes beyond the decoder's limit, counted only.
    pub outcomes_dropped: u64,
    /// Data rows (or COPY rows) sent to the client.
    pub rows_sent: u64,
    /// Notices sent while it ran.
    pub notices: u64,
    /// Bytes of COPY data, both directions.
    pub copy_bytes: u64,
    /// How its observation ended.
    pub ending: Ending,
    /// Something in it was withheld because it may be a secret.
    pub redacted: bool,
    /// What was decided about its message before that was forwarded. `None`: nobody decided, or it is not known what.
    pub judgement: Option<Arc<Judgement>>,
}
