//! One value and its mask -> what the client gets, in the value's type and format. `false`: NULL.

use crate::calendar::{civil, first_day};
use crate::protection::Mask;
use crate::token::Key;
use crate::types::{Format, Type};

const MICROS_PER_DAY: i64 = 86_400_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Appends what stands in the place of a value. `false`: nothing was appended, NULL stands there.
pub(crate) fn write(
    mask: &Mask,
    kind: Type,
    format: Format,
    value: &[u8],
    key: Option<&Key>,
    out: &mut Vec<u8>,
) -> bool {
    match (kind, mask) {
        (_, Mask::Null) => false,
        (Type::Text, mask) => write_text(mask, value, key, out),
        (Type::Date | Type::Timestamp | Type::Instant, Mask::Month | Mask::Year) => {
            write_date(mask, kind, format, value, out)
        }
        (Type::Integer(bytes), Mask::Bucket(size)) => write_integer(*size, bytes, format, value, out),
        (Type::Uuid, Mask::Token) => write_uuid(format, value, key, out),
        _ => false,
    }
}

fn write_text(mask: &Mask, value: &[u8], key: Option<&Key>, out: &mut Vec<u8>) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    match mask {
        Mask::Constant(constant) => out.extend_from_slice(constant.as_bytes()),
        Mask::Last(count) => write_last(text, usize::from(*count), out),
        Mask::EmailDomain => {
            let Some((_, domain)) = text.rsplit_once('@').filter(|(_, domain)| is_domain(domain)) else { return false };
            out.extend_from_slice(b"***@");
            out.extend_from_slice(domain.as_bytes());
        }
        Mask::Shape => write_shape(text, out),
        Mask::Token => {
            let Some(token) = key.and_then(|key| key.token(value)) else { return false };
            out.extend_from_slice(b"tok_");
            push_hex(&token, out);
        }
        Mask::Null | Mask::Month | Mask::Year | Mask::Bucket(_) => return false,
    }
    true
}

/// Whether it can be the domain of an address: what somebody has written into the column besides addresses is none.
fn is_domain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '.' | '-'))
}

/// The last letters, unless that would be half of the value or more.
fn write_last(text: &str, wanted: usize, out: &mut Vec<u8>) {
    let letters = text.chars().count();
    let shown = if wanted < letters.div_ceil(2) { wanted } else { 0 };
    let hidden = letters.saturating_sub(shown);
    out.resize(out.len().saturating_add(hidden), b'*');
    text.chars().skip(hidden).for_each(|letter| push(letter, out));
}

fn write_shape(text: &str, out: &mut Vec<u8>) {
    for letter in text.chars() {
        push(
            match letter {
                letter if letter.is_numeric() => '9',
                letter if letter.is_uppercase() => 'X',
                letter if letter.is_alphabetic() => 'x',
                letter => letter,
            },
            out,
        );
    }
}

fn push(letter: char, out: &mut Vec<u8>) {
    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
}

fn write_integer(size: u32, bytes: u8, format: Format, value: &[u8], out: &mut Vec<u8>) -> bool {
    let number = match format {
        Format::Text => std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok()),
        Format::Binary => integer(bytes, value),
    };
    let bucket = |number: i64| number.checked_sub(number.checked_rem_euclid(i64::from(size))?);
    // The greatest multiple below a very small number may not fit.
    let is_of_type = |bucket: &i64| match bytes {
        2 => i16::try_from(*bucket).is_ok(),
        4 => i32::try_from(*bucket).is_ok(),
        _ => true,
    };
    let Some(bucket) = number.and_then(bucket).filter(is_of_type) else { return false };
    match format {
        Format::Text => out.extend_from_slice(bucket.to_string().as_bytes()),
        Format::Binary => out.extend(bucket.to_be_bytes().iter().skip(8_usize.saturating_sub(usize::from(bytes)))),
    }
    true
}

fn integer(bytes: u8, value: &[u8]) -> Option<i64> {
    match bytes {
        2 => value.try_into().ok().map(|value| i64::from(i16::from_be_bytes(value))),
        4 => value.try_into().ok().map(|value| i64::from(i32::from_be_bytes(value))),
        _ => value.try_into().ok().map(i64::from_be_bytes),
    }
}

fn write_date(mask: &Mask, kind: Type, format: Format, value: &[u8], out: &mut Vec<u8>) -> bool {
    let first = |days: i64| {
        let (year, month) = civil(days);
        (year, if *mask == Mask::Year { 1 } else { month })
    };
    match format {
        Format::Text => date_of_text(kind, value).is_some_and(|days| write_date_text(kind, first(days), out)),
        Format::Binary => {
            let first = |days: i64| {
                let (year, month) = first(days);
                first_day(year, month)
            };
            match kind {
                Type::Date => {
                    let days = integer(4, value).filter(|days| is_finite(*days, i64::from(i32::MAX)));
                    let Some(Ok(day)) = days.map(|days| i32::try_from(first(days))) else { return false };
                    out.extend_from_slice(&day.to_be_bytes());
                }
                _ => {
                    let Some(micros) = integer(8, value).filter(|micros| is_finite(*micros, i64::MAX)) else {
                        return false;
                    };
                    let day = first(micros.div_euclid(MICROS_PER_DAY));
                    out.extend_from_slice(&day.saturating_mul(MICROS_PER_DAY).to_be_bytes());
                }
            }
            true
        }
    }
}

/// `infinity` and `-infinity` are the ends of the range.
const fn is_finite(number: i64, max: i64) -> bool {
    number < max && number > max.saturating_neg()
}

/// The day of an ISO date (`2024-03-05`, `2024-03-05 12:34:56.7+02`), in UTC where there is an offset: whoever can set the
/// time zone could else move the value over the first of a month, and see when it crosses. `None` of other styles of
/// `DateStyle`.
fn date_of_text(kind: Type, value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok().filter(|text| !text.ends_with("BC"))?;
    let (date, rest) = text.split_at_checked(10)?;
    // Another style has the same digits in another order: read in this one they would tell the day.
    let [year, month, day] = parts(date, '-', [4, 2, 2])?;
    let days = first_day(year, month).checked_add(day)?.checked_sub(1)?;
    match kind {
        Type::Date => return rest.is_empty().then_some(days),
        Type::Instant => {}
        _ => return rest.starts_with(' ').then_some(days),
    }
    let (time, offset) = rest.strip_prefix(' ')?.split_at_checked(8)?;
    let [hours, minutes, seconds] = parts(time, ':', [2; 3])?;
    let sign = offset.rfind(['+', '-'])?;
    let (_, offset) = offset.split_at_checked(sign)?;
    let west = seconds_of(offset.get(1..)?)?.checked_mul(if offset.starts_with('+') { -1 } else { 1 })?;
    let of_day = hours.checked_mul(3_600)?.checked_add(minutes.checked_mul(60)?)?.checked_add(seconds)?;
    days.checked_add(of_day.checked_add(west)?.div_euclid(SECONDS_PER_DAY))
}

/// Three numbers of so many digits.
fn parts(text: &str, between: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut numbers = digits.into_iter().map(|digits| number(parts.next().filter(|part| part.len() == digits)?));
    let all = [numbers.next()??, numbers.next()??, numbers.next()??];
    parts.next().is_none().then_some(all)
}

/// `02`, `05:30`, `-00:19:32` without its sign.
fn seconds_of(offset: &str) -> Option<i64> {
    let mut units = [3_600, 60, 1].into_iter();
    offset.split(':').try_fold(0_i64, |sum, part| sum.checked_add(number(part)?.checked_mul(units.next()?)?))
}

fn number(digits: &str) -> Option<i64> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The first day of a month. Years of other than four digits have a style of their own.
fn write_date_text(kind: Type, (year, month): (i64, i64), out: &mut Vec<u8>) -> bool {
    if !(1..=9_999).contains(&year) {
        return false;
    }
    let time = match kind {
        Type::Timestamp => " 00:00:00",
        // Drivers need an offset.
        Type::Instant => " 00:00:00+00",
        _ => "",
    };
    out.extend_from_slice(format!("{year:04}-{month:02}-01{time}").as_bytes());
    true
}

/// A token in the form of a UUID (version 8 of RFC 9562: whatever its maker likes).
fn write_uuid(format: Format, value: &[u8], key: Option<&Key>, out: &mut Vec<u8>) -> bool {
    let bytes: Option<Vec<u8>> = match format {
        Format::Binary => Some(value.to_vec()),
        Format::Text => {
            let digits: Vec<u8> = value.iter().copied().filter(|byte| *byte != b'-').collect();
            let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            digits.chunks(2).map(pair).collect()
        }
    };
    let Some([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]) =
        bytes.and_then(|bytes| key.and_then(|key| key.token(&bytes)))
    else {
        return false;
    };
    let token = [a, b, c, d, e, f, (g & 0x0f) | 0x80, h, (i & 0x3f) | 0x80, j, k, l, m, n, o, p];
    match format {
        Format::Binary => out.extend_from_slice(&token),
        Format::Text => {
            for (place, byte) in token.iter().enumerate() {
                if matches!(place, 4 | 6 | 8 | 10) {
                    out.push(b'-');
                }
                push_hex(&[*byte], out);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(mask: &Mask, value: &str) -> Option<String> {
        masked(mask, Type::Text, Format::Text, value.as_bytes())
            .map(|bytes| String::from_utf8(bytes).unwrap_or_default())
    }

    fn masked(mask: &Mask, kind: Type, format: Format, value: &[u8]) -> Option<Vec<u8>> {
        let key = Key::new(vec![7; 32]);
        let mut out = Vec::new();
        write(mask, kind, format, value, key.as_ref(), &mut out).then_some(out)
    }

    #[test]
    fn texts_keep_what_the_mask_says() {
        let check = |mask: Mask, value: &str, expected: &str| assert_eq!(text(&mask, value).as_deref(), Some(expected));
        check(Mask::Last(4), "123-45-6789", "*******6789");
        check(Mask::Last(4), "12345678", "********");
        check(Mask::Last(4), "é", "*");
        check(Mask::EmailDomain, "a.b@example.com", "***@example.com");
        check(Mask::Shape, "Ab-12é", "Xx-99x");
        check(Mask::Constant("hidden".into()), "x", "hidden");
        for value in ["no address", "a@", "room 7 @ the castle", "Ann <a.b@example.com>", "a@example.com; 555-1234"] {
            assert_eq!(text(&Mask::EmailDomain, value), None, "{value}");
        }
        assert_eq!(text(&Mask::Null, "x"), None);
        let token = text(&Mask::Token, "x").unwrap_or_default();
        assert_eq!(token.len(), 36);
        assert_ne!(text(&Mask::Token, "y").unwrap_or_default(), token);
        assert_eq!(text(&Mask::Token, "x").unwrap_or_default(), token);
    }

    #[test]
    fn dates_and_numbers_are_the_same_in_both_formats() {
        let days = 8_825_i32;
        let date = masked(&Mask::Month, Type::Date, Format::Binary, &days.to_be_bytes());
        assert_eq!(date, Some(8_797_i32.to_be_bytes().to_vec()));
        let date = masked(&Mask::Month, Type::Date, Format::Text, b"2024-02-29");
        assert_eq!(date.as_deref(), Some(&b"2024-02-01"[..]));
        let time = masked(&Mask::Year, Type::Timestamp, Format::Text, b"2024-02-29 12:00:00.5");
        assert_eq!(time.as_deref(), Some(&b"2024-01-01 00:00:00"[..]));
        assert_eq!(masked(&Mask::Month, Type::Date, Format::Text, b"29.02.2024"), None);
        assert_eq!(masked(&Mask::Month, Type::Date, Format::Text, b"0044-03-15 BC"), None);
        assert_eq!(masked(&Mask::Month, Type::Date, Format::Text, b"infinity"), None);
        assert_eq!(masked(&Mask::Month, Type::Date, Format::Binary, &i32::MAX.to_be_bytes()), None);
        let number = masked(&Mask::Bucket(100), Type::Integer(4), Format::Binary, &(-1_i32).to_be_bytes());
        assert_eq!(number, Some((-100_i32).to_be_bytes().to_vec()));
        let number = masked(&Mask::Bucket(100), Type::Integer(8), Format::Text, b"1234");
        assert_eq!(number.as_deref(), Some(&b"1200"[..]));
        assert_eq!(masked(&Mask::Bucket(100), Type::Integer(2), Format::Binary, &i16::MIN.to_be_bytes()), None);
        assert_eq!(masked(&Mask::Bucket(100), Type::Integer(2), Format::Text, b"-32768"), None);
    }

    #[test]
    fn a_date_of_another_style_tells_nothing() {
        for mask in [Mask::Month, Mask::Year] {
            for value in ["06-05-1987", "05-06-1987", "05.06.1987", "06/05/1987", "10000-01-05", "12345-06-07"] {
                assert_eq!(masked(&mask, Type::Date, Format::Text, value.as_bytes()), None, "{value}");
            }
            for value in ["Fri Jun 05 12:00:00 1987", "06-05-1987 12:00:00", "1987-06-05"] {
                assert_eq!(masked(&mask, Type::Timestamp, Format::Text, value.as_bytes()), None, "{value}");
            }
        }
    }

    #[test]
    fn a_moment_is_the_same_in_every_time_zone() {
        let month = |value: &str| masked(&Mask::Month, Type::Instant, Format::Text, value.as_bytes());
        for value in [
            "2024-02-29 23:59:59.999999+00",
            "2024-03-01 01:59:59+02",
            "2024-03-01 05:29:59+05:30",
            "2024-03-01 12:34:55+12:34:56",
            "2024-02-29 11:59:59.5-12",
            "2024-02-01 00:00:00+00",
            "2024-01-31 23:40:28-00:19:32",
        ] {
            assert_eq!(month(value).as_deref(), Some(&b"2024-02-01 00:00:00+00"[..]), "{value}");
        }
        assert_eq!(month("2024-01-01 00:59:59+01").as_deref(), Some(&b"2023-12-01 00:00:00+00"[..]));
        for value in
            ["2024-02-29 12:00:00", "0001-01-01 00:00:00+01", "10000-01-01 00:00:00+00", "2024-02-29", "Thu Feb 29"]
        {
            assert_eq!(month(value), None, "{value}");
        }
        let binary = masked(&Mask::Month, Type::Instant, Format::Binary, &(8_825 * MICROS_PER_DAY).to_be_bytes());
        assert_eq!(binary, Some((8_797 * MICROS_PER_DAY).to_be_bytes().to_vec()));
    }

    #[test]
    fn a_mask_that_does_not_go_with_the_type_is_null() {
        for kind in [Type::Json, Type::Number, Type::Other, Type::Uuid] {
            assert_eq!(masked(&Mask::Last(4), kind, Format::Text, b"123456789012"), None);
        }
        let binary = masked(&Mask::Token, Type::Uuid, Format::Binary, &[0xab; 16]).unwrap_or_default();
        let text = masked(&Mask::Token, Type::Uuid, Format::Text, b"abababab-abab-abab-abab-abababababab");
        let hex: String = binary.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(String::from_utf8(text.unwrap_or_default()).unwrap_or_default().replace('-', ""), hex);
    }
}
