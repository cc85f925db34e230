//! White space and comments of SQL, as PostgreSQL's `scan.l` reads them.

/// A comment that the text does not close.
pub(crate) struct Unterminated;

/// White space of PostgreSQL's lexer (vertical tab since 16).
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// A byte that continues an identifier; every byte of a non-ASCII character does.
pub(crate) fn continues_identifier(byte: u8) -> bool {
    starts_identifier(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// A byte that starts an identifier.
pub(crate) fn starts_identifier(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

/// End of the comment that starts at `at`, or `None` if none starts there.
pub(crate) fn comment_end(text: &[u8], at: usize) -> Option<Result<usize, Unterminated>> {
    let rest = text.get(at..)?;
    if rest.starts_with(b"--") {
        let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        return Some(Ok(at + length));
    }
    rest.starts_with(b"/*").then(|| block_end(text, at + 2))
}

/// Block comments nest.
fn block_end(text: &[u8], mut at: usize) -> Result<usize, Unterminated> {
    let mut depth = 1_usize;
    while let Some(pair) = text.get(at..at + 2) {
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Ok(at);
        }
    }
    Err(Unterminated)
}

/// First byte at or after `at` that is neither white space nor comment; the text's length if there is none.
pub(crate) fn skip(text: &[u8], mut at: usize) -> Result<usize, Unterminated> {
    while let Some(&byte) = text.get(at) {
        if is_space(byte) {
            at += 1;
        } else if let Some(end) = comment_end(text, at) {
            at = end?;
        } else {
            break;
        }
    }
    Ok(at)
}
