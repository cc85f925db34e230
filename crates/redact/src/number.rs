//! Numbers: where a literal ends, and the form in which equal numbers are equal texts.
//!
//! The syntax is that of PostgreSQL 16 (underscores, other radices). What an older server reads differently (`1_000` is
//! a number with an alias there) is a number here, so that nothing of it stays.

use std::borrow::Cow;

use crate::blank::continues_identifier;

/// Exponents up to here are written out; larger ones would make the form longer than anybody prints.
const EXPONENT_MAX: usize = 400;

/// End of the number that starts at `start` (a digit, or a point before one). `None`: it is followed by something that
/// makes it no number in some version of the server.
pub(crate) fn end(text: &[u8], start: usize) -> Option<usize> {
    let end = match radix(&text[start..]) {
        Some(radix) => {
            let first = start + 2 + usize::from(text.get(start + 2) == Some(&b'_'));
            let end = digits_end(text, first, radix);
            if end == first {
                return None;
            }
            end
        }
        None => decimal_end(text, start)?,
    };
    text.get(end).is_none_or(|&next| !continues_identifier(next)).then_some(end)
}

/// The radix that `0x`, `0o` or `0b` announces.
fn radix(text: &[u8]) -> Option<u32> {
    match text {
        [b'0', b'x' | b'X', ..] => Some(16),
        [b'0', b'o' | b'O', ..] => Some(8),
        [b'0', b'b' | b'B', ..] => Some(2),
        _ => None,
    }
}

/// Digits with single underscores between them.
fn digits_end(text: &[u8], mut at: usize, radix: u32) -> usize {
    let is_digit = |at: usize| text.get(at).is_some_and(|&byte| char::from(byte).is_digit(radix));
    while is_digit(at) {
        at += if text.get(at + 1) == Some(&b'_') && is_digit(at + 2) { 2 } else { 1 };
    }
    at
}

fn decimal_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = digits_end(text, start, 10);
    // `1..9` is a range of PL/pgSQL.
    if text.get(at) == Some(&b'.') && text.get(at + 1) != Some(&b'.') {
        at = digits_end(text, at + 1, 10);
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let first = at + 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        at = digits_end(text, first, 10);
        if at == first {
            return None;
        }
    }
    Some(at)
}

/// The number as PostgreSQL prints it: decimal, without underscores, leading zeros and exponent.
pub(crate) fn canonical(number: &str) -> Cow<'_, str> {
    let bytes = number.as_bytes();
    if bytes.iter().all(u8::is_ascii_digit) && (bytes.len() == 1 || bytes.first() != Some(&b'0')) {
        return Cow::Borrowed(number);
    }
    let number = number.replace('_', "").to_ascii_lowercase();
    Cow::Owned(match radix(number.as_bytes()) {
        Some(radix) => u128::from_str_radix(&number[2..], radix).map_or(number, |value| value.to_string()),
        None => decimal(&number),
    })
}

fn decimal(number: &str) -> String {
    let (mantissa, exponent) = number.split_once('e').unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let Some(shift) = exponent.parse::<isize>().ok().filter(|shift| shift.unsigned_abs() <= EXPONENT_MAX) else {
        return number.to_owned();
    };
    let (appended, scale) = match fraction.len().checked_add_signed(-shift) {
        Some(scale) => (0, scale),
        None => (shift.unsigned_abs() - fraction.len(), 0),
    };
    let prepended = (scale + 1).saturating_sub(whole.len() + fraction.len());
    let digits = ["0".repeat(prepended).as_str(), whole, fraction, "0".repeat(appended).as_str()].concat();
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

/// A parameter of a numeric type: its sign, and the number in canonical form. `None` if it is no number (`NaN`).
pub(crate) fn parameter(value: &str) -> Option<(&str, Cow<'_, str>)> {
    let value = value.trim_ascii();
    let unsigned = value.strip_prefix(['-', '+']).unwrap_or(value);
    let bytes = unsigned.as_bytes();
    let starts = matches!(bytes, [b'0'..=b'9', ..] | [b'.', b'0'..=b'9', ..]);
    let sign = if value.starts_with('-') { "-" } else { "" };
    (starts && end(bytes, 0) == Some(bytes.len())).then(|| (sign, canonical(unsigned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_have_one_form() {
        for (form, numbers) in [
            ("42", &["42", "042", "4_2", "0x2A", "0X_2a", "0o52", "0b101010", "4.2e1", "42e0", "42."] as &[_]),
            ("0", &["0", "00", "0x0", "0e9", "0."]),
            ("0.10", &["0.10", ".10", "1.0e-1", "00.1_0"]),
            ("1000", &["1e3", "1E+3", "1_000", "1000"]),
            ("0.001", &["1e-3", "0.001"]),
            ("15.0", &["1.50e1", "15.0"]),
            ("340282366920938463463374607431768211455", &["0xffffffffffffffffffffffffffffffff"]),
            ("1e401", &["1e401", "1E401"]),
            ("1e99999999999999999999", &["1E99999999999999999999"]),
        ] {
            for number in numbers {
                assert_eq!(end(number.as_bytes(), 0), Some(number.len()), "{number}");
                assert_eq!(canonical(number), form, "{number}");
            }
        }
    }

    #[test]
    fn a_number_ends_where_the_server_ends_it() {
        for (text, expected) in [
            ("1,", Some(1)),
            ("1..9", Some(1)),
            ("1.5.5", Some(3)),
            ("1-2", Some(1)),
            ("1e5-2", Some(3)),
            ("1_", None),
            ("1__0", None),
            ("1e", None),
            ("1e+", None),
            ("1and", None),
            ("1é", None),
            ("1$a$", None),
            ("0x", None),
            ("0xg", None),
            ("0b12", None),
            ("0x_", None),
        ] {
            assert_eq!(end(text.as_bytes(), 0), expected, "{text}");
        }
    }

    #[test]
    fn a_parameter_keeps_its_sign_apart() {
        for (value, expected) in [
            ("17", Some(("", "17"))),
            ("-17", Some(("-", "17"))),
            (" +1e1 ", Some(("", "10"))),
            ("NaN", None),
            ("", None),
            ("-", None),
            ("--1", None),
            ("1 2", None),
        ] {
            let found = parameter(value);
            assert_eq!(found.as_ref().map(|(sign, number)| (*sign, number.as_ref())), expected, "{value}");
        }
    }
}
