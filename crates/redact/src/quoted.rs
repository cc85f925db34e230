//! Constants in quotes: where they end, and the value that they stand for.
//!
//! Follows PostgreSQL's `scan.l`, `unescape_single_char` and `str_udeescape`. Where the end of a constant depends on what
//! is not known here (`standard_conforming_strings`, the client's encoding), or the constant is no valid one, the
//! answer is [`Doubt`].

use std::borrow::Cow;

use crate::blank::{self, continues_identifier, is_space};

/// It is not certain how the server reads this text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt;

/// A constant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Constant<'a> {
    /// What the server understands; not necessarily UTF-8, as escapes can spell bytes.
    pub(crate) value: Cow<'a, [u8]>,
    /// Where the text goes on.
    pub(crate) end: usize,
}

/// What is special between the quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// `''`. Whether a backslash escapes a quote depends on `standard_conforming_strings`.
    Doubled,
    /// `''` and backslashes: `E'...'`.
    Escaped,
    /// `''`; backslashes are read later: `U&'...'`.
    Unicode,
    /// Nothing: `B'...'`, `X'...'`.
    Bits,
}

/// `'...'` and `N'...'`; `quote` is the place of the first quote, here and below.
pub(crate) fn plain(text: &[u8], quote: usize) -> Result<Constant<'_>, Doubt> {
    read(text, quote, Inside::Doubled)
}

/// `E'...'`.
pub(crate) fn escaped(text: &[u8], quote: usize) -> Result<Constant<'_>, Doubt> {
    read(text, quote, Inside::Escaped)
}

/// `U&'...'`, with the UESCAPE clause that may follow.
pub(crate) fn unicode(text: &[u8], quote: usize) -> Result<Constant<'_>, Doubt> {
    let raw = read(text, quote, Inside::Unicode)?;
    let (escape, end) = escape_clause(text, raw.end)?.unwrap_or((b'\\', raw.end));
    if !raw.value.contains(&escape) {
        return Ok(Constant { value: raw.value, end });
    }
    Ok(Constant { value: Cow::Owned(decode_unicode(&raw.value, escape)?), end })
}

/// `B'...'` (one bit a digit) and `X'...'` (four); the value is the bits, as the server prints them.
pub(crate) fn bits(text: &[u8], quote: usize, bits_per_digit: u32) -> Result<Constant<'_>, Doubt> {
    let raw = read(text, quote, Inside::Bits)?;
    let mut value = Vec::with_capacity(raw.value.len());
    for &byte in raw.value.iter() {
        let digit = char::from(byte).to_digit(1 << bits_per_digit).ok_or(Doubt)?;
        value.extend((0..bits_per_digit).rev().map(|bit| if digit >> bit & 1 == 1 { b'1' } else { b'0' }));
    }
    Ok(Constant { value: Cow::Owned(value), end: raw.end })
}

/// `$$...$$` and `$tag$...$tag$`; `dollar` is the place of the first sign.
pub(crate) fn dollar(text: &str, dollar: usize) -> Result<Constant<'_>, Doubt> {
    let bytes = text.as_bytes();
    let continues = |&&byte: &&u8| continues_identifier(byte) && byte != b'$';
    let length = bytes[dollar + 1..].iter().take_while(continues).count();
    let body = dollar + length + 2;
    let starts_with_digit = bytes.get(dollar + 1).is_some_and(u8::is_ascii_digit);
    if starts_with_digit || bytes.get(body - 1) != Some(&b'$') {
        return Err(Doubt);
    }
    let tag = &text[dollar..body];
    let end = body + text[body..].find(tag).ok_or(Doubt)?;
    Ok(Constant { value: Cow::Borrowed(&bytes[body..end]), end: end + tag.len() })
}

/// End of a quoted identifier.
pub(crate) fn identifier_end(text: &[u8], quote: usize) -> Result<usize, Doubt> {
    let mut at = quote + 1;
    loop {
        match (text.get(at).ok_or(Doubt)?, text.get(at + 1)) {
            (b'"', Some(b'"')) => at += 2,
            (b'"', _) => return Ok(at + 1),
            _ => at += 1,
        }
    }
}

/// `UESCAPE 'c'`: the character, and where the text goes on.
pub(crate) fn escape_clause(text: &[u8], at: usize) -> Result<Option<(u8, usize)>, Doubt> {
    // A comment that is not closed is found again by whoever goes on here.
    let Ok(word) = blank::skip(text, at) else {
        return Ok(None);
    };
    let length = text[word..].iter().take_while(|&&byte| continues_identifier(byte)).count();
    if !text[word..word + length].eq_ignore_ascii_case(b"uescape") {
        return Ok(None);
    }
    let quote = blank::skip(text, word + length).map_err(|blank::Unterminated| Doubt)?;
    let Some(&[b'\'', escape, b'\'']) = text.get(quote..quote + 3) else {
        return Err(Doubt);
    };
    let is_allowed = escape.is_ascii_graphic() && !escape.is_ascii_hexdigit() && !matches!(escape, b'+' | b'\'' | b'"');
    let follows = text.get(quote + 3).is_some_and(|&next| next == b'\'' || continues_identifier(next));
    if is_allowed && !follows { Ok(Some((escape, quote + 3))) } else { Err(Doubt) }
}

/// Reads all pieces of a constant: `'a'` goes on as `'b'` behind a line break.
fn read(text: &[u8], mut quote: usize, inside: Inside) -> Result<Constant<'_>, Doubt> {
    let mut value = Cow::Borrowed(&[][..]);
    loop {
        let start = quote + 1;
        let end = closing_quote(text, start, inside)?;
        append(&mut value, &text[start..end], inside)?;
        match continuation(text, end + 1) {
            Some(next) => quote = next,
            None => return Ok(Constant { value, end: end + 1 }),
        }
    }
}

fn closing_quote(text: &[u8], start: usize, inside: Inside) -> Result<usize, Doubt> {
    let mut at = start;
    loop {
        match text.get(at).ok_or(Doubt)? {
            b'\'' => {
                if inside == Inside::Doubled && may_be_escaped(&text[start..at]) {
                    return Err(Doubt);
                }
                match text.get(at + 1) {
                    Some(b'\'') if inside == Inside::Bits => return Err(Doubt),
                    Some(b'\'') => at += 2,
                    // A quote that was not doubled: what follows may belong to the value.
                    Some(&next) if continues_identifier(next) => return Err(Doubt),
                    _ => return Ok(at),
                }
            }
            b'\\' if inside == Inside::Escaped => {
                if is_second_byte(text, at) {
                    return Err(Doubt);
                }
                at += 2;
            }
            _ => at += 1,
        }
    }
}

/// In Shift-JIS, Big5, GBK and others a backslash can be the second byte of a character.
fn is_second_byte(text: &[u8], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| text[before] >= 0x80)
}

/// Whether a quote behind this may be escaped by a backslash, with `standard_conforming_strings` off.
fn may_be_escaped(before: &[u8]) -> bool {
    let backslashes = before.iter().rev().take_while(|&&byte| byte == b'\\').count();
    backslashes % 2 == 1 || backslashes > 0 && is_second_byte(before, before.len() - backslashes)
}

/// Place of the quote that continues a constant which ended at `at`: blanks and line comments with at least one line
/// break lie between.
fn continuation(text: &[u8], mut at: usize) -> Option<usize> {
    let mut is_next_line = false;
    loop {
        match *text.get(at)? {
            b'\'' => return is_next_line.then_some(at),
            b'-' if text.get(at + 1) == Some(&b'-') => at = blank::comment_end(text, at)?.ok()?,
            byte if is_space(byte) => {
                is_next_line |= matches!(byte, b'\n' | b'\r');
                at += 1;
            }
            _ => return None,
        }
    }
}

fn append<'a>(value: &mut Cow<'a, [u8]>, piece: &'a [u8], inside: Inside) -> Result<(), Doubt> {
    let is_special = |byte: &u8| *byte == b'\'' || inside == Inside::Escaped && *byte == b'\\';
    match (value.is_empty(), piece.iter().any(is_special)) {
        (true, false) => *value = Cow::Borrowed(piece),
        (false, false) => value.to_mut().extend_from_slice(piece),
        (_, true) if inside == Inside::Escaped => decode_escapes(piece, value.to_mut())?,
        (_, true) => undouble(piece, value.to_mut()),
    }
    Ok(())
}

fn undouble(mut piece: &[u8], out: &mut Vec<u8>) {
    while let Some(quote) = piece.iter().position(|&byte| byte == b'\'') {
        out.extend_from_slice(&piece[..=quote]);
        piece = &piece[quote + 2..];
    }
    out.extend_from_slice(piece);
}

fn decode_escapes(mut rest: &[u8], out: &mut Vec<u8>) -> Result<(), Doubt> {
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'\\', [b'u', digits @ ..]) => push_character(digits, 4, b"\\u", out)?,
            (b'\\', [b'U', digits @ ..]) => push_character(digits, 8, b"\\U", out)?,
            (b'\\', [b'x', digits @ ..]) if digits.first().is_some_and(u8::is_ascii_hexdigit) => {
                push_byte(digits, 16, 2, out)
            }
            (b'\\', [b'0'..=b'7', ..]) => push_byte(tail, 8, 3, out),
            (b'\\', [escaped, tail @ ..]) => {
                out.push(match escaped {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
                tail
            }
            // The second one of two quotes is left out; a single one does not occur.
            (b'\'', [_, tail @ ..]) => {
                out.push(b'\'');
                tail
            }
            _ => {
                out.push(*byte);
                tail
            }
        };
    }
    Ok(())
}

/// `\ooo` and `\xhh`: as many digits as there are, up to `digits_max`; the server takes the low byte.
fn push_byte<'a>(rest: &'a [u8], radix: u32, digits_max: usize, out: &mut Vec<u8>) -> &'a [u8] {
    let digits = rest.iter().take(digits_max).map_while(|&byte| char::from(byte).to_digit(radix));
    let (length, value) = digits.fold((0, 0), |(length, value), digit| (length + 1, value * radix + digit));
    out.push((value & 0xff).to_le_bytes()[0]);
    &rest[length..]
}

/// A code point in `digits` hexadecimal digits, or the two halves of one, of which the second begins with `mark`.
fn push_character<'a>(rest: &'a [u8], digits: usize, mark: &[u8], out: &mut Vec<u8>) -> Result<&'a [u8], Doubt> {
    let (mut code, mut rest) = hexadecimal(rest, digits)?;
    if (0xd800..0xdc00).contains(&code) {
        let (low, after) = hexadecimal(rest.strip_prefix(mark).ok_or(Doubt)?, digits)?;
        let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400).ok_or(Doubt)?;
        code = 0x10000 + ((code - 0xd800) << 10) + low;
        rest = after;
    }
    let character = char::from_u32(code).filter(|character| *character != '\0').ok_or(Doubt)?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(rest)
}

fn hexadecimal(rest: &[u8], digits: usize) -> Result<(u32, &[u8]), Doubt> {
    let (number, rest) = rest.split_at_checked(digits).ok_or(Doubt)?;
    let code = number.iter().try_fold(0_u32, |code, &byte| Some(code << 4 | char::from(byte).to_digit(16)?));
    Ok((code.ok_or(Doubt)?, rest))
}

fn decode_unicode(mut rest: &[u8], escape: u8) -> Result<Vec<u8>, Doubt> {
    let mut out = Vec::with_capacity(rest.len());
    while let [byte, tail @ ..] = rest {
        rest = match tail {
            _ if *byte != escape => {
                out.push(*byte);
                tail
            }
            [next, tail @ ..] if *next == escape => {
                out.push(escape);
                tail
            }
            [b'+', digits @ ..] => push_character(digits, 6, &[escape, b'+'], &mut out)?,
            digits => push_character(digits, 4, &[escape], &mut out)?,
        };
    }
    Ok(out)
}
