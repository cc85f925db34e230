//! The two clocks of exports: lag is measured against the wall, and statements about losses carry a time.

use std::time::{SystemTime, UNIX_EPOCH};

use model::time::WallTime;

/// Now. Before 1970 and after 2554 it is the nearer end of what [`WallTime`] can say.
#[expect(clippy::disallowed_methods, reason = "the home of the wall clock in this crate")]
pub(crate) fn wall() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}
