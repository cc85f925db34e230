//! Statements of each principal in the minute that runs, through all workers.

use std::cell::RefCell;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use model::principal::Actor;
use model::time::WallTime;
use recorder::Counts;

const MINUTE_NANOS: u64 = 60_000_000_000;

/// The counts of one worker, for all its databases.
pub struct Rates {
    counts: RefCell<Counts>,
}

impl fmt::Debug for Rates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Rates").finish_non_exhaustive()
    }
}

impl Default for Rates {
    /// Without other workers.
    fn default() -> Self {
        Self::new(Counts::alone())
    }
}

impl Rates {
    /// Counted together with those of other workers.
    #[must_use]
    pub fn new(counts: Counts) -> Self {
        Self { counts: RefCell::new(counts) }
    }

    /// Whether so many statements more at a database are within the bound: then they count. All whom nobody knows are one.
    pub(crate) fn allows(&self, database: &str, who: Option<&Actor>, statements: u64, max: u64, now: WallTime) -> bool {
        // The same in all workers.
        let mut number = DefaultHasher::new();
        (database, who).hash(&mut number);
        // Minutes of the wall clock fit for 8,000 years.
        let minute = u32::try_from(now.0 / MINUTE_NANOS).unwrap_or_default();
        self.counts.borrow_mut().take(number.finish(), statements, max, minute)
    }
}
