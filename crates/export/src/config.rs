//! What the configuration may say about an export (`[[export]]`, `docs/exports.md`).
//!
//! These are the keys as they are written. [`crate::plan`] checks them; nothing else reads them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One `[[export]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExportConfig {
    /// Name in metrics, in the log, and of the cursor file: `a-z`, `0-9`, `-`, `_`; at most 32.
    pub name: String,
    /// What is sent, and which of the places below it needs.
    pub kind: Kind,
    /// A file, absolute, or `-` for standard output.
    pub file: Option<PathBuf>,
    /// `http://` or `https://`.
    pub url: Option<String>,
    /// `tcp://HOST:PORT`, `tls://HOST:PORT`, `udp://HOST:PORT`, `unix:///PATH`.
    pub syslog: Option<String>,
    /// Only records of these types; absent: all.
    pub types: Option<Vec<String>>,
    /// Where an export without a cursor begins.
    #[serde(default)]
    pub start: Start,
    /// Certificates to trust, PEM; absent: the system's.
    pub ca_file: Option<PathBuf>,
    /// Own certificate and chain, PEM; together with `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// File with a bearer token; read for every request.
    pub bearer_token_file: Option<PathBuf>,
    /// HTTP bodies.
    pub compression: Option<Compression>,
    /// `webhook`, and `ocsf` over HTTP: form of the body.
    pub body: Option<Body>,
    /// `otlp`: the metrics are sent this often; 0: not at all.
    pub metrics_interval_seconds: Option<u64>,
    /// Syslog facility, by name.
    pub facility: Option<String>,
    /// A file that would exceed this is rotated.
    pub file_bytes_max: Option<u64>,
    /// Rotated files are removed beyond this number, the current one included.
    pub files_max: Option<u32>,
    /// Records of one batch.
    pub batch_records_max: Option<usize>,
    /// Bytes of one batch.
    pub batch_bytes_max: Option<usize>,
    /// One attempt may take this long.
    pub timeout_seconds: Option<u64>,
    /// Longest pause between attempts.
    pub retry_seconds_max: Option<u64>,
    /// Attempts until a batch that the receiver refuses for its content is given up.
    pub refusals_max: Option<u32>,
}

impl ExportConfig {
    /// An export with no place yet; everything else has its default.
    #[must_use]
    pub fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            file: None,
            url: None,
            syslog: None,
            types: None,
            start: Start::default(),
            ca_file: None,
            certificate_file: None,
            key_file: None,
            bearer_token_file: None,
            compression: None,
            body: None,
            metrics_interval_seconds: None,
            facility: None,
            file_bytes_max: None,
            files_max: None,
            batch_records_max: None,
            batch_bytes_max: None,
            timeout_seconds: None,
            retry_seconds_max: None,
            refusals_max: None,
        }
    }
}

/// Kind of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The records as they stand in the journal, to a file.
    Jsonl,
    /// OpenTelemetry logs and metrics, over HTTP.
    Otlp,
    /// OCSF events as JSON lines, to a file, over HTTP or as syslog.
    Ocsf,
    /// The records as they stand in the journal, as syslog.
    Syslog,
    /// The records as they stand in the journal, over HTTP.
    Webhook,
}

/// The words of [`Kind`].
pub const KINDS: [&str; 5] = ["jsonl", "otlp", "ocsf", "syslog", "webhook"];

/// Where an export without a cursor begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the oldest record that is on disk.
    #[default]
    Oldest,
    /// Behind the newest.
    Newest,
}

/// Form of a webhook's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// A JSON array of records.
    #[default]
    Array,
    /// A record a line.
    Lines,
}

/// Compression of an HTTP body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// `Content-Encoding: gzip`.
    Gzip,
}

/// Who exports: what stands in every message beside the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Version of the agent.
    pub version: String,
    /// Host id as in `agent.start`: 32 hex digits.
    pub host: String,
    /// The host's name, if it is known.
    pub host_name: Option<String>,
}
