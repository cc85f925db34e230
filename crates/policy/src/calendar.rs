//! Hour, weekday and date of a moment, and when each of them ends.

use model::time::WallTime;

use crate::reads::{Field, Reads};
use crate::session::UtcOffset;

const NANOS: u64 = 1_000_000_000;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Words of the days, from the one that 1970 began with.
const WEEKDAYS: [&str; 7] = ["thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday"];

/// A moment in a time zone: seconds since 1970 began there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    seconds: i64,
    offset: i64,
}

impl Local {
    pub(crate) fn new(now: WallTime, offset: UtcOffset) -> Self {
        let utc = i64::try_from(now.0 / NANOS).unwrap_or(i64::MAX);
        let offset = i64::from(offset.minutes()).saturating_mul(MINUTE);
        Self { seconds: utc.saturating_add(offset), offset }
    }

    pub(crate) fn hour(self) -> i64 {
        self.seconds.rem_euclid(DAY).div_euclid(HOUR)
    }

    pub(crate) fn minute(self) -> i64 {
        self.seconds.rem_euclid(HOUR).div_euclid(MINUTE)
    }

    pub(crate) fn weekday(self) -> &'static str {
        let day = usize::try_from(self.seconds.div_euclid(DAY).rem_euclid(7)).unwrap_or_default();
        WEEKDAYS.get(day).copied().unwrap_or_default()
    }

    /// Year, month and day as one number: 20261231.
    pub(crate) fn date(self) -> i64 {
        let (year, month, day) = civil(self.seconds.div_euclid(DAY));
        year.saturating_mul(10_000).saturating_add(month.saturating_mul(100)).saturating_add(day)
    }

    /// Until when nothing changes that the policies read; `None`: they read no time.
    pub(crate) fn not_after(self, reads: Reads) -> Option<WallTime> {
        let parts = [(Field::Minute, MINUTE), (Field::Hour, HOUR), (Field::Weekday, DAY), (Field::Date, DAY)];
        let step = parts.into_iter().find(|(field, _)| reads.contains(*field)).map(|(_, step)| step)?;
        let end = self.seconds.saturating_sub(self.seconds.rem_euclid(step)).saturating_add(step);
        let utc = u64::try_from(end.saturating_sub(self.offset)).unwrap_or_default();
        // The last nanosecond before the change.
        Some(WallTime(utc.saturating_mul(NANOS).saturating_sub(1)))
    }
}

/// Year, month, day of a number of days since 1970-01-01 (H. Hinnant, *chrono-compatible low-level date algorithms*).
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era.saturating_mul(400) + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: u64, offset: i16, expected: (i64, i64, &str, i64)) {
        let local = Local::new(WallTime(seconds * NANOS), UtcOffset::new(offset).unwrap());
        assert_eq!((local.hour(), local.minute(), local.weekday(), local.date()), expected);
    }

    #[test]
    fn moments_have_the_clock_and_calendar_of_their_zone() {
        check(0, 0, (0, 0, "thursday", 19_700_101));
        check(0, -60, (23, 0, "wednesday", 19_691_231));
        check(1_709_210_096, 0, (12, 34, "thursday", 20_240_229));
        check(1_798_760_000, 60, (0, 33, "friday", 20_270_101));
        check(951_782_400, 0, (0, 0, "tuesday", 20_000_229));
    }

    #[test]
    fn what_is_read_decides_how_long_a_verdict_holds() {
        let at = |reads: &[Field]| {
            let local = Local::new(WallTime(1_709_210_096 * NANOS), UtcOffset::new(330).unwrap());
            local.not_after(reads.iter().copied().collect()).map(|end| end.0 / NANOS)
        };
        assert_eq!(at(&[]), None);
        assert_eq!(at(&[Field::Weekday]), Some(1_709_231_399));
        assert_eq!(at(&[Field::Weekday, Field::Hour]), Some(1_709_213_399));
        assert_eq!(at(&[Field::Minute, Field::Date]), Some(1_709_210_099));
    }
}
