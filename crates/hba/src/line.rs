//! Bytes of a file into logical lines: line ends, continuation by a backslash, line numbers.

use crate::major::Major;

/// A logical line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Number of its first physical line, from 1.
    pub(crate) number: u32,
    pub(crate) text: Vec<u8>,
}

/// Splits a file. Comments and quotes mean nothing yet: the server continues lines first.
pub(crate) fn split(text: &[u8], major: Major) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut physical = text.split_inclusive(|&byte| byte == b'\n');
    let mut number = 1_u32;
    while let Some(first) = physical.next() {
        let mut line = Line { number, text: first.to_vec() };
        number = number.saturating_add(1);
        // A backslash counts only behind the place of the last continuation: `\\`, newline, newline is one.
        let mut continued_at = 0;
        loop {
            strip_line_end(&mut line.text);
            let more = line.text.len() > continued_at && line.text.last() == Some(&b'\\');
            if !more || !major.continues_lines() {
                break;
            }
            line.text.pop();
            continued_at = line.text.len();
            let Some(next) = physical.next() else { break };
            number = number.saturating_add(1);
            line.text.extend_from_slice(next);
        }
        lines.push(line);
    }
    lines
}

fn strip_line_end(text: &mut Vec<u8>) {
    while matches!(text.last(), Some(b'\n' | b'\r')) {
        text.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(major: u16, text: &str, expected: &[(u32, &str)]) {
        let lines = split(text.as_bytes(), Major::new(major).unwrap());
        let lines: Vec<_> = lines.iter().map(|line| (line.number, std::str::from_utf8(&line.text).unwrap())).collect();
        assert_eq!(lines, expected, "{major}: {text:?}");
    }

    #[test]
    fn lines_keep_the_number_of_their_first_part() {
        check(15, "a\nb\r\n\nc", &[(1, "a"), (2, "b"), (3, ""), (4, "c")]);
        check(15, "a \\\nb\nc\n", &[(1, "a b"), (3, "c")]);
        check(15, "a\\\r\n\\\nb\n", &[(1, "ab")]);
        check(15, "a\\\\\n\nb", &[(1, "a\\"), (3, "b")]);
        check(15, "# a\\\nb\n", &[(1, "# ab")]);
        check(15, "a\\", &[(1, "a")]);
        check(13, "a\\\nb\n", &[(1, "a\\"), (2, "b")]);
        check(15, "", &[]);
    }
}
