//! The beginning of every line: `{"v":1,"seq":N,"time":"…","type":"…"`, in this order and without spaces.
//!
//! Writers keep to it to the byte, so that readers find the number, time and type of a record without parsing JSON.

use model::time::WallTime;

use crate::time::{TIMESTAMP_BYTES, Timestamp};

const BEFORE_SEQ: &[u8] = br#"{"v":1,"seq":"#;
const BEFORE_TIME: &[u8] = br#","time":""#;
const BEFORE_TYPE: &[u8] = br#"","type":""#;

/// A time as it stands in a line. All have one length, so their order is the order of their bytes.
pub type TimeText = [u8; TIMESTAMP_BYTES];

/// What every record begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Number of the record.
    pub seq: u64,
    /// When it happened.
    pub time: &'a TimeText,
    /// Type word.
    pub type_word: &'a str,
}

impl Head<'_> {
    /// The time as a number. `None`: it is not a time.
    #[must_use]
    pub fn wall_time(&self) -> Option<WallTime> {
        wall_time(self.time)
    }
}

/// The time as a number. `None`: it is not a time.
#[must_use]
pub fn wall_time(text: &TimeText) -> Option<WallTime> {
    Timestamp::parse(std::str::from_utf8(text).ok()?).map(|time| time.0)
}

/// Writes the beginning of a line; the object is left open.
pub fn write(out: &mut Vec<u8>, seq: u64, time: WallTime, type_word: &str) {
    out.extend_from_slice(BEFORE_SEQ);
    out.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
    out.extend_from_slice(BEFORE_TIME);
    out.extend_from_slice(&Timestamp(time).ascii());
    out.extend_from_slice(BEFORE_TYPE);
    out.extend_from_slice(type_word.as_bytes());
    out.push(b'"');
}

/// Reads the beginning of a line (without its newline). `None`: this is not a record.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Head<'_>> {
    let rest = line.strip_prefix(BEFORE_SEQ)?;
    let (seq, rest) = number(rest)?;
    let (time, rest) = rest.strip_prefix(BEFORE_TIME)?.split_first_chunk()?;
    let rest = rest.strip_prefix(BEFORE_TYPE)?;
    let (type_word, rest) = rest.split_at_checked(rest.iter().position(|&byte| byte == b'"')?)?;
    let closed = matches!(rest, [b'"', b',' | b'}', ..]) && rest.last() == Some(&b'}');
    let type_word = std::str::from_utf8(type_word).ok()?;
    closed.then_some(Head { seq, time, type_word })
}

/// A decimal number as we write it: no sign, no leading zero, at most `u64::MAX`.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(bytes.iter().position(|byte| !byte.is_ascii_digit())?)?;
    if digits.is_empty() || digits.first() == Some(&b'0') {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit & 15)))?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for seq in [1, 9, 10, u64::MAX] {
            let mut line = Vec::new();
            write(&mut line, seq, WallTime(1_795_339_800_000_250_000), "agent.stop");
            assert_eq!(parse(&line), None, "the object is open");
            line.push(b'}');
            let head = parse(&line).unwrap();
            assert_eq!((head.seq, head.type_word), (seq, "agent.stop"));
            assert_eq!(head.wall_time(), Some(WallTime(1_795_339_800_000_250_000)));
            line.truncate(line.len() - 1);
            line.extend_from_slice(br#","more":1}"#);
            assert_eq!(parse(&line).map(|head| head.seq), Some(seq));
        }
    }

    #[test]
    fn other_beginnings_are_refused() {
        let good = r#"{"v":1,"seq":17,"time":"2026-11-22T09:30:00.000250Z","type":"gap"}"#;
        assert!(parse(good.as_bytes()).is_some());
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("17", "017"),
            ("17", "0"),
            ("17", ""),
            ("17", "-1"),
            ("17", "18446744073709551616"),
            ("000250Z", "00250Z"),
            ("\"gap\"}", "\"gap"),
            ("\"gap\"}", "\"gap\"x}"),
            ("{", " {"),
            (",\"t", ", \"t"),
        ] {
            assert_eq!(parse(good.replace(from, to).as_bytes()), None, "{to}");
        }
    }
}
