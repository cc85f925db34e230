//! A linear pass over the text before anything parses it: it may not be long, deep or of many parts.
//!
//! It knows quotes, comments and words as PostgreSQL's lexer does, and judges nothing else.

use model::facts::OpaqueReason;

use crate::limits::Limits;
use crate::state::Encoding;

/// Checks a text against the limits.
///
/// # Errors
/// [`OpaqueReason::TooLarge`] above one, [`OpaqueReason::Encoding`] for a NUL, and for a name that a server with this encoding
/// of its own may read otherwise.
pub(crate) fn check(
    text: &str,
    conforming_strings: bool,
    server: Encoding,
    limits: &Limits,
) -> Result<(), OpaqueReason> {
    if text.as_bytes().contains(&0) {
        return Err(OpaqueReason::Encoding);
    }
    let mut counts = Counts::default();
    let mut rest =
        Lexer { text: text.as_bytes(), conforming_strings, comment_depth: 0, comment_cost: 0, comment_run: 0 };
    let mut is_escaped = false;
    while let Some(token) = rest.token() {
        if server != Encoding::Utf8 && differs(token, is_escaped, server) {
            return Err(OpaqueReason::Encoding);
        }
        is_escaped = token == Token::Symbol(b'&');
        counts.add(token);
        if counts.tokens > limits.tokens_max
            || counts.nesting > limits.nesting_max
            || counts.separators > limits.statements_max
            || rest.has_costly_comments(limits)
        {
            return Err(OpaqueReason::TooLarge);
        }
    }
    if rest.has_costly_comments(limits) { Err(OpaqueReason::TooLarge) } else { Ok(()) }
}

/// Longest name of which no encoding of a server makes more bytes than it keeps (63): of three in UTF-8 at most four.
const NAME_BYTES_SURE: usize = 47;

/// Whether a server that does not keep names in UTF-8 may cut a name elsewhere, or fold it to another. `is_escaped`: behind
/// `U&` there may be any letters in it.
fn differs(token: Token<'_>, is_escaped: bool, server: Encoding) -> bool {
    let (name, is_folded) = match token {
        Token::Word(name) => (name, true),
        Token::Name(name) => (name, false),
        Token::Quoted | Token::Symbol(_) => return false,
    };
    if name.is_ascii() && !is_escaped {
        return false;
    }
    let is_lower =
        || std::str::from_utf8(name).is_ok_and(|name| !name.chars().any(|c| !c.is_ascii() && c.is_uppercase()));
    name.len() > NAME_BYTES_SURE || is_folded && (server == Encoding::SqlAscii || !is_lower())
}

/// Bytes that PostgreSQL's lexer may look at because of comments. Where one begins it reads all operator characters that
/// follow, and then goes back: 64 KiB of `/*` take it eleven seconds.
const COMMENT_COST_MAX: usize = 1024 * 1024;

/// Comments with nothing between them: the grammar's lexer calls itself for each (about 80 bytes of stack).
const COMMENT_RUN_MAX: usize = 4096;

/// Operator characters behind a comment's beginning that are counted; more of them are over the limit soon enough.
const OPERATOR_RUN_MAX: usize = 4096;

#[derive(Default)]
struct Counts {
    tokens: usize,
    nesting: usize,
    separators: usize,
}

impl Counts {
    fn add(&mut self, token: Token<'_>) {
        self.tokens += 1;
        match token {
            Token::Word(word) if word.eq_ignore_ascii_case(b"case") => self.nesting += 1,
            // Also the end of a transaction or of a function's body: then it closes nothing.
            Token::Word(word) if word.eq_ignore_ascii_case(b"end") => self.nesting = self.nesting.saturating_sub(1),
            Token::Symbol(b'(' | b'[') => self.nesting += 1,
            Token::Symbol(b')' | b']') => self.nesting = self.nesting.saturating_sub(1),
            Token::Symbol(b';') => self.separators += 1,
            Token::Word(_) | Token::Name(_) | Token::Symbol(_) | Token::Quoted => {}
        }
    }
}

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A keyword, an unquoted name or a number.
    Word(&'a [u8]),
    /// A quoted name, with its quotes.
    Name(&'a [u8]),
    /// A string.
    Quoted,
    /// One byte of anything else.
    Symbol(u8),
}

/// The text that is left.
struct Lexer<'a> {
    text: &'a [u8],
    conforming_strings: bool,
    /// Comments inside each other, at most so far.
    comment_depth: usize,
    comment_cost: usize,
    /// Comments with nothing but blanks between them, at most so far.
    comment_run: usize,
}

impl<'a> Lexer<'a> {
    const fn has_costly_comments(&self, limits: &Limits) -> bool {
        self.comment_depth > limits.nesting_max
            || self.comment_cost > COMMENT_COST_MAX
            || self.comment_run > COMMENT_RUN_MAX
    }

    fn token(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let first = *self.text.first()?;
        Some(match first {
            b'\'' => self.string(1, !self.conforming_strings),
            b'"' => Token::Name(self.quoted(1, b'"', false)),
            b'e' | b'E' if self.text.get(1) == Some(&b'\'') => self.string(2, true),
            b'$' => self.dollar(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'0'..=b'9' | 0x80.. => {
                Token::Word(self.take(self.text.iter().take_while(|byte| is_word(**byte)).count()))
            }
            symbol => {
                self.take(1);
                Token::Symbol(symbol)
            }
        })
    }

    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.text.split_at(bytes.min(self.text.len()));
        self.text = rest;
        taken
    }

    fn skip_blanks(&mut self) {
        let mut comments = 0_usize;
        loop {
            match self.text {
                [b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, ..] => {
                    self.take(1);
                    continue;
                }
                [b'-', b'-', ..] => drop(self.take(line_length(self.text))),
                [b'/', b'*', ..] => self.skip_comment(),
                _ => return,
            }
            comments += 1;
            self.comment_run = self.comment_run.max(comments);
        }
    }

    /// Skips the comment that the text begins with; comments nest. One without an end reaches to the end of the text.
    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        while self.comment_cost <= COMMENT_COST_MAX {
            match self.text {
                [b'/', b'*', ..] => {
                    depth += 1;
                    self.comment_depth = self.comment_depth.max(depth);
                    self.comment_cost += operator_run(self.text);
                    self.take(2);
                }
                [b'*', b'/', ..] => {
                    depth -= 1;
                    self.take(2);
                    if depth == 0 {
                        return;
                    }
                }
                [] => return,
                _ => drop(self.take(1)),
            }
        }
        self.text = &[];
    }

    fn string(&mut self, start: usize, has_escapes: bool) -> Token<'a> {
        self.quoted(start, b'\'', has_escapes);
        Token::Quoted
    }

    /// Takes a string or name whose opening quote ends at `start`. A doubled quote begins the next piece of the same one.
    fn quoted(&mut self, start: usize, quote: u8, has_escapes: bool) -> &'a [u8] {
        let mut at = start;
        while let Some(byte) = self.text.get(at) {
            at += if has_escapes && *byte == b'\\' { 2 } else { 1 };
            if *byte == quote {
                break;
            }
        }
        self.take(at)
    }

    /// Takes a dollar-quoted string, or a dollar sign.
    fn dollar(&mut self) -> Token<'a> {
        let tag = self.text.iter().skip(1).take_while(|byte| is_word(**byte) && **byte != b'$').count() + 2;
        let opening =
            self.text.get(..tag).filter(|tag| tag.ends_with(b"$") && !tag.get(1).is_some_and(u8::is_ascii_digit));
        let Some(opening) = opening else {
            self.take(1);
            return Token::Symbol(b'$');
        };
        let body = self.text.get(tag..).unwrap_or_default();
        let length = find(body, opening).map_or(self.text.len(), |end| tag + end + tag);
        self.take(length);
        Token::Quoted
    }
}

/// Whether a byte continues a word.
pub(crate) const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

fn line_length(text: &[u8]) -> usize {
    text.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len())
}

/// Length of the operator characters that a text begins with.
fn operator_run(text: &[u8]) -> usize {
    text.iter().take(OPERATOR_RUN_MAX).take_while(|byte| b"~!@#^&|`?+-*/%<>=".contains(byte)).count()
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
