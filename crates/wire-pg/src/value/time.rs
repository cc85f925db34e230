//! Dates and times: counted from 2000-01-01, in days or microseconds.

use std::fmt::Write;

const MICROS: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;

/// `YYYY-MM-DD`, with ` BC` before the year 1.
pub(super) fn date(days: i32) -> Option<String> {
    match days {
        i32::MAX => Some("infinity".to_owned()),
        i32::MIN => Some("-infinity".to_owned()),
        _ => {
            let (text, suffix) = calendar(days.into())?;
            Some(text + suffix)
        }
    }
}

pub(super) fn time(micros: i64) -> Option<String> {
    clock(micros).filter(|_| micros <= DAY_SECONDS.saturating_mul(MICROS))
}

/// `zone` is in seconds west of Greenwich.
pub(super) fn time_with_zone(micros: i64, zone: i32) -> Option<String> {
    let mut text = time(micros)?;
    let east = i64::from(zone).checked_neg()?;
    text.push(if east < 0 { '-' } else { '+' });
    let seconds = east.checked_abs()?;
    let (hours, minutes, seconds) = split(seconds)?;
    let _ = write!(text, "{hours:02}");
    if minutes != 0 || seconds != 0 {
        let _ = write!(text, ":{minutes:02}");
    }
    if seconds != 0 {
        let _ = write!(text, ":{seconds:02}");
    }
    Some(text)
}

/// `YYYY-MM-DD HH:MM:SS[.ffffff]`, then the zone.
pub(super) fn timestamp(micros: i64, zone: &str) -> Option<String> {
    match micros {
        i64::MAX => return Some("infinity".to_owned()),
        i64::MIN => return Some("-infinity".to_owned()),
        _ => {}
    }
    let day_micros = DAY_SECONDS.checked_mul(MICROS)?;
    let (day, suffix) = calendar(micros.checked_div_euclid(day_micros)?)?;
    let clock = clock(micros.checked_rem_euclid(day_micros)?)?;
    Some(format!("{day} {clock}{zone}{suffix}"))
}

/// Style `postgres`: `1 year 2 mons 3 days 04:05:06.789`.
pub(super) fn interval(micros: i64, days: i32, months: i32) -> Option<String> {
    let mut parts = Vec::new();
    let mut before_negative = false;
    for (count, unit) in [(months.checked_div(12)?, "year"), (months.checked_rem(12)?, "mon"), (days, "day")] {
        if count != 0 {
            let plus = if before_negative && count > 0 { "+" } else { "" };
            parts.push(format!("{plus}{count} {unit}{}", if count == 1 { "" } else { "s" }));
            before_negative = count < 0;
        }
    }
    if micros != 0 || parts.is_empty() {
        let sign = match micros {
            ..0 => "-",
            _ if before_negative => "+",
            _ => "",
        };
        parts.push(format!("{sign}{}", clock(micros.checked_abs()?)?));
    }
    Some(parts.join(" "))
}

/// Hours, minutes, seconds.
fn split(seconds: i64) -> Option<(i64, i64, i64)> {
    let minutes = seconds.checked_div(60)?;
    Some((minutes.checked_div(60)?, minutes.checked_rem(60)?, seconds.checked_rem(60)?))
}

/// `HH:MM:SS[.ffffff]` without trailing zeros.
fn clock(micros: i64) -> Option<String> {
    if micros < 0 {
        return None;
    }
    let (hours, minutes, seconds) = split(micros.checked_div(MICROS)?)?;
    let mut text = format!("{hours:02}:{minutes:02}:{seconds:02}");
    let fraction = micros.checked_rem(MICROS)?;
    if fraction != 0 {
        let _ = write!(text, ".{fraction:06}");
        text.truncate(text.trim_end_matches('0').len());
    }
    Some(text)
}

/// The proleptic Gregorian date of a day, and the era's suffix. Howard Hinnant's `civil_from_days`: years begin in
/// March, eras are 400 years of 146,097 days.
fn calendar(days_since_2000: i64) -> Option<(String, &'static str)> {
    let days = days_since_2000.checked_add(730_425)?;
    let era = days.checked_div_euclid(146_097)?;
    let day_of_era = days.checked_rem_euclid(146_097)?;
    let leap_days = (day_of_era / 1_460).checked_sub(day_of_era / 36_524)?.checked_add(day_of_era / 146_096)?;
    let year_of_era = day_of_era.checked_sub(leap_days)? / 365;
    let first_day = year_of_era.checked_mul(365)?.checked_add(year_of_era / 4)?.checked_sub(year_of_era / 100)?;
    let day_of_year = day_of_era.checked_sub(first_day)?;
    let month = day_of_year.checked_mul(5)?.checked_add(2)? / 153;
    let month_start = month.checked_mul(153)?.checked_add(2)? / 5;
    let day = day_of_year.checked_sub(month_start)?.checked_add(1)?;
    let (month, later) = if month < 10 { (month.checked_add(3)?, 0) } else { (month.checked_sub(9)?, 1) };
    let year = era.checked_mul(400)?.checked_add(year_of_era)?.checked_add(later)?;
    let (year, suffix) = if year > 0 { (year, "") } else { (1_i64.checked_sub(year)?, " BC") };
    Some((format!("{year:04}-{month:02}-{day:02}"), suffix))
}
