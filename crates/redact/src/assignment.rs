//! Secrets that are assigned to a name: `password=SECRET`, `PGPASSWORD='SE CRET'`, `"api-key": "SECRET"`,
//! `?sslpassword=SECRET`, `PASSWORD 'SECRET'`.

use std::ops::Range;

use crate::mark;
use crate::uri::replace_ranges;

/// A name that contains one of these is the name of a secret (in lower case, `-` read as `_`).
const SECRET_NAMES: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api_key",
    "credential",
    "private_key",
    "access_key",
    "signing_key",
    "encryption_key",
    "authorization",
];

/// Parts of a name that make it the name of a secret: `DB_PASS`, `pwd`.
const SECRET_PARTS: [&str; 3] = ["pass", "pwd", "pw"];

/// Whether something of this name is a secret. The name of a file that holds one is not; `--no-password` takes
/// none.
pub(crate) fn names_secret(name: &str) -> bool {
    let mut name = percent_decoded(name).to_ascii_lowercase().replace('-', "_");
    name.drain(..name.len() - name.trim_start_matches('_').len());
    if name.ends_with("file") || name.ends_with("path") || name.starts_with("no_") {
        return false;
    }
    SECRET_NAMES.iter().any(|word| name.contains(word))
        || name.split(['_', '.']).any(|part| SECRET_PARTS.contains(&part))
}

/// Names in the query of a URI may be percent-encoded.
fn percent_decoded(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The values that are assigned to names of secrets in a text, in order, without overlap.
pub(crate) struct Secrets<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Secrets<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Where the value of the name that ends at `end` begins.
    fn value_start(&self, end: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let quote = usize::from(matches!(bytes.get(end), Some(b'"' | b'\'')));
        let sign = self.skip_spaces(end + quote);
        match bytes.get(sign)? {
            b'=' | b':' => {
                let signs = bytes[sign..].iter().take_while(|&&byte| matches!(byte, b'=' | b':' | b'>')).count();
                Some(self.skip_spaces(sign + signs))
            }
            b'\'' | b'"' if sign > end + quote => Some(sign),
            _ => None,
        }
    }

    fn skip_spaces(&self, at: usize) -> usize {
        let rest = self.text.as_bytes().get(at..).unwrap_or_default();
        at + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
    }
}

impl Iterator for Secrets<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let bytes = self.text.as_bytes();
        loop {
            let start = self.at + bytes.get(self.at..)?.iter().position(|&byte| is_name(byte))?;
            let end = start + bytes[start..].iter().take_while(|&&byte| is_name(byte)).count();
            self.at = end;
            if !names_secret(&self.text[start..end]) {
                continue;
            }
            let Some(value) = self.value_start(end) else {
                continue;
            };
            let in_query = start.checked_sub(1).is_some_and(|before| matches!(bytes[before], b'?' | b'&'));
            let is_header = mark::has(bytes, end.saturating_sub(13), "authorization");
            let value_end = if is_header { header_end(bytes, value) } else { value_end(bytes, value, in_query) };
            if value_end > value {
                self.at = value_end;
                return Some(value..value_end);
            }
        }
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'%')
}

/// An HTTP header goes to the end of its line, or of its quotes.
fn header_end(bytes: &[u8], at: usize) -> usize {
    let ends = |byte: &u8| matches!(byte, b'\r' | b'\n' | b'"' | b'\'');
    bytes[at..].iter().position(ends).map_or(bytes.len(), |length| at + length)
}

/// End of a value by the most generous of libpq's, a shell's and JSON's rules: quotes of both kinds hide white
/// space, a backslash hides anything, and a quote that is not closed hides the rest.
fn value_end(bytes: &[u8], mut at: usize, in_query: bool) -> usize {
    let mut open = None;
    while let Some(&byte) = bytes.get(at) {
        match (open, byte) {
            (_, b'\\') => at += 1,
            (Some(quote), _) if byte == quote => open = None,
            (None, b'\'' | b'"') => open = Some(byte),
            (None, _) if byte.is_ascii_whitespace() => return at,
            (None, b'&' | b'#') if in_query => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// The text with the values of secrets replaced.
pub(crate) fn replace(text: &str) -> String {
    replace_ranges(text, Secrets::new(text))
}
