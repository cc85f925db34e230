//! Statements of each principal in the minute that runs.

use std::collections::HashMap;

use model::principal::Actor;
use model::time::WallTime;

/// Principals that are counted at once. With more of them the counts of a minute begin anew.
const PRINCIPALS_MAX: usize = 4096;
const MINUTE_NANOS: u64 = 60_000_000_000;

/// All counts of one worker.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    minute: u64,
    /// All whom nobody knows are one.
    counts: HashMap<Option<Actor>, u64>,
}

impl Rates {
    /// Whether so many statements more are within the bound: then they count.
    pub(crate) fn allows(&mut self, who: Option<&Actor>, statements: u64, max: u64, now: WallTime) -> bool {
        let minute = now.0 / MINUTE_NANOS;
        if minute != self.minute || self.counts.len() >= PRINCIPALS_MAX {
            self.minute = minute;
            self.counts.clear();
        }
        let count = self.counts.entry(who.cloned()).or_default();
        let with_these = count.saturating_add(statements);
        if with_these <= max {
            *count = with_these;
        }
        with_these <= max
    }
}
