//! Replaces every literal of a statement's text by the fingerprint of its value, and every comment.
//!
//! Unlike [`crate::literal`], which only has to remove, this has to understand: a fingerprint of half a value would be
//! wrong, and a text that is no SQL has values in places where SQL has names. So whatever PostgreSQL might read
//! differently makes the whole text doubtful, and then none of it is kept.

use crate::blank::{Unterminated, comment_end, continues_identifier, is_space, starts_identifier};
use crate::fingerprint::{Domain, Key, is_printed};
use crate::quoted::{self, Constant, Doubt};
use crate::{COMMENT, number};

/// Literals that are replaced in one text; a text with more of them is withheld as a whole. Each of them can make the
/// text longer by 20 bytes.
pub(crate) const LITERALS_MAX: u32 = 10_000;

/// What stands in the place of a literal.
#[derive(Clone, Copy)]
pub(crate) enum Marks<'a> {
    /// The fingerprint of its value.
    Fingerprints(&'a Key),
    /// The same for all, as the text speaks of a secret.
    Withheld,
}

/// The text without literals and comments; `None` if it has none.
pub(crate) fn replace(text: &str, marks: Marks<'_>) -> Result<Option<String>, Doubt> {
    // Not UTF-8, so neither characters nor backslashes can be told.
    if text.contains('\u{fffd}') {
        return Err(Doubt);
    }
    let mut lexer = Lexer {
        source: text,
        text: text.as_bytes(),
        marks,
        out: String::new(),
        at: 0,
        copied: 0,
        literals: 0,
        before: Before::Other,
        script: Script::Sql,
    };
    while lexer.step()? {}
    if lexer.copied == 0 {
        return Ok(None);
    }
    lexer.copy_until(text.len());
    Ok((lexer.out != text).then_some(lexer.out))
}

/// What begins the authority of a URI.
const ADDRESS: &[u8] = b"://";

/// The last token, blanks and comments aside.
#[derive(PartialEq, Eq)]
enum Before {
    Literal,
    Other,
}

/// How much of `COPY ... FROM STDIN;` was seen. A script may have data behind it, which is no SQL.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Sql,
    Copy,
    From,
    Stdin,
    Data,
}

struct Lexer<'a> {
    source: &'a str,
    text: &'a [u8],
    marks: Marks<'a>,
    out: String,
    at: usize,
    copied: usize,
    literals: u32,
    before: Before,
    script: Script,
}

impl Lexer<'_> {
    /// Reads one token; false at the end of the text.
    fn step(&mut self) -> Result<bool, Doubt> {
        let Some(&byte) = self.text.get(self.at) else {
            return Ok(false);
        };
        if is_space(byte) {
            self.at += 1;
        } else if matches!(byte, b'-' | b'/')
            && let Some(end) = comment_end(self.text, self.at)
        {
            self.comment(end.map_err(|Unterminated| Doubt)?);
        } else if self.script == Script::Data {
            return Err(Doubt);
        } else {
            self.token(byte)?;
        }
        Ok(true)
    }

    fn token(&mut self, byte: u8) -> Result<(), Doubt> {
        let next = self.text.get(self.at + 1);
        let before = std::mem::replace(&mut self.before, Before::Other);
        match byte {
            _ if starts_identifier(byte) => return self.word(before),
            b'"' => return self.identifier(self.at),
            b'\'' => return self.literal(&quoted::plain(self.text, self.at)?, before),
            b'0'..=b'9' => return self.number(before),
            b'.' if next.is_some_and(u8::is_ascii_digit) => return self.number(before),
            b'.' if next == Some(&b'.') => self.at += 2,
            b'$' if next.is_some_and(u8::is_ascii_digit) => return self.parameter(),
            b'$' => return self.literal(&quoted::dollar(self.source, self.at)?, before),
            b';' => {
                self.script = if self.script == Script::Stdin { Script::Data } else { Script::Sql };
                self.at += 1;
            }
            // An address that lacks its quotes.
            b':' if self.text[self.at..].starts_with(ADDRESS) => return Err(Doubt),
            b'(' | b')' | b'[' | b']' | b',' | b'.' | b':' | b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' | b'~'
            | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|' | b'`' | b'?' => self.at += 1,
            // Backslash, braces and control characters are no SQL.
            _ => return Err(Doubt),
        }
        Ok(())
    }

    /// A key word, a name, or the prefix of a constant.
    fn word(&mut self, before: Before) -> Result<(), Doubt> {
        let length = self.text[self.at..].iter().take_while(|&&byte| continues_identifier(byte)).count();
        let end = self.at + length;
        let word = &self.text[self.at..end];
        let constant = match (word, self.text.get(end), self.text.get(end + 1)) {
            (b"e" | b"E", Some(b'\''), _) => quoted::escaped(self.text, end)?,
            (b"n" | b"N", Some(b'\''), _) => quoted::plain(self.text, end)?,
            (b"b" | b"B", Some(b'\''), _) => quoted::bits(self.text, end, 1)?,
            (b"x" | b"X", Some(b'\''), _) => quoted::bits(self.text, end, 4)?,
            (b"u" | b"U", Some(b'&'), Some(b'\'')) => quoted::unicode(self.text, end + 1)?,
            (b"u" | b"U", Some(b'&'), Some(b'"')) => return self.unicode_identifier(end + 1),
            _ => {
                self.script = self.script.after(word);
                self.at = end;
                return Ok(());
            }
        };
        self.literal(&constant, before)
    }

    /// A quoted name; an address in these quotes is a value in the wrong ones.
    fn identifier(&mut self, quote: usize) -> Result<(), Doubt> {
        self.at = quoted::identifier_end(self.text, quote)?;
        let is_address = self.text[quote..self.at].windows(ADDRESS.len()).any(|part| part == ADDRESS);
        if is_address { Err(Doubt) } else { Ok(()) }
    }

    /// Its UESCAPE clause names a character, which is no value.
    fn unicode_identifier(&mut self, quote: usize) -> Result<(), Doubt> {
        self.identifier(quote)?;
        let end = self.at;
        self.at = match quoted::escape_clause(self.text, end)? {
            None => end,
            Some((_, clause)) if self.source[end..clause].contains("--") || self.source[end..clause].contains("/*") => {
                return Err(Doubt);
            }
            Some((_, clause)) => clause,
        };
        Ok(())
    }

    /// `$1`.
    fn parameter(&mut self) -> Result<(), Doubt> {
        let digits = self.text[self.at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let end = self.at + 1 + digits;
        // The protocol counts parameters in 16 bits. A larger number is an amount of money, or of nothing.
        let is_parameter = self.source[self.at + 1..end].parse::<u16>().is_ok();
        if !is_parameter || self.text.get(end).is_some_and(|&next| continues_identifier(next)) {
            return Err(Doubt);
        }
        self.at = end;
        Ok(())
    }

    fn number(&mut self, before: Before) -> Result<(), Doubt> {
        // `e.5`: with a mark in its place it would be a string with escapes.
        if self.at.checked_sub(1).is_some_and(|last| continues_identifier(self.text[last])) {
            return Err(Doubt);
        }
        let end = number::end(self.text, self.at).ok_or(Doubt)?;
        let value = number::canonical(&self.source[self.at..end]);
        self.mark(value.as_bytes(), end, before)
    }

    fn literal(&mut self, constant: &Constant<'_>, before: Before) -> Result<(), Doubt> {
        self.mark(&constant.value, constant.end, before)
    }

    /// Puts the mark of a value in the place of everything up to `end`.
    fn mark(&mut self, value: &[u8], end: usize, before: Before) -> Result<(), Doubt> {
        self.literals += 1;
        // No statement has two constants in a row.
        if before == Before::Literal || self.literals > LITERALS_MAX {
            return Err(Doubt);
        }
        self.before = Before::Literal;
        if self.out.capacity() == 0 {
            self.out.reserve(self.text.len() + self.text.len() / 2 + 32);
        }
        self.copy_until(self.at);
        // `u&` and a mark would be a constant with Unicode escapes.
        self.out.push_str(if self.out.ends_with('&') { " '" } else { "'" });
        match self.marks {
            Marks::Fingerprints(_) if is_printed(value) => self.out.extend(value.iter().copied().map(char::from)),
            Marks::Fingerprints(key) if !is_withheld(value) => key.of(Domain::Value, &[value]).push_to(&mut self.out),
            Marks::Fingerprints(_) | Marks::Withheld => self.out.push_str(crate::REPLACEMENT),
        }
        self.out.push_str(if self.text.get(end).is_some_and(|&next| continues_identifier(next)) { "' " } else { "'" });
        self.at = end;
        self.copied = end;
        Ok(())
    }

    fn copy_until(&mut self, end: usize) {
        self.out.push_str(&self.source[self.copied..end]);
        self.copied = end;
    }

    fn comment(&mut self, end: usize) {
        self.copy_until(self.at);
        // A slash and the beginning of a comment would be the beginning of an URI's authority.
        self.out.push_str(if self.out.ends_with('/') { " " } else { "" });
        self.out.push_str(COMMENT);
        self.copied = end;
        self.at = end;
    }
}

impl Script {
    fn after(self, word: &[u8]) -> Self {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match self {
            Self::Sql if is(b"copy") => Self::Copy,
            Self::Copy | Self::From if is(b"from") => Self::From,
            Self::From if is(b"stdin") => Self::Stdin,
            Self::From => Self::Copy,
            state => state,
        }
    }
}

/// What secrets leave behind, possibly several in a row: they have no fingerprint.
fn is_withheld(value: &[u8]) -> bool {
    !value.is_empty() && value.chunks(crate::REPLACEMENT.len()).all(|part| part == crate::REPLACEMENT.as_bytes())
}
