//! Statements of each principal in the minute that runs.

use std::collections::HashMap;
use std::sync::Arc;

use model::time::WallTime;

/// Principals that are counted at once. With more of them the counts of a minute begin anew.
const PRINCIPALS_MAX: usize = 4096;
const MINUTE_NANOS: u64 = 60_000_000_000;

/// All counts of one worker.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    minute: u64,
    counts: HashMap<Arc<str>, u64>,
}

impl Rates {
    /// Counts a statement; whether it is within the bound.
    pub(crate) fn allows(&mut self, principal: &Arc<str>, max: u64, now: WallTime) -> bool {
        let minute = now.0 / MINUTE_NANOS;
        if minute != self.minute || self.counts.len() >= PRINCIPALS_MAX {
            self.minute = minute;
            self.counts.clear();
        }
        let count = self.counts.entry(Arc::clone(principal)).or_default();
        *count = count.saturating_add(1);
        *count <= max
    }
}
