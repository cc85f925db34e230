//! The server's own statement log (`csvlog`), read as the messages that its clients sent: the independent oracle.
//!
//! With `log_statement = all` the server logs each `Query` as `statement: TEXT` and each `Execute` as
//! `execute NAME[/PORTAL]: TEXT` with its parameters in DETAIL, before it runs. A message that it refuses earlier
//! (syntax error, failed Parse, Bind or Describe) appears only as an ERROR with STATEMENT. An Execute of an empty
//! statement, and messages skipped after an error, are not logged.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Columns of `csvlog` (PostgreSQL manual, 20.8.4), by position.
mod column {
    pub(super) const PID: usize = 3;
    pub(super) const SESSION: usize = 5;
    pub(super) const SEVERITY: usize = 11;
    pub(super) const MESSAGE: usize = 13;
    pub(super) const DETAIL: usize = 14;
    pub(super) const CONTEXT: usize = 18;
    pub(super) const QUERY: usize = 19;
    pub(super) const COUNT_MIN: usize = 23;
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Backend process id.
    pub pid: u32,
    /// The server's id of the session (start time and pid).
    pub session: String,
    /// `LOG`, `ERROR`, ...
    pub severity: String,
    /// Primary message.
    pub message: String,
    /// DETAIL, empty if none.
    pub detail: String,
    /// CONTEXT, empty if none.
    pub context: String,
    /// STATEMENT, empty if none.
    pub query: String,
}

/// What kind of message the log speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LoggedKind {
    /// `statement: ...`
    Simple,
    /// `execute ...` or `execute fetch from ...`
    Execute {
        /// Prepared statement, empty for the unnamed one.
        prepared: String,
        /// Portal, empty for the unnamed one.
        portal: String,
        /// The portal had been executed before.
        resumed: bool,
    },
    /// `fastpath function call: ...`
    FunctionCall {
        /// Object id of the function.
        function: u32,
    },
    /// Refused before it was logged: only the ERROR with its STATEMENT tells of it.
    Refused,
}

/// One message of a client as the server logged it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoggedMessage {
    /// Backend process id.
    pub pid: u32,
    /// Which message.
    pub kind: LoggedKind,
    /// SQL text.
    pub text: String,
    /// Bound values in order, as the server prints them; `None` is NULL.
    pub parameters: Vec<Option<String>>,
}

/// The log file of a running server.
#[derive(Clone, Debug)]
pub struct ServerLog {
    path: PathBuf,
}

impl ServerLog {
    /// The log at `path`; the server may not have made it yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// All complete lines so far.
    ///
    /// # Errors
    /// When the file can not be read or is not `csvlog`.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let bytes = std::fs::read(&self.path).with_context(|| format!("{} can not be read", self.path.display()))?;
        parse_entries(&String::from_utf8_lossy(&bytes))
    }
}

/// Parses the complete lines of a `csvlog`.
///
/// # Errors
/// When a line has too few columns.
pub fn parse_entries(text: &str) -> Result<Vec<Entry>> {
    csv_rows(text).into_iter().map(entry).collect()
}

fn entry(row: Vec<String>) -> Result<Entry> {
    anyhow::ensure!(row.len() >= column::COUNT_MIN, "a log line of {} columns: {row:?}", row.len());
    let cell = |index: usize| row.get(index).cloned().unwrap_or_default();
    Ok(Entry {
        pid: cell(column::PID).parse().with_context(|| format!("pid in {row:?}"))?,
        session: cell(column::SESSION),
        severity: cell(column::SEVERITY),
        message: cell(column::MESSAGE),
        detail: cell(column::DETAIL),
        context: cell(column::CONTEXT),
        query: cell(column::QUERY),
    })
}

/// Rows of RFC 4180 text; a last row without its line end is left out, the server is still writing it.
fn csv_rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match (quoted, character) {
            (true, '"') if characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            (_, '"') => quoted = !quoted,
            (false, ',') => row.push(std::mem::take(&mut cell)),
            (false, '\n') => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            (_, other) => cell.push(other),
        }
    }
    rows
}

/// The messages that the entries tell of, in order.
#[must_use]
pub fn messages(entries: &[Entry]) -> Vec<LoggedMessage> {
    let mut last_text: HashMap<u32, String> = HashMap::new();
    let mut found = Vec::new();
    for entry in entries {
        if let Some(message) = logged(entry) {
            last_text.insert(entry.pid, message.text.clone());
            found.push(message);
        } else if is_refusal(entry, last_text.get(&entry.pid)) {
            last_text.remove(&entry.pid);
            found.push(refused(entry));
        } else if entry.severity == "ERROR" {
            // The error belongs to the message before; the next one with the same text is another message.
            last_text.remove(&entry.pid);
        }
    }
    found
}

/// An ERROR that no logged message explains: the message was refused before the server logged it.
fn is_refusal(entry: &Entry, last_text: Option<&String>) -> bool {
    let in_bind = entry.context.contains("portal parameter") || entry.context.contains("portal \"");
    entry.severity == "ERROR" && (in_bind || (!entry.query.is_empty() && last_text != Some(&entry.query)))
}

fn refused(entry: &Entry) -> LoggedMessage {
    LoggedMessage { pid: entry.pid, kind: LoggedKind::Refused, text: entry.query.clone(), parameters: Vec::new() }
}

fn logged(entry: &Entry) -> Option<LoggedMessage> {
    if entry.severity != "LOG" {
        return None;
    }
    let message =
        |kind, text: &str, parameters| LoggedMessage { pid: entry.pid, kind, text: text.to_owned(), parameters };
    if let Some(text) = entry.message.strip_prefix("statement: ") {
        return Some(message(LoggedKind::Simple, text, Vec::new()));
    }
    if let Some(rest) = entry.message.strip_prefix("fastpath function call: ") {
        let function = rest.rsplit("(OID ").next()?.trim_end_matches(')').parse().ok()?;
        return Some(message(LoggedKind::FunctionCall { function }, "", Vec::new()));
    }
    let (rest, resumed) = match entry.message.strip_prefix("execute fetch from ") {
        Some(rest) => (rest, true),
        None => (entry.message.strip_prefix("execute ")?, false),
    };
    let (names, text) = rest.split_once(": ")?;
    let (prepared, portal) = names.split_once('/').unwrap_or((names, ""));
    let prepared = if prepared == "<unnamed>" { "" } else { prepared };
    let kind = LoggedKind::Execute { prepared: prepared.to_owned(), portal: portal.to_owned(), resumed };
    Some(message(kind, text, parameters(&entry.detail)))
}

/// `parameters: $1 = '42', $2 = NULL` (capitalised since PostgreSQL 16).
fn parameters(detail: &str) -> Vec<Option<String>> {
    let Some((_, mut rest)) = detail.split_once("arameters: ") else { return Vec::new() };
    let mut values = Vec::new();
    while let Some((_, value)) = rest.split_once(" = ") {
        if let Some(after) = value.strip_prefix("NULL") {
            values.push(None);
            rest = after;
        } else {
            let (text, after) = quoted(value);
            values.push(Some(text));
            rest = after;
        }
    }
    values
}

/// A value in single quotes, in which a quote is doubled; and what follows it.
fn quoted(value: &str) -> (String, &str) {
    let mut text = String::new();
    let mut characters = value.char_indices().skip(1).peekable();
    while let Some((index, character)) = characters.next() {
        if character != '\'' {
            text.push(character);
        } else if characters.next_if(|(_, next)| *next == '\'').is_some() {
            text.push('\'');
        } else {
            return (text, value.get(index + 1..).unwrap_or_default());
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(log: &str, expected: &[(LoggedKind, &str, &[Option<&str>])]) {
        let found = messages(&parse_entries(log).expect("a csvlog"));
        let expected: Vec<_> = expected
            .iter()
            .map(|(kind, text, parameters)| LoggedMessage {
                pid: 7001,
                kind: kind.clone(),
                text: (*text).to_owned(),
                parameters: parameters.iter().map(|value| value.map(str::to_owned)).collect(),
            })
            .collect();
        assert_eq!(found, expected);
    }

    fn line(severity: &str, message: &str, detail: &str, context: &str, query: &str) -> String {
        let quote =
            |text: &str| if text.is_empty() { String::new() } else { format!("\"{}\"", text.replace('"', "\"\"")) };
        format!(
            "2026-11-22 01:47:05.646 UTC,\"postgres\",\"postgres\",7001,\"[local]\",6921f0a9.1b59,3,\"idle\",2026-11-22 01:47:05 UTC,3/8,0,{severity},00000,{},{},,,,{},{},,,\"psql\",\"client backend\",,0\n",
            quote(message),
            quote(detail),
            quote(context),
            quote(query)
        )
    }

    fn execute(prepared: &str, portal: &str, resumed: bool) -> LoggedKind {
        LoggedKind::Execute { prepared: prepared.into(), portal: portal.into(), resumed }
    }

    #[test]
    fn a_simple_query_keeps_its_quotes_commas_and_line_ends() {
        let text = "select 'a,b', \"c\"\nfrom t";
        check(&line("LOG", &format!("statement: {text}"), "", "", ""), &[(LoggedKind::Simple, text, &[])]);
    }

    #[test]
    fn an_execute_has_names_and_parameters() {
        let log = line(
            "LOG",
            "execute s1/c1: select $1, $2, $3",
            "parameters: $1 = 'it''s, $9 = ''x''', $2 = NULL, $3 = ''",
            "",
            "",
        ) + &line("LOG", "execute fetch from <unnamed>/c1: select $1", "Parameters: $1 = '1'", "", "");
        check(
            &log,
            &[
                (execute("s1", "c1", false), "select $1, $2, $3", &[Some("it's, $9 = 'x'"), None, Some("")]),
                (execute("", "c1", true), "select $1", &[Some("1")]),
            ],
        );
    }

    #[test]
    fn an_error_belongs_to_the_message_that_was_logged_before_it() {
        let log = line("LOG", "statement: select 1/0", "", "", "")
            + &line("ERROR", "division by zero", "", "", "select 1/0")
            + &line("ERROR", "syntax error at or near \"selec\"", "", "", "selec 1");
        check(&log, &[(LoggedKind::Simple, "select 1/0", &[]), (LoggedKind::Refused, "selec 1", &[])]);
    }

    #[test]
    fn a_bind_that_fails_after_a_good_execute_of_the_same_text_is_a_message_of_its_own() {
        let log = line("LOG", "execute s1: select $1::int", "parameters: $1 = '1'", "", "")
            + &line(
                "ERROR",
                "invalid input syntax for type integer",
                "",
                "unnamed portal parameter $1 = '...'",
                "select $1::int",
            );
        check(
            &log,
            &[(execute("s1", "", false), "select $1::int", &[Some("1")]), (LoggedKind::Refused, "select $1::int", &[])],
        );
    }

    #[test]
    fn a_fastpath_call_names_its_function() {
        let log = line("LOG", "fastpath function call: \"lo_creat\" (OID 957)", "", "", "");
        check(&log, &[(LoggedKind::FunctionCall { function: 957 }, "", &[])]);
    }

    #[test]
    fn a_line_that_is_still_being_written_is_left_out() {
        let log = line("LOG", "statement: select 1", "", "", "") + "2026-11-22,\"postgres\",\"half";
        check(&log, &[(LoggedKind::Simple, "select 1", &[])]);
    }
}
