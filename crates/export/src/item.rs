//! A record on its way to a receiver.

use model::time::WallTime;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;

use crate::severity::Severity;

/// One record, in the form that its receiver takes.
#[derive(Debug)]
pub(crate) struct Item {
    /// Number in the journal; a statement about a loss has none.
    pub(crate) seq: Option<u64>,
    pub(crate) time: WallTime,
    /// Type word of the record.
    pub(crate) type_word: Box<str>,
    pub(crate) severity: Severity,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    /// One line of JSON, without newline.
    Json(Vec<u8>),
    /// An OpenTelemetry log record.
    Log(Box<LogRecord>),
}

impl Item {
    /// The line; empty for what is none.
    pub(crate) fn json(&self) -> &[u8] {
        match &self.content {
            Content::Json(line) => line,
            Content::Log(_) => &[],
        }
    }

    /// Bytes that it adds to a batch.
    pub(crate) fn bytes(&self) -> usize {
        match &self.content {
            Content::Json(line) => line.len(),
            Content::Log(log) => log.encoded_len(),
        }
    }
}
