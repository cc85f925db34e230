//! Other files that a file names, and the tokens of all of them in order.

use std::sync::Arc;

use crate::line;
use crate::major::Major;
use crate::mistake::{Mistake, Place, Wrong, shown};
use crate::token::{Reader, Token};

/// Size of one file, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Files, the first one included.
pub const FILES_MAX: usize = 256;
/// Tokens of all files.
pub const TOKENS_MAX: usize = 100_000;
/// Files in files, the server's own limit.
pub const DEPTH_MAX: usize = 10;
/// Mistakes that are reported; the server would report all.
pub const MISTAKES_MAX: usize = 100;
/// Longest token before PostgreSQL 16, in bytes.
const OLD_TOKEN_BYTES_MAX: usize = 10_240;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path: in messages, and what relative includes are relative to.
    pub name: String,
    /// Its bytes.
    pub text: Vec<u8>,
}

/// How a file is named by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `@path` in a field: one file.
    Field,
    /// `include path`: one file.
    Always,
    /// `include_if_exists path`: one file, or none where it does not exist.
    IfExists,
    /// `include_dir path`: the files whose names end with `.conf` and do not begin with a dot, sorted by bytes.
    Directory,
}

/// What a file asks its reader for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    /// Which form.
    pub kind: Kind,
    /// The path as written; where it is relative, to the directory of `from.file`.
    pub path: Vec<u8>,
    /// The line that names it.
    pub from: Place,
}

/// Gives the files that an [`Include`] stands for, or says why not.
pub type Resolve<'a> = dyn FnMut(&Include) -> Result<Vec<File>, String> + 'a;

/// A line as fields of tokens. No field is empty.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) place: Place,
    pub(crate) fields: Vec<Vec<Token>>,
}

/// Reads files into records.
pub(crate) struct Collector<'a, 'b> {
    pub(crate) major: Major,
    pub(crate) resolve: &'a mut Resolve<'b>,
    pub(crate) mistakes: Vec<Mistake>,
    files: usize,
    tokens: usize,
}

impl<'a, 'b> Collector<'a, 'b> {
    pub(crate) fn new(major: Major, resolve: &'a mut Resolve<'b>) -> Self {
        Self { major, resolve, mistakes: Vec::new(), files: 0, tokens: 0 }
    }

    /// Notes a mistake; those over the limit are dropped, there are enough to refuse the file.
    pub(crate) fn note(&mut self, mistake: Mistake) {
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(mistake);
        }
    }

    /// The records of `file` and of those that it names, in order. A line with a mistake is left out and noted.
    pub(crate) fn records(&mut self, file: &File, depth: usize) -> Vec<Record> {
        let name: Arc<str> = Arc::from(file.name.as_str());
        let start = Place { file: Arc::clone(&name), line: 1 };
        self.files = self.files.saturating_add(1);
        if let Err(wrong) = within(file.text.len(), FILE_BYTES_MAX, "bytes in a file")
            .and_then(|()| within(self.files, FILES_MAX, "files"))
        {
            self.note(Mistake { place: start, wrong });
            return Vec::new();
        }
        let mut records = Vec::new();
        for line in line::split(&file.text, self.major) {
            let place = Place { file: Arc::clone(&name), line: line.number };
            if let Err(wrong) = self.record(&line.text, &place, depth, &mut records) {
                let full = matches!(wrong, Wrong::TooMany { .. });
                self.note(Mistake { place, wrong });
                if full {
                    break;
                }
            }
        }
        records
    }

    fn record(&mut self, line: &[u8], place: &Place, depth: usize, records: &mut Vec<Record>) -> Result<(), Wrong> {
        if line.contains(&0) {
            return Err(Wrong::Nul);
        }
        let mut fields = Vec::new();
        let mut reader = Reader::new(line);
        while !reader.at_end() {
            let field = self.field(&mut reader, place, depth)?;
            if !field.is_empty() {
                fields.push(field);
            }
        }
        if let Some((kind, path)) = self.directive(&fields) {
            for file in self.resolve(kind, path, place, depth)? {
                let inner = self.records(&file, depth.saturating_add(1));
                records.extend(inner);
            }
        } else if !fields.is_empty() {
            records.push(Record { place: place.clone(), fields });
        }
        Ok(())
    }

    /// The server compares the word alone: quoted or first of a list, it is the same.
    fn directive<'f>(&self, fields: &'f [Vec<Token>]) -> Option<(Kind, &'f [u8])> {
        let [first, second] = fields else { return None };
        if !self.major.has_includes_and_patterns() {
            return None;
        }
        let kind = match first.first()?.text.as_slice() {
            b"include" => Kind::Always,
            b"include_if_exists" => Kind::IfExists,
            b"include_dir" => Kind::Directory,
            _ => return None,
        };
        Some((kind, &second.first()?.text))
    }

    fn field(&mut self, reader: &mut Reader<'_>, place: &Place, depth: usize) -> Result<Vec<Token>, Wrong> {
        let mut tokens = Vec::new();
        while let Some(read) = reader.next() {
            self.count(&read.token)?;
            match read.token.file() {
                Some(path) => tokens.extend(self.expand(path, place, depth)?),
                None => tokens.push(read.token),
            }
            if !read.comma {
                break;
            }
        }
        Ok(tokens)
    }

    fn count(&mut self, token: &Token) -> Result<(), Wrong> {
        self.tokens = self.tokens.saturating_add(1);
        within(self.tokens, TOKENS_MAX, "words")?;
        if self.major.limits_tokens() {
            within(token.text.len(), OLD_TOKEN_BYTES_MAX, "bytes in a word")?;
        }
        Ok(())
    }

    /// All tokens of a file, whatever its lines and fields.
    fn expand(&mut self, path: &[u8], place: &Place, depth: usize) -> Result<Vec<Token>, Wrong> {
        let mut tokens = Vec::new();
        for file in self.resolve(Kind::Field, path, place, depth)? {
            let records = self.records(&file, depth.saturating_add(1));
            tokens.extend(records.into_iter().flat_map(|record| record.fields).flatten());
        }
        Ok(tokens)
    }

    fn resolve(&mut self, kind: Kind, path: &[u8], from: &Place, depth: usize) -> Result<Vec<File>, Wrong> {
        let wrong = |why: String| Wrong::Include { path: shown(path), why };
        if depth >= DEPTH_MAX {
            return Err(wrong(format!("more than {DEPTH_MAX} files in files")));
        }
        let files = (self.resolve)(&Include { kind, path: path.to_vec(), from: from.clone() }).map_err(wrong)?;
        if matches!(kind, Kind::Field | Kind::Always) && files.len() != 1 {
            return Err(wrong("it is not one file".into()));
        }
        Ok(files)
    }
}

pub(crate) fn within(count: usize, max: usize, what: &'static str) -> Result<(), Wrong> {
    if count > max { Err(Wrong::TooMany { what, max }) } else { Ok(()) }
}
