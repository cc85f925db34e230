//! What the journal may take of the disk, and when it is signed and made durable.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounds of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Size at which a new segment begins. A segment is longer only if a single record is.
    pub segment_bytes_max: u64,
    /// Age at which a new segment begins.
    pub segment_age_max: Duration,
    /// Size of all segments; the oldest are removed. While a segment is sealed it counts twice.
    pub bytes_max: u64,
    /// Age of its last record at which a sealed segment is removed.
    pub age_max: Option<Duration>,
    /// Records after which a checkpoint is due.
    pub checkpoint_records: u64,
    /// Time after which a checkpoint is due if there are records.
    pub checkpoint_interval: Duration,
    /// Time between two calls of fdatasync: what a power failure may cost.
    pub sync_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 << 20,
            segment_age_max: Duration::from_secs(24 * 3600),
            bytes_max: 4 << 30,
            age_max: None,
            checkpoint_records: 10_000,
            checkpoint_interval: Duration::from_secs(10),
            sync_interval: Duration::from_secs(1),
        }
    }
}
