//! Replaces what a tainted text may carry: every literal and every comment.
//!
//! Follows PostgreSQL's `scan.l`. Where its reading depends on what is not known here (the value of
//! `standard_conforming_strings`, the client's encoding, the end of a cut text), everything from the doubtful
//! place to the end is replaced.

use std::ops::Range;

use crate::blank::{comment_end, continues_identifier, is_space, skip, starts_identifier};
use crate::mark::has;
use crate::uri::{self, End, Passwords};
use crate::{COMMENT, argv, assignment, taint};

const LITERAL: &str = "'***'";
const IDENTIFIER: &str = "\"***\"";

/// The text without literals and comments.
pub(crate) fn replace(text: &str) -> String {
    let mut lexer = Lexer {
        text: text.as_bytes(),
        source: text,
        out: String::with_capacity(text.len()),
        at: 0,
        copied: 0,
        first_literal: None,
        defines_secret: taint::defines_secret(text),
        foreign_encoding: text.contains('\u{fffd}'),
    };
    while lexer.step() {}
    lexer.copy_until(lexer.text.len());
    // A text that is no SQL (a connection string typed at the prompt) has its secrets outside of literals.
    let code = uri::replace(&lexer.out, End::Cut);
    if argv::looks_like_sql(&code) { code } else { assignment::replace(&code) }
}

/// How a quoted thing ends.
#[derive(Clone, Copy)]
enum Escapes {
    /// `''` only; a backslash may or may not escape, depending on the server's configuration.
    Doubling,
    /// `''` and backslashes (`E'...'`).
    Backslash,
}

struct Lexer<'a> {
    source: &'a str,
    text: &'a [u8],
    out: String,
    at: usize,
    copied: usize,
    /// Where in `out` the first literal was replaced.
    first_literal: Option<usize>,
    defines_secret: bool,
    /// The text was not UTF-8: a backslash may be the second byte of a character (Shift-JIS, Big5, GBK).
    foreign_encoding: bool,
}

impl Lexer<'_> {
    /// Reads one token; false at the end of the text.
    fn step(&mut self) -> bool {
        let Some(&byte) = self.text.get(self.at) else {
            return false;
        };
        if let Some(end) = comment_end(self.text, self.at) {
            self.replace_until(end.unwrap_or(self.text.len()), COMMENT);
        } else if starts_identifier(byte) {
            self.word();
        } else {
            match byte {
                b'\'' => self.literal(self.at, Escapes::Doubling),
                b'"' => self.identifier(self.at),
                b'$' => self.dollar(),
                _ => self.at += 1,
            }
        }
        true
    }

    fn copy_until(&mut self, end: usize) {
        self.out.push_str(&self.source[self.copied..end]);
        self.copied = end;
    }

    /// Replaces everything from the current place.
    fn replace_until(&mut self, end: usize, replacement: &str) {
        self.copy_until(self.at);
        self.out.push_str(replacement);
        self.copied = end;
        self.at = end;
    }

    /// A key word, a name, or the prefix of a literal.
    fn word(&mut self) {
        let start = self.at;
        let length = self.text[start..].iter().take_while(|&&byte| continues_identifier(byte)).count();
        let end = start + length;
        let word = &self.text[start..end];
        match (word, self.text.get(end), self.text.get(end + 1)) {
            (b"e" | b"E", Some(b'\''), _) => self.literal(end, Escapes::Backslash),
            (b"b" | b"B" | b"x" | b"X" | b"n" | b"N", Some(b'\''), _) => self.literal(end, Escapes::Doubling),
            (b"u" | b"U", Some(b'&'), Some(b'\'')) => self.literal(end + 1, Escapes::Doubling),
            (b"u" | b"U", Some(b'&'), Some(b'"')) => self.identifier(end + 1),
            _ => {
                self.at = end;
                if self.defines_secret {
                    self.secret_behind(start, word);
                }
            }
        }
    }

    /// A literal whose opening quote is at `quote`; it is replaced from the current place, prefix included.
    fn literal(&mut self, quote: usize, escapes: Escapes) {
        let end = self.literal_end(quote + 1, escapes);
        self.replace_literal(end);
    }

    /// `end`: `None` if the literal is not closed. Then a quote may have been forgotten anywhere, and what was
    /// taken for code between two literals may have been inside of one.
    fn replace_literal(&mut self, end: Option<usize>) {
        self.copy_until(self.at);
        let first = *self.first_literal.get_or_insert(self.out.len());
        if end.is_none() {
            self.out.truncate(first);
        }
        self.replace_until(end.unwrap_or(self.text.len()), LITERAL);
    }

    fn literal_end(&self, mut at: usize, escapes: Escapes) -> Option<usize> {
        loop {
            match (self.text.get(at)?, self.text.get(at + 1)) {
                (b'\'', Some(b'\'')) => at += 2,
                // A quote within a password that was not doubled: the rest of it stands outside.
                (b'\'', Some(&next)) if continues_identifier(next) => return None,
                (b'\'', _) => return Some(at + 1),
                (b'\\', _) => match escapes {
                    Escapes::Backslash if !self.foreign_encoding => at += 2,
                    Escapes::Backslash | Escapes::Doubling => return Some(self.text.len()),
                },
                _ => at += 1,
            }
        }
    }

    /// A quoted identifier is kept, unless a connection string was put in the wrong quotes.
    fn identifier(&mut self, quote: usize) {
        let Some(end) = self.identifier_end(quote + 1) else {
            return self.replace_until(self.text.len(), IDENTIFIER);
        };
        let name = &self.source[quote + 1..end - 1];
        if name.contains('=') || Passwords::new(name, End::Whole).next().is_some() {
            self.replace_until(end, IDENTIFIER);
        } else {
            self.at = end;
        }
    }

    fn identifier_end(&self, mut at: usize) -> Option<usize> {
        loop {
            match (self.text.get(at)?, self.text.get(at + 1)) {
                (b'"', Some(b'"')) => at += 2,
                (b'"', _) => return Some(at + 1),
                _ => at += 1,
            }
        }
    }

    /// `$1`, `$$...$$`, `$tag$...$tag$`, or a stray sign.
    fn dollar(&mut self) {
        let Some(tag) = self.dollar_tag() else {
            self.at += 1;
            return;
        };
        let body = tag.end;
        let closing = &self.source[tag];
        let end = self.source[body..].find(closing).map(|at| body + at + closing.len());
        self.replace_literal(end);
    }

    fn dollar_tag(&self) -> Option<Range<usize>> {
        let name = self.at + 1;
        let continues = |&&byte: &&u8| continues_identifier(byte) && byte != b'$';
        let length = self.text[name..].iter().take_while(continues).count();
        let starts = length == 0 || starts_identifier(self.text[name]);
        let closed = self.text.get(name + length) == Some(&b'$');
        (starts && closed).then_some(self.at..name + length + 1)
    }

    /// A word of a definition behind which a secret may stand without quotes.
    fn secret_behind(&mut self, start: usize, word: &[u8]) {
        const PASSWORD: &str = "password";
        // A blank that was copied from a document continues the word.
        let ends = word.get(PASSWORD.len()).is_none_or(|next| !next.is_ascii());
        if ends && has(word, 0, PASSWORD) {
            self.at = start + PASSWORD.len();
            self.unquoted_password();
        } else if word.eq_ignore_ascii_case(b"identified") {
            // `IDENTIFIED BY`, as others have it.
            self.replace_rest();
        }
    }

    /// Behind PASSWORD in a definition: a literal follows, or NULL, or a password that lacks its quotes. Nobody knows
    /// where such a one ends.
    fn unquoted_password(&mut self) {
        let Ok(mut value) = skip(self.text, self.at) else {
            return;
        };
        if self.text.get(value) == Some(&b'=') {
            value += 1;
            let Ok(after) = skip(self.text, value) else {
                return;
            };
            value = after;
        }
        let rest = &self.text[value..];
        let length = rest.iter().position(|&byte| is_space(byte)).unwrap_or(rest.len());
        let word = rest[..length].trim_ascii_end();
        let stripped = word.strip_suffix(b";").unwrap_or(word);
        if stripped.is_empty() || stripped.eq_ignore_ascii_case(b"null") || self.opens_literal(value) {
            return;
        }
        self.replace_rest();
    }

    /// Everything from the current place to the end, comments included.
    fn replace_rest(&mut self) {
        self.copy_until(self.at);
        self.out.push(' ');
        self.replace_until(self.text.len(), LITERAL);
    }

    fn opens_literal(&self, at: usize) -> bool {
        let rest = &self.text[at..];
        let prefix = match rest {
            [b'u' | b'U', b'&', ..] => 2,
            [b'e' | b'E' | b'b' | b'B' | b'x' | b'X' | b'n' | b'N', ..] => 1,
            _ => 0,
        };
        let quoted = rest.get(prefix) == Some(&b'\'');
        quoted || rest.first() == Some(&b'$') && Lexer { at, out: String::new(), ..*self }.dollar_tag().is_some()
    }
}
