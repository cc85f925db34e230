//! Takes secrets out of a command line.
//!
//! Three views of an argument, one after the other: as SQL, as words of a command line (options with a secret as value,
//! environment assignments; also inside of `sh -c "..."`), and as free text (connection strings, URIs, bearer tokens).
//! Each only ever removes text.

use crate::mark::has;
use crate::uri::{self, End};
use crate::{REPLACEMENT, assignment, issued, taint};

/// The arguments of a NUL-separated command line, and how each of them ends.
pub(crate) fn split(raw: &[u8]) -> impl Iterator<Item = (String, End)> {
    let (whole, is_cut) = match raw.strip_suffix(b"\0") {
        Some(whole) => (whole, false),
        None => (raw, true),
    };
    let count = whole.split(|&byte| byte == 0).count();
    whole.split(|&byte| byte == 0).enumerate().filter(move |_| !raw.is_empty()).map(move |(index, argument)| {
        let end = if is_cut && index + 1 == count { End::Cut } else { End::Whole };
        (String::from_utf8_lossy(argument).into_owned(), end)
    })
}

/// The arguments without secrets.
pub(crate) fn redact(raw: &[u8]) -> Vec<String> {
    let mut words = Words::default();
    let mut is_script = false;
    split(raw)
        .map(|(argument, end)| {
            // First: what takes words out could take the beginning of a literal, and leave its end.
            let argument = redact_sql(&argument);
            let script = std::mem::replace(&mut is_script, takes_script(&argument));
            let text = if script {
                redact_words(&argument)
            } else {
                match words.read(&argument) {
                    Word::Secret(kept) => return kept,
                    Word::Plain if argument.contains(char::is_whitespace) => redact_words(&argument),
                    Word::Plain => argument,
                }
            };
            redact_text(&text, end)
        })
        .collect()
}

/// `-c`, also with other letters before it (`sh -ec`), and its long forms.
fn takes_script(argument: &str) -> bool {
    let letters = argument.strip_prefix('-').and_then(|rest| rest.strip_suffix('c'));
    letters.is_some_and(|letters| letters.len() < 8 && letters.bytes().all(|byte| byte.is_ascii_alphabetic()))
        || argument == "--command"
}

fn redact_text(text: &str, end: End) -> String {
    let text = uri::replace(text, end);
    let text = redact_tokens(&text);
    assignment::replace(&text)
}

/// Whether a command line within SQL has a secret among its options, at any depth of quotes. What the server was told
/// to run is evidence: `-p` is a password for programs that are known for it only (`mkdir -p /x`).
pub(crate) fn has_secret(command: &str) -> bool {
    const TAKE_PASSWORDS: [&str; 4] = ["sshpass", "mysql", "mariadb", "docker"];
    let mut words = command.replace(['\'', '"', '$'], " ");
    if !TAKE_PASSWORDS.iter().any(|program| words.contains(program)) {
        words = words.replace(" -p", " ");
    }
    redact_words(&words) != words
}

/// An argument that is SQL about a secret loses everything from its first quote or comment: within a shell's
/// quotes it is not known where literals end. Behind PASSWORD the quotes may be missing, or the shell took them.
fn redact_sql(text: &str) -> String {
    const PASSWORD: &str = "password";
    if !looks_like_sql(text) || !taint::is_tainted(text) {
        return text.to_owned();
    }
    let quotes = ["'", "--", "/*"].into_iter().filter_map(|sign| text.find(sign));
    let password = || Some(text.to_ascii_lowercase().find(PASSWORD)? + PASSWORD.len());
    let unquoted = taint::defines_secret(text).then(password).flatten();
    match quotes.chain(dollar_quote(text)).chain(unquoted.map(|at| blanks_end(text, at))).min() {
        Some(at) => format!("{}{REPLACEMENT}", &text[..at]),
        None => text.to_owned(),
    }
}

fn blanks_end(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start().len()
}

/// A `$` that is no parameter.
fn dollar_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find(|&at| bytes[at] == b'$' && !bytes.get(at + 1).is_some_and(u8::is_ascii_digit))
}

/// Whether a verb of SQL occurs as a word.
pub(crate) fn looks_like_sql(text: &str) -> bool {
    const VERBS: [&str; 22] = [
        "alter", "begin", "call", "comment", "copy", "create", "delete", "do", "drop", "execute", "explain", "from",
        "grant", "import", "insert", "merge", "prepare", "select", "set", "update", "values", "with",
    ];
    // psql takes `-cSELECT`.
    let text = text.strip_prefix("-c").unwrap_or(text);
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .any(|word| VERBS.iter().any(|verb| word.eq_ignore_ascii_case(verb)))
}

/// Replaces what follows `Bearer` and `Basic`, JSON web tokens, and those that their issuers mark.
fn redact_tokens(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = token_start(bytes, at);
        at = match start {
            Some(start) => {
                let end = start + bytes[start..].iter().take_while(|byte| is_token(**byte)).count();
                if end > start {
                    ranges.push(start..end);
                }
                end.max(at + 1)
            }
            None => at + 1,
        };
    }
    uri::replace_ranges(text, ranges.into_iter())
}

fn is_token(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\'')
}

/// Where the token begins that a scheme name at `at` announces, or a JSON web token itself.
fn token_start(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes[at..].starts_with(b"eyJ") && bytes[at..].iter().take_while(|byte| is_token(**byte)).count() > 16 {
        return Some(at);
    }
    if issued::begins(bytes, at) {
        return Some(at);
    }
    let name = ["bearer", "basic"].into_iter().find(|name| has(bytes, at, name))?;
    let after = at + name.len();
    let blanks = bytes[after..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    (blanks > 0).then_some(after + blanks)
}

/// What the words of a command line make of one of them.
enum Word {
    /// Nothing in it is a secret by its place.
    Plain,
    /// It is, or contains, a secret; this may be kept.
    Secret(String),
}

/// What the word before announced.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Expected {
    #[default]
    Nothing,
    /// The value of an option that names a secret.
    Secret,
    /// Behind `-p`: a port, or a password (sshpass).
    Port,
    /// Behind `-u`, `--user`: a user, perhaps with a password behind a colon (curl).
    User,
}

/// Reads a command line word by word.
#[derive(Default)]
struct Words {
    expected: Expected,
    is_postgres: Option<bool>,
}

impl Words {
    fn read(&mut self, word: &str) -> Word {
        let expected = std::mem::take(&mut self.expected);
        if self.is_postgres.is_none() {
            self.is_postgres = Some(is_postgres_client(word));
        }
        let is_option = word.len() > 1 && word.starts_with('-');
        match expected {
            // `psql --password` takes no value.
            Expected::Secret if !(is_option && self.is_postgres == Some(true)) => replaced(""),
            Expected::Port if !is_option && !is_port(word) => replaced(""),
            Expected::User if word.contains(':') => replaced(&word[..=word.find(':').unwrap_or_default()]),
            _ if is_option => self.option(word),
            _ => environment(word),
        }
    }

    fn option(&mut self, word: &str) -> Word {
        /// Names of options with one dash that begin like `-pSECRET`.
        const LONG_NAMES: [&str; 5] = ["-password", "-passwd", "-passphrase", "-pass", "-pwd"];
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        let attached = word.strip_prefix("-p").filter(|_| !LONG_NAMES.contains(&name));
        if is_name && assignment::names_secret(name) {
            match (attached, value) {
                (None, Some(_)) => return replaced(&format!("{name}=")),
                // Either `-psecret`, or a long name with one dash whose value follows.
                (Some(_), _) => {
                    self.expected = Expected::Secret;
                    return replaced("-p");
                }
                (None, None) => self.expected = Expected::Secret,
            }
            return Word::Plain;
        }
        let colon = word.find(':').filter(|_| word.starts_with("-u") && !word.contains("://"));
        if let Some(colon) = colon {
            return replaced(&word[..=colon]);
        }
        match (name, attached) {
            ("-p", _) if value.is_none() => self.expected = Expected::Port,
            ("-u" | "--user" | "--proxy-user", _) if value.is_none() => self.expected = Expected::User,
            (_, Some(value)) if !is_port(value) => return replaced("-p"),
            _ => {}
        }
        Word::Plain
    }
}

fn replaced(kept: &str) -> Word {
    Word::Secret(format!("{kept}{REPLACEMENT}"))
}

/// `PGPASSWORD=...`: of a whole word in capitals the whole rest is the secret, blanks included.
fn environment(word: &str) -> Word {
    let Some((name, _)) = word.split_once('=') else {
        return Word::Plain;
    };
    let is_variable = !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
    if is_variable && assignment::names_secret(name) { replaced(&format!("{name}=")) } else { Word::Plain }
}

fn is_port(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit()) && word.parse::<u16>().is_ok()
}

/// Programs whose `--password` means "ask for it".
fn is_postgres_client(program: &str) -> bool {
    const NAMES: [&str; 9] =
        ["psql", "createdb", "dropdb", "createuser", "dropuser", "clusterdb", "reindexdb", "vacuumdb", "pgbench"];
    let name = program.rsplit('/').next().unwrap_or(program);
    NAMES.contains(&name) || name.starts_with("pg_")
}

/// Reads the words inside of an argument that is a command line of its own.
fn redact_words(script: &str) -> String {
    let mut words = Words { expected: Expected::Nothing, is_postgres: Some(true) };
    let mut out = String::with_capacity(script.len());
    let mut rest = script;
    loop {
        let blanks = rest.len() - rest.trim_start().len();
        out.push_str(&rest[..blanks]);
        rest = &rest[blanks..];
        if rest.is_empty() {
            return out;
        }
        let (length, unquoted) = first_word(rest);
        match words.read(&unquoted) {
            Word::Plain => out.push_str(&rest[..length]),
            Word::Secret(kept) => out.push_str(&kept),
        }
        rest = &rest[length..];
    }
}

/// Length of a shell's first word and what the shell makes of it. A quote that is not closed is none.
fn first_word(text: &str) -> (usize, String) {
    let mut unquoted = String::new();
    let mut open = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (open, character) {
            (None, _) if character.is_whitespace() => return (at, unquoted),
            (None, '\'' | '"') if text[at + 1..].contains(character) => open = Some(character),
            (Some(quote), _) if quote == character => open = None,
            (Some('"') | None, '\\') => unquoted.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => unquoted.push(character),
        }
    }
    (text.len(), unquoted)
}
