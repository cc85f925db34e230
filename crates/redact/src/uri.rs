//! Passwords in the userinfo of URIs, whatever the scheme: `scheme://user:PASSWORD@host`.

use std::ops::Range;

use crate::REPLACEMENT;

/// Whether the end of a text is the end of what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is.
    Whole,
    /// The text may have been cut: a password at its end may lack its `@`.
    Cut,
}

/// The passwords of the URIs of a text, in order, without overlap.
///
/// Parsers disagree about where a badly encoded password ends: libpq takes the first `@` and lets blanks pass,
/// others take the last `@` of the word. The longest reading wins here.
pub(crate) struct Passwords<'a> {
    text: &'a [u8],
    end: End,
    next: usize,
    /// No `@` lies between `next` and here: keeps the search linear where one word has many `://`.
    barren_until: usize,
}

impl<'a> Passwords<'a> {
    pub(crate) fn new(text: &'a str, end: End) -> Self {
        Self { text: text.as_bytes(), end, next: 0, barren_until: 0 }
    }

    /// The last `@` that may end the userinfo which starts at `start`.
    fn last_at(&mut self, start: usize) -> Option<usize> {
        let rest = &self.text[start..];
        let authority = &rest[..rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len())];
        let in_authority = authority.iter().rposition(|&byte| byte == b'@');
        let mut in_word = None;
        if start >= self.barren_until {
            let word = &rest[..word_length(rest)];
            in_word = word.iter().rposition(|&byte| byte == b'@');
            if in_word.is_none() {
                self.barren_until = start + word.len();
            }
        }
        in_authority.max(in_word).map(|at| start + at)
    }

    /// The password of a URI that runs to the end of the text without an `@`.
    fn unfinished(&self, start: usize) -> Option<Range<usize>> {
        let rest = &self.text[start..];
        let colon = rest.iter().position(|&byte| byte == b':')?;
        let authority_ends = rest.iter().any(|&byte| byte == b'/' || byte.is_ascii_whitespace() || byte == b'\'');
        let is_address = self.end == End::Whole && rest.split(|&byte| byte == b',').all(ends_with_port);
        (!authority_ends && !is_address).then(|| start + colon + 1..self.text.len())
    }

    fn is_web(&self, scheme_end: usize) -> bool {
        let scheme = &self.text[..scheme_end];
        [b"http".as_slice(), b"https"]
            .iter()
            .any(|name| scheme.len() >= name.len() && scheme[scheme.len() - name.len()..].eq_ignore_ascii_case(name))
    }
}

fn word_length(rest: &[u8]) -> usize {
    rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len())
}

/// `host:5432`, `[::1]:5432`, or no port at all.
fn ends_with_port(host: &[u8]) -> bool {
    host.rsplit(|&byte| byte == b':').next().is_none_or(|port| {
        port.len() == host.len() || port.ends_with(b"]") || port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
    })
}

impl Iterator for Passwords<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            let found = self.text.get(self.next..)?.windows(3).position(|bytes| bytes == b"://")?;
            let scheme_end = self.next + found;
            let start = scheme_end + 3;
            self.next = start;
            let Some(at) = self.last_at(start) else {
                let Some(range) = self.unfinished(start) else {
                    continue;
                };
                self.next = range.end;
                return Some(range);
            };
            let colon = self.text[start..at].iter().position(|&byte| byte == b':');
            let password = match colon {
                // A web address with nothing but a user: that is how access tokens are passed.
                _ if self.is_web(scheme_end) => start..at,
                Some(colon) => start + colon + 1..at,
                None => continue,
            };
            if !password.is_empty() {
                self.next = at;
                return Some(password);
            }
        }
    }
}

/// The text with the passwords of its URIs replaced.
pub(crate) fn replace(text: &str, end: End) -> String {
    replace_ranges(text, Passwords::new(text, end))
}

/// The text with the ranges replaced, which are in order, do not overlap and lie on character boundaries.
pub(crate) fn replace_ranges(text: &str, ranges: impl Iterator<Item = Range<usize>>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for range in ranges {
        out.push_str(&text[copied..range.start]);
        out.push_str(REPLACEMENT);
        copied = range.end;
    }
    out.push_str(&text[copied..]);
    out
}
