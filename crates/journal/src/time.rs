//! RFC 3339 in UTC with microseconds, the only form of time in files: `2026-11-22T09:30:00.000250Z`.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "constant places in arrays of constant length, and numbers that are bounded by the range of the input"
)]

use std::fmt;

use model::time::WallTime;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// Length of the written form in bytes.
pub const TIMESTAMP_BYTES: usize = 27;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// A wall-clock time in its written form. Writing drops what is below a microsecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub WallTime);

impl Timestamp {
    /// The written form. The range of [`WallTime`] ends in the year 2554, so four digits always suffice.
    #[must_use]
    pub fn ascii(self) -> [u8; TIMESTAMP_BYTES] {
        let seconds = self.0.0 / NANOS_PER_SECOND;
        let micros = self.0.0 % NANOS_PER_SECOND / 1000;
        let (year, month, day) = civil_from_days(seconds / SECONDS_PER_DAY);
        let second_of_day = seconds % SECONDS_PER_DAY;
        let mut out = *b"0000-00-00T00:00:00.000000Z";
        digits(&mut out[0..4], year);
        digits(&mut out[5..7], month);
        digits(&mut out[8..10], day);
        digits(&mut out[11..13], second_of_day / 3600);
        digits(&mut out[14..16], second_of_day / 60 % 60);
        digits(&mut out[17..19], second_of_day % 60);
        digits(&mut out[20..26], micros);
        out
    }

    /// Parses `YYYY-MM-DDTHH:MM:SS[.fraction]Z`. `None` for anything else, and for times before 1970 or after 2554.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.strip_suffix('Z')?.as_bytes();
        let number = |range: std::ops::Range<usize>| parse_digits(bytes.get(range)?);
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if separators.iter().any(|&(at, byte)| bytes.get(at) != Some(&byte)) {
            return None;
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        let in_range = (1970..=2554).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        if !in_range || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let nanos = match bytes.get(19..)? {
            [] => 0,
            [b'.', fraction @ ..] if (1..=9).contains(&fraction.len()) => {
                let scale = 10u64.pow(9 - u32::try_from(fraction.len()).ok()?);
                parse_digits(fraction)? * scale
            }
            _ => return None,
        };
        let days = days_from_civil(year, month, day);
        if civil_from_days(days) != (year, month, day) {
            // The month has no such day.
            return None;
        }
        let seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
        seconds.checked_mul(NANOS_PER_SECOND)?.checked_add(nanos).map(|all| Self(WallTime(all)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(as_str(&self.ascii()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(as_str(&self.ascii()))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a UTC time in RFC 3339 form"))
    }
}

fn as_str(ascii: &[u8; TIMESTAMP_BYTES]) -> &str {
    std::str::from_utf8(ascii).expect("digits and separators are ASCII")
}

/// Writes `value` right-aligned over zeros, cutting what does not fit.
fn digits(out: &mut [u8], mut value: u64) {
    for byte in out.iter_mut().rev() {
        *byte = b"0123456789"[(value % 10) as usize];
        value /= 10;
    }
}

fn parse_digits(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0u64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

/// Gregorian date of a day since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
const fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Inverse of [`civil_from_days`] for dates from 1970 on.
const fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_written_as_rfc_3339() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_795_339_800_000_250_999, "2026-11-22T09:30:00.000250Z"),
            (4_107_542_399_999_999_999, "2100-02-28T23:59:59.999999Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551Z"),
        ] {
            assert_eq!(Timestamp(WallTime(nanos)).to_string(), text);
            let parsed = Timestamp::parse(text).expect(text);
            assert_eq!(parsed.0.0, nanos / 1000 * 1000);
        }
    }

    #[test]
    fn every_day_survives_a_round_trip() {
        for day in 0..213_500u64 {
            let (year, month, date) = civil_from_days(day);
            assert_eq!(days_from_civil(year, month, date), day);
        }
    }

    #[test]
    fn other_forms_of_time_are_refused() {
        for text in [
            "",
            "Z",
            "2026-11-22",
            "2026-11-22T09:30:00",
            "2026-13-22T09:30:00Z",
            "2026-11-22 09:30:00Z",
            "2026-11-22T09:30:00.Z",
            "2026-11-22T09:30:00.1234567890Z",
            "2026-11-22T25:30:00Z",
            "2026-02-29T09:30:00Z",
            "2026-06-31T09:30:00Z",
            "1969-11-22T09:30:00Z",
            "2026-11-22T09:30:00+01:00",
            "２026-11-22T09:30:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
