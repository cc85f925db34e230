//! A line into fields of tokens: blanks, commas, quotes, comments.

/// A word of the file. A quoted word is never a keyword.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: Vec<u8>,
    /// It began with a quote.
    pub(crate) quoted: bool,
}

impl Token {
    /// Whether it is this keyword.
    pub(crate) fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.text == keyword.as_bytes()
    }

    /// The path behind an unquoted `@`.
    pub(crate) fn file(&self) -> Option<&[u8]> {
        if self.quoted {
            return None;
        }
        self.text.strip_prefix(b"@").filter(|path| !path.is_empty())
    }
}

/// A token and whether a comma stands behind it, so that the field goes on.
pub(crate) struct Read {
    pub(crate) token: Token,
    pub(crate) comma: bool,
}

/// What is left of a line.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    pub(crate) const fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next token; nothing at the end of the line or before a comment.
    ///
    /// Quotes may begin and end inside a word; two of them inside quotes are one. A missing closing quote is not noticed:
    /// the rest of the line belongs to the token.
    pub(crate) fn next(&mut self) -> Option<Read> {
        let start = self.rest.iter().position(|&byte| !is_blank(byte) && byte != b',').unwrap_or(self.rest.len());
        self.rest = self.rest.get(start..).unwrap_or_default();
        let mut token = Token { text: Vec::new(), quoted: false };
        let (mut inside, mut doubled, mut any_quote, mut comma) = (false, false, false, false);
        while let Some((&byte, rest)) = self.rest.split_first() {
            if !inside && is_blank(byte) {
                break;
            }
            if !inside && byte == b'#' {
                self.rest = &[];
                break;
            }
            if !inside && byte == b',' {
                comma = true;
                break;
            }
            if byte != b'"' || doubled {
                token.text.push(byte);
            }
            doubled = inside && byte == b'"' && !doubled;
            if byte == b'"' {
                inside = !inside;
                any_quote = true;
                token.quoted |= token.text.is_empty();
            }
            self.rest = rest;
        }
        (any_quote || !token.text.is_empty()).then_some(Read { token, comma })
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[(&str, bool, bool)]) {
        let mut reader = Reader::new(line.as_bytes());
        let read: Vec<_> = std::iter::from_fn(|| reader.next()).collect();
        let read: Vec<_> = read
            .iter()
            .map(|read| (std::str::from_utf8(&read.token.text).unwrap(), read.token.quoted, read.comma))
            .collect();
        assert_eq!(read, expected, "{line}");
    }

    #[test]
    fn blanks_commas_quotes_and_comments() {
        check(" host\tall  x ", &[("host", false, false), ("all", false, false), ("x", false, false)]);
        check("a,b, c ,d", &[("a", false, true), ("b", false, true), ("c", false, false), ("d", false, false)]);
        check("\"all\" \"a b\" \"a,b#c\"", &[("all", true, false), ("a b", true, false), ("a,b#c", true, false)]);
        check("a\"b c\"d", &[("ab cd", false, false)]);
        check("\"a\"\"b\"", &[("a\"b", true, false)]);
        check("\"\"", &[("", true, false)]);
        check("a#b c", &[("a", false, false)]);
        check("# all", &[]);
        check("\"open all", &[("open all", true, false)]);
        check(",,a", &[("a", false, false)]);
        check("@\"a b\"", &[("@a b", false, false)]);
        check("\"@a\"", &[("@a", true, false)]);
    }
}
