//! Policy files, cut into policies: each is parsed by itself, so that all mistakes are found at once.

use crate::Problem;

/// Files of one set.
pub(crate) const FILES_MAX: usize = 512;
/// Bytes of one file.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;
/// Bytes of one policy.
pub(crate) const POLICY_BYTES_MAX: usize = 32 * 1024;
/// Brackets in brackets.
pub(crate) const NESTING_MAX: usize = 32;
/// Operators of one policy: a chain of them is a deep tree, and Cedar is recursive. What a stack cannot hold while a
/// policy is evaluated is refused (`error`), so that a bound keeps policies useful, not only the process alive.
pub(crate) const OPERATORS_MAX: usize = 128;
/// Dots of one policy. A chain of attributes that is no mistake is short, but the parser reads it first.
pub(crate) const DOTS_MAX: usize = 512;
/// Policies of one set.
pub(crate) const POLICIES_MAX: usize = 4096;

/// One file of a policy set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFile {
    /// How problems call it.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// The text of one policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) file: &'a PolicyFile,
    /// Where it begins in the file, in bytes.
    pub(crate) start: usize,
    pub(crate) text: &'a str,
    nesting: usize,
    operators: usize,
    dots: usize,
}

impl<'a> Piece<'a> {
    /// A problem at a byte of this piece.
    pub(crate) fn problem(&self, offset: usize, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        problem(self.file, self.start.saturating_add(offset), what, remedy)
    }

    /// Line of its first byte.
    pub(crate) fn line(&self) -> u32 {
        position(&self.file.text, self.start).0
    }

    /// The first limit that it does not keep.
    pub(crate) fn oversize(&self) -> Option<Problem> {
        if self.text.len() > POLICY_BYTES_MAX {
            return Some(self.problem(0, format!("the policy has more than {POLICY_BYTES_MAX} bytes"), "split it"));
        }
        if self.nesting > NESTING_MAX {
            return Some(self.problem(0, format!("brackets are nested deeper than {NESTING_MAX}"), "write it flatter"));
        }
        let remedy = "split it, or write a list: [\"a\", \"b\"].contains(..)";
        let long = self.operators > OPERATORS_MAX || self.dots > DOTS_MAX;
        let what = format!("the policy has more than {OPERATORS_MAX} operators or {DOTS_MAX} dots");
        long.then(|| self.problem(0, what, remedy))
    }
}

/// A problem at a byte of a file.
pub(crate) fn problem(file: &PolicyFile, offset: usize, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
    let (line, column) = position(&file.text, offset);
    Problem { file: file.name.clone(), line, column, what: what.into(), remedy: remedy.into() }
}

/// Line and column of a byte, from 1.
fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count();
    let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count());
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1);
    (count(line), count(column))
}

/// Where the scan is.
#[derive(Clone, Copy)]
enum Place {
    Code,
    Comment,
    String,
    Escape,
}

/// The text with blanks in the place of comments and of what is in strings, byte by byte, in ASCII.
fn skeleton(text: &str) -> String {
    let mut place = Place::Code;
    let mut bytes = text.bytes().peekable();
    let mut skeleton = String::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        place = match (place, byte) {
            (Place::Comment, b'\n') | (Place::String, b'"') => Place::Code,
            (Place::Code, b'/') if bytes.peek() == Some(&b'/') => Place::Comment,
            (Place::Code, b'"') => Place::String,
            (Place::String, b'\\') => Place::Escape,
            (Place::Escape, _) => Place::String,
            (same, _) => same,
        };
        skeleton.push(match (place, byte) {
            (Place::Code, byte) if byte.is_ascii() => char::from(byte),
            (Place::Code, _) => '?',
            (Place::String, b'"') => '"',
            (Place::Comment | Place::String | Place::Escape, _) => ' ',
        });
    }
    skeleton
}

/// The policies of a file: what ends with a semicolon, without the comments and blanks before it.
pub(crate) fn pieces(file: &PolicyFile) -> Vec<Piece<'_>> {
    let skeleton = skeleton(&file.text);
    let mut end = 0_usize;
    let pieces = skeleton.split_inclusive(';').filter_map(|code| {
        end = end.saturating_add(code.len());
        let code = code.trim_start();
        let start = end.saturating_sub(code.len());
        let text = file.text.get(start..end).filter(|_| !code.is_empty())?;
        Some(Piece {
            file,
            start,
            text,
            nesting: nesting(code),
            operators: operators(code),
            dots: code.matches('.').count(),
        })
    });
    pieces.collect()
}

/// The deepest nesting of brackets.
fn nesting(code: &str) -> usize {
    let depths = code.bytes().scan(0_usize, |depth, byte| {
        *depth = match byte {
            b'(' | b'[' | b'{' => depth.saturating_add(1),
            b')' | b']' | b'}' => depth.saturating_sub(1),
            _ => *depth,
        };
        Some(*depth)
    });
    depths.max().unwrap_or_default()
}

/// Whatever makes a tree deeper without a bracket.
fn operators(code: &str) -> usize {
    let words = code.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| *word == "if").count();
    let pairs = code.matches("&&").count().saturating_add(code.matches("||").count());
    let signs = code.bytes().filter(|byte| b"+-*!".contains(byte)).count().saturating_add(pairs);
    words.saturating_add(signs)
}
