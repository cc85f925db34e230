//! What a protocol decoder is fed and what it says.

use crate::request::Request;
use crate::session::Encryption;
use crate::statement::Statement;

/// Which side sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The database client (frontend).
    Client,
    /// The database server (backend).
    Server,
}

/// One piece of one direction of a stream, in stream order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// Plaintext bytes exactly as sent, split anywhere.
    Bytes(&'a [u8]),
    /// Bytes that were left out on purpose, with what they were.
    ///
    /// Two uses. Inside a message whose header (and perhaps a part of whose body) was given as `Bytes`:
    /// `messages` is 0 and the next `bytes` bytes of that body are left out. At a message boundary:
    /// `messages` whole messages of `kind` *begin* here, headers included in `bytes`; the end of the last of
    /// them may follow in a later `Skipped` with `messages` 0 and the same kind.
    Skipped {
        /// Message type byte.
        kind: u8,
        /// Bytes left out.
        bytes: u64,
        /// Messages that begin in them.
        messages: u64,
    },
    /// Bytes that were lost. The next byte of this direction belongs to the message in progress for
    /// `resume_in` more bytes (0: the next byte starts a message); `None`: not known, find a boundary.
    Lost {
        /// How many, where known.
        bytes: Option<u64>,
        /// Where the stream continues.
        resume_in: Option<u64>,
    },
}

/// What a decoder says about one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireEvent {
    /// The client asked for encryption and the server answered; or the first byte decided.
    Encryption(Encryption),
    /// StartupMessage.
    Startup {
        /// Protocol major and minor version.
        protocol: (u16, u16),
        /// Parameters in order, lossy UTF-8; bounded.
        parameters: Vec<(String, String)>,
    },
    /// CancelRequest: this connection exists to cancel the query of another.
    CancelRequested {
        /// Backend process id to cancel. The secret key is never kept.
        pid: u32,
    },
    /// The server asked for authentication; the method name, never its payload.
    AuthenticationRequested(&'static str),
    /// AuthenticationOk.
    Authenticated,
    /// BackendKeyData; the secret key is never kept.
    BackendPid(u32),
    /// ParameterStatus.
    ParameterStatus {
        /// Name, lossy UTF-8.
        name: String,
        /// Value, lossy UTF-8.
        value: String,
    },
    /// ErrorResponse outside any statement (for example a failed login).
    Refused {
        /// Non-localised severity.
        severity: String,
        /// SQLSTATE.
        sqlstate: String,
        /// Primary message.
        message: String,
    },
    /// A message that asks for something is complete. Only of connections that are to say so, and before its statement.
    Requested(Box<Request>),
    /// A statement whose observation has ended.
    Statement(Box<Statement>),
    /// NotificationResponse; the payload is not kept.
    Notification {
        /// Channel name, lossy UTF-8.
        channel: String,
    },
    /// The client sent Terminate.
    Terminated,
    /// Part of the stream was not observed.
    Gap {
        /// Which direction.
        side: Side,
        /// How many bytes, where known.
        bytes: Option<u64>,
    },
    /// The bytes are not this protocol; the decoder looks for a boundary again.
    Violation {
        /// Which direction.
        side: Side,
        /// What was wrong, in fixed words (never bytes of the stream).
        what: &'static str,
    },
}
