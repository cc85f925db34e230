//! Dates by the civil calendar: days since 2000-01-01 <-> year and month (H. Hinnant, *chrono-compatible low-level date
//! algorithms*).

/// Days from 0000-03-01 to 2000-01-01.
const EPOCH: i64 = 730_425;

/// Year and month of a day.
pub(crate) const fn civil(days: i64) -> (i64, i64) {
    let days = days.saturating_add(EPOCH);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era
        .saturating_sub(day_of_era / 1_460)
        .saturating_add(day_of_era / 36_524)
        .saturating_sub(day_of_era / 146_096))
        / 365;
    let before = year_of_era.saturating_mul(365).saturating_add(year_of_era / 4).saturating_sub(year_of_era / 100);
    let day_of_year = day_of_era.saturating_sub(before);
    let shifted = day_of_year.saturating_mul(5).saturating_add(2) / 153;
    let month = if shifted < 10 { shifted.saturating_add(3) } else { shifted.saturating_sub(9) };
    let year = year_of_era.saturating_add(era.saturating_mul(400));
    (if month <= 2 { year.saturating_add(1) } else { year }, month)
}

/// The first day of a month.
pub(crate) const fn first_day(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year.saturating_sub(1) } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month.saturating_sub(3) } else { month.saturating_add(9) };
    let day_of_year = shifted.saturating_mul(153).saturating_add(2) / 5;
    let before = year_of_era.saturating_mul(365).saturating_add(year_of_era / 4).saturating_sub(year_of_era / 100);
    era.saturating_mul(146_097).saturating_add(before).saturating_add(day_of_year).saturating_sub(EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_fit() {
        assert_eq!(civil(0), (2000, 1));
        assert_eq!(civil(-1), (1999, 12));
        assert_eq!(civil(8_825), (2024, 2));
        assert_eq!(first_day(2000, 1), 0);
        assert_eq!(first_day(2024, 2), 8_797);
        for days in (-400_000..400_000).step_by(13) {
            let (year, month) = civil(days);
            let first = first_day(year, month);
            assert!(first <= days && days < first + 31 && civil(first) == (year, month), "{days}");
        }
    }
}
