//! Witnesses off the host: checkpoints of the journal, as they stand in it, at a place that the host's operator cannot
//! rewrite. `warder verify --checkpoints` compares them with the journal.
//!
//! A witness is an export of a few record types: same delivery, same cursor, same numbers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Body, ExportConfig, Kind};
use crate::plan::{ConfigError, Plan};

/// The records that bind the journal: its segments' beginnings, signed checkpoints, changes of the key.
pub const RECORD_TYPES: [&str; 3] = ["segment", "checkpoint", "key.handover"];
/// A witness file is kept long: 64 MiB each, this many.
const FILES_MAX: u32 = 10_000;
/// Size of one of them.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// One `[[journal.witness]]`. Keys as in [`ExportConfig`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// Name in metrics, in the log, and of the cursor file; distinct from those of exports.
    pub name: String,
    /// A file on another path.
    pub file: Option<PathBuf>,
    /// An HTTP endpoint; checkpoints are posted a line each.
    pub url: Option<String>,
    /// A syslog receiver.
    pub syslog: Option<String>,
    /// Certificates to trust, PEM; absent: the system's.
    pub ca_file: Option<PathBuf>,
    /// Own certificate and chain, PEM.
    pub certificate_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// File with a bearer token.
    pub bearer_token_file: Option<PathBuf>,
    /// Syslog facility, by name.
    pub facility: Option<String>,
    /// One attempt may take this long.
    pub timeout_seconds: Option<u64>,
    /// Longest pause between attempts.
    pub retry_seconds_max: Option<u64>,
}

/// The export that does a witness's work.
pub fn plan(witness: &WitnessConfig) -> Result<Plan, ConfigError> {
    let kind = match (&witness.file, &witness.url, &witness.syslog) {
        (Some(_), None, None) => Kind::Jsonl,
        (None, Some(_), None) => Kind::Webhook,
        (None, None, Some(_)) => Kind::Syslog,
        _ => return Err(ConfigError::new("file", "say once where checkpoints go: file, url or syslog")),
    };
    let config = ExportConfig {
        file: witness.file.clone(),
        url: witness.url.clone(),
        syslog: witness.syslog.clone(),
        types: Some(RECORD_TYPES.map(str::to_owned).to_vec()),
        ca_file: witness.ca_file.clone(),
        certificate_file: witness.certificate_file.clone(),
        key_file: witness.key_file.clone(),
        bearer_token_file: witness.bearer_token_file.clone(),
        body: (kind == Kind::Webhook).then_some(Body::Lines),
        facility: witness.facility.clone(),
        file_bytes_max: (kind == Kind::Jsonl).then_some(FILE_BYTES_MAX),
        files_max: (kind == Kind::Jsonl).then_some(FILES_MAX),
        timeout_seconds: witness.timeout_seconds,
        retry_seconds_max: witness.retry_seconds_max,
        ..ExportConfig::new(&witness.name, kind)
    };
    Plan::check(&config)
}
