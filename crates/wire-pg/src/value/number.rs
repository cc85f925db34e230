//! Numbers: float4, float8, numeric.

use std::fmt::{LowerExp, Write};

use crate::reader::Reader;

/// Shortest digits that give the same value, with an exponent outside 1e-04 to 1e+05.
pub(super) fn float4(value: f32) -> String {
    float(value.into(), &value, 6)
}

/// Shortest digits that give the same value, with an exponent outside 1e-04 to 1e+14.
pub(super) fn float8(value: f64) -> String {
    float(value, &value, 15)
}

fn float(wide: f64, value: &dyn LowerExp, exponent_max: i32) -> String {
    if wide.is_nan() {
        return "NaN".to_owned();
    }
    if wide.is_infinite() {
        return if wide > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..exponent_max).contains(&exponent) {
        return plain(digits, exponent);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// `d.ddd` times ten to the `exponent`, without an exponent.
fn plain(digits: &str, exponent: i32) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let digits: String = digits.chars().filter(|digit| *digit != '.').collect();
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", zeros(exponent.saturating_neg().saturating_sub(1)));
    }
    let whole = usize::try_from(exponent).unwrap_or(0).saturating_add(1);
    match digits.split_at_checked(whole) {
        Some((whole, "")) => format!("{sign}{whole}"),
        Some((whole, fraction)) => format!("{sign}{whole}.{fraction}"),
        None => {
            let missing = i32::try_from(whole.saturating_sub(digits.len())).unwrap_or(0);
            format!("{sign}{digits}{}", zeros(missing))
        }
    }
}

/// Count of digits, weight of the first, sign, digits after the point to print; then digits of base 10000.
pub(super) fn numeric(value: &mut Reader<'_>) -> Option<String> {
    let (count, weight, sign, scale) = (value.u16()?, value.i16()?, value.u16()?, value.u16()?);
    let digits: Vec<u16> = (0..count).map(|_| value.u16().filter(|digit| *digit < 10_000)).collect::<Option<_>>()?;
    match sign {
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        0x0000 | 0x4000 => {}
        _ => return None,
    }
    let digit = |position: i32| {
        let index = i32::from(weight).saturating_sub(position);
        usize::try_from(index).ok().and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    if sign == 0x4000 {
        text.push('-');
    }
    let _ = write!(text, "{}", digit(i32::from(weight).max(0)));
    for position in (0..i32::from(weight)).rev() {
        let _ = write!(text, "{:04}", digit(position));
    }
    if scale > 0 {
        let groups = i32::from(scale.div_ceil(4));
        let mut fraction = String::new();
        for position in 1..=groups {
            let _ = write!(fraction, "{:04}", digit(position.saturating_neg()));
        }
        fraction.truncate(usize::from(scale));
        let _ = write!(text, ".{fraction}");
    }
    Some(text)
}
