//! Seconds of tokens and configuration, nanoseconds of [`WallTime`].

use std::time::Duration;

use model::time::WallTime;

/// 9999-12-31T23:59:59Z is the last second that a date of four digits can say; [`WallTime`] ends before, in 2554.
const SECONDS_MAX: f64 = 253_402_300_799.0;

/// A NumericDate (RFC 7519, section 2): seconds since 1970, perhaps with a fraction.
pub(crate) fn numeric_date(number: &serde_json::Number) -> Option<WallTime> {
    if let Some(seconds) = number.as_u64() {
        return Some(WallTime(seconds.saturating_mul(1_000_000_000)));
    }
    let seconds = number.as_f64().filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds))?;
    Some(later(WallTime(0), Duration::from_secs_f64(seconds)))
}

/// `after` behind `time`.
pub(crate) fn later(time: WallTime, after: Duration) -> WallTime {
    WallTime(time.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
}

/// From `earlier` to `later`; zero if the two are out of order.
pub(crate) const fn between(earlier: WallTime, later: WallTime) -> Duration {
    Duration::from_nanos(later.0.saturating_sub(earlier.0))
}
