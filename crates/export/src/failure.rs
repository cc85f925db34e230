//! Why an attempt to deliver failed, and whose fault it was.

use std::io;
use std::time::Duration;

/// A failed attempt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot connect to the receiver")]
    Connect(#[source] io::Error),
    #[error("the TLS session with the receiver failed")]
    Tls(#[source] io::Error),
    #[error("the receiver did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("the connection to the receiver broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the receiver answered with HTTP status {status}")]
    Status { status: u16, retry_after: Option<Duration> },
    #[error("the receiver refused the content of the batch with HTTP status {status}")]
    Refused { status: u16 },
    #[error("a record of {bytes} bytes does not fit into a datagram")]
    TooLarge { bytes: usize },
    #[error("cannot write to the file")]
    File(#[source] io::Error),
    #[error("cannot read the file with the token or certificate")]
    Secret(#[source] io::Error),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The receiver, the network or the configuration: the same batch may succeed later.
    Circumstances,
    /// What is in the batch: it will never succeed as it is.
    Content,
}

impl Failure {
    /// A status that is no success. Only what says that the content is at fault may ever give up records: a revoked
    /// token (401, 403) or a moved receiver (404) must not.
    pub(crate) const fn from_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            400 | 413 | 422 => Self::Refused { status },
            _ => Self::Status { status, retry_after },
        }
    }

    pub(crate) const fn blame(&self) -> Blame {
        match self {
            Self::Refused { .. } | Self::TooLarge { .. } => Blame::Content,
            _ => Blame::Circumstances,
        }
    }

    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The label `reason` of `warder_export_failed_attempts_total`.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout(_) => "timeout",
            Self::Broken(_) => "broken",
            Self::Status { .. } => "status",
            Self::Refused { .. } | Self::TooLarge { .. } => "refused",
            Self::File(_) => "file",
            Self::Secret(_) => "secret",
        }
    }
}

/// An error with all its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
