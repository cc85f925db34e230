//! A session by hand: what the server answers, as text, and whether the transaction state behind it is the right one.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use anyhow::{Context, Result, bail, ensure};

use crate::wire::{self, RawClient};

/// Who logs in.
#[derive(Clone, Debug)]
pub struct Login {
    /// User of the start-up packet.
    pub user: String,
    /// Password or token, for whoever asks for one in clear text.
    pub password: Option<String>,
}

impl Login {
    /// The superuser, under `trust`.
    #[must_use]
    pub fn superuser() -> Self {
        Self { user: "postgres".into(), password: None }
    }
}

/// One thing that a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A row, values with `|` in between.
    Row(String),
    /// CommandComplete: its tag.
    Done(String),
    /// ErrorResponse.
    Error {
        /// `ERROR` or `FATAL`.
        severity: String,
        /// SQLSTATE.
        sqlstate: String,
        /// Message, detail and hint.
        text: String,
    },
    /// NoticeResponse: its text.
    Notice(String),
    /// Any other message: its type and body.
    Other(char, String),
    /// The connection ended.
    Ended,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(text) => write!(f, "row {text}"),
            Self::Done(tag) => write!(f, "done {tag}"),
            Self::Error { severity, sqlstate, text } => write!(f, "{severity} {sqlstate}: {text}"),
            Self::Notice(text) => write!(f, "notice {text}"),
            Self::Other(kind, text) => write!(f, "{kind} {text}"),
            Self::Ended => f.write_str("the connection ended"),
        }
    }
}

/// What a client that is asked for copy data does.
#[derive(Clone, Copy, Debug)]
pub enum CopyData<'a> {
    /// It has none.
    Fail,
    /// It sends this.
    Send(&'a str),
    /// It has sent them already.
    Sent,
}

/// A logged-in session.
pub struct Session {
    client: RawClient,
    /// Transaction state of the last ReadyForQuery: `I`, `T` or `E`.
    status: u8,
    /// Transaction states that do not follow from the answers before them.
    wrong: Vec<String>,
}

impl Session {
    /// Logs in; on refusal the answers.
    ///
    /// # Errors
    /// When the server asks for something that this client does not know.
    pub fn open(
        mut client: RawClient,
        login: &Login,
        database: &str,
        startup: &BTreeMap<String, String>,
    ) -> Result<Result<Self, Vec<Answer>>> {
        let parameters: Vec<_> = startup.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        client.send(&wire::startup_with(&login.user, database, &parameters))?;
        let mut session = Self { client, status: b'I', wrong: Vec::new() };
        let mut answers = Vec::new();
        loop {
            match session.receive()? {
                Some((b'R', body)) => session.authenticate(&body, login)?,
                Some((b'Z', _)) => return Ok(Ok(session)),
                Some((kind, body)) => answers.push(answer(kind, &body)),
                None => {
                    answers.push(Answer::Ended);
                    return Ok(Err(answers));
                }
            }
        }
    }

    fn authenticate(&mut self, body: &[u8], login: &Login) -> Result<()> {
        match body {
            [0, 0, 0, 0] => Ok(()),
            [0, 0, 0, 3] => {
                let password = login.password.as_deref().context("the server wants a password")?;
                self.client.send(&wire::message(b'p', &[password.as_bytes(), b"\0"].concat()))
            }
            _ => bail!("the server wants an authentication that this client does not know: {body:?}"),
        }
    }

    /// The next message; `None`: the connection has ended.
    fn receive(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        let ended = |error: &io::Error| matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe);
        match self.client.receive() {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.downcast_ref::<io::Error>().is_some_and(ended) => Ok(None),
            Err(error) => Err(error.context("the server is silent")),
        }
    }

    /// Sends a Query message and reads all answers.
    ///
    /// # Errors
    /// When the server is silent.
    pub fn query(&mut self, sql: &[u8]) -> Result<Vec<Answer>> {
        self.exchange(&wire::query(sql), 1, CopyData::Fail)
    }

    /// Sends messages and reads all answers up to the last of `ready` ReadyForQuery.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub fn exchange(&mut self, messages: &[u8], ready: u32, copy: CopyData<'_>) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        // Whoever is cut off reads what was said before.
        let _ = self.client.send(messages);
        for _ in 0..ready {
            if !self.cycle(copy, &mut answers)? {
                break;
            }
        }
        Ok(answers)
    }

    /// Reads up to the next ReadyForQuery; whether there was one.
    fn cycle(&mut self, copy: CopyData<'_>, answers: &mut Vec<Answer>) -> Result<bool> {
        let first = answers.len();
        while let Some((kind, body)) = self.receive()? {
            if kind == b'Z' {
                let own = answers.get(first..).unwrap_or_default();
                self.ready(own, body.first().copied().unwrap_or_default());
                return Ok(true);
            }
            self.copy(kind, copy)?;
            answers.push(answer(kind, &body));
        }
        answers.push(Answer::Ended);
        Ok(false)
    }

    /// Answers a server that wants copy data (`G`), or talks in both directions (`W`).
    fn copy(&mut self, kind: u8, copy: CopyData<'_>) -> Result<()> {
        match (kind, copy) {
            (b'G', CopyData::Send(data)) => {
                let data = wire::message(b'd', data.as_bytes());
                self.client.send(&[data, wire::message(b'c', b"")].concat())
            }
            (b'G', CopyData::Fail) => self.client.send(&wire::message(b'f', b"no data\0")),
            (b'W', _) => self.client.send(&wire::message(b'c', b"")),
            _ => Ok(()),
        }
    }

    fn ready(&mut self, answers: &[Answer], status: u8) {
        let expected = status_behind(self.status, answers);
        if expected.is_some_and(|expected| expected != status) {
            let [was, is] = [self.status, status].map(char::from);
            self.wrong.push(format!("transaction state {is} behind {was} and {}", told(answers)));
        }
        self.status = status;
    }

    /// The one value that a query returns.
    ///
    /// # Errors
    /// When it returns none, or an error.
    pub fn scalar(&mut self, sql: &str) -> Result<String> {
        let answers = self.query(sql.as_bytes())?;
        let row = answers.iter().find_map(|answer| match answer {
            Answer::Row(text) => Some(text.clone()),
            _ => None,
        });
        row.with_context(|| format!("{sql}: {}", told(&answers)))
    }

    /// Runs statements that have to succeed.
    ///
    /// # Errors
    /// When they do not.
    pub fn execute(&mut self, sql: &str) -> Result<()> {
        let answers = self.query(sql.as_bytes())?;
        let failed = answers.iter().any(|answer| matches!(answer, Answer::Error { .. } | Answer::Ended));
        ensure!(!failed, "{sql}: {}", told(&answers));
        Ok(())
    }

    /// Whether a transaction is open, failed or not.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.status != b'I'
    }

    /// Whether a failed transaction waits for its end.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.status == b'E'
    }

    /// Transaction states so far that do not follow from the answers before them.
    #[must_use]
    pub fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// Says good-bye and waits until the server has closed the session.
    ///
    /// # Errors
    /// When the server does not.
    pub fn close(mut self) -> Result<()> {
        // It may have been closed already.
        let _ = self.client.send(&wire::terminate());
        self.client.until_closed()
    }

    /// The connection, for what is not a question and its answer.
    pub fn client(&mut self) -> &mut RawClient {
        &mut self.client
    }
}

/// The transaction state that a server is in behind `answers`; `None` where they do not say it.
fn status_behind(before: u8, answers: &[Answer]) -> Option<u8> {
    answers.iter().try_fold(before, |status, answer| match answer {
        Answer::Done(tag) if tag == "BEGIN" || tag == "START TRANSACTION" => Some(b'T'),
        // Perhaps a savepoint only, perhaps with AND CHAIN.
        Answer::Done(tag) if ["COMMIT", "ROLLBACK", "PREPARE TRANSACTION"].contains(&tag.as_str()) => None,
        Answer::Error { .. } if status == b'T' => Some(b'E'),
        _ => Some(status),
    })
}

/// Answers in one line.
#[must_use]
pub fn told(answers: &[Answer]) -> String {
    answers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn answer(kind: u8, body: &[u8]) -> Answer {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    match kind {
        b'D' => Answer::Row(row(body)),
        b'C' => Answer::Done(text(body)),
        b'E' => {
            let fields = fields(body);
            let field = |kind: char| fields.get(&kind).cloned().unwrap_or_default();
            let text = ['M', 'D', 'H'].map(field).join(" ").trim_end().to_owned();
            Answer::Error { severity: field('V'), sqlstate: field('C'), text }
        }
        b'N' => Answer::Notice(fields(body).remove(&'M').unwrap_or_default()),
        // RowDescription: names only, the rest are numbers of this server.
        b'T' => Answer::Other('T', column_names(body).join("|")),
        // NotificationResponse: without the process id.
        b'A' => Answer::Other('A', text(body.get(4..).unwrap_or_default()).replace('\0', "|")),
        // Keys and numbers of types differ from server to server.
        b'K' | b't' => Answer::Other(char::from(kind), String::new()),
        _ => Answer::Other(char::from(kind), text(body)),
    }
}

fn row(body: &[u8]) -> String {
    let mut rest = body.get(2..).unwrap_or_default();
    let mut values = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let (value, behind) = behind.split_at_checked(length.unwrap_or_default()).unwrap_or_default();
        values.push(length.map_or("NULL".into(), |_| String::from_utf8_lossy(value).into_owned()));
        rest = behind;
    }
    values.join("|")
}

fn column_names(body: &[u8]) -> Vec<String> {
    /// Bytes of a column's description behind its name.
    const NUMBERS: usize = 18;
    let mut rest = body.get(2..).unwrap_or_default();
    let mut names = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let (name, behind) = rest.split_at(end);
        names.push(String::from_utf8_lossy(name).into_owned());
        rest = behind.get(1 + NUMBERS..).unwrap_or_default();
    }
    names
}

fn fields(body: &[u8]) -> BTreeMap<char, String> {
    let fields = body.split(|byte| *byte == 0).filter_map(<[u8]>::split_first);
    fields.map(|(kind, text)| (char::from(*kind), String::from_utf8_lossy(text).into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: u8, answers: &[Answer], behind: Option<u8>) {
        assert_eq!(status_behind(before, answers), behind, "{}", told(answers));
    }

    #[test]
    fn an_error_fails_a_transaction_and_nothing_else() {
        let done = |tag: &str| Answer::Done(tag.into());
        let error = || Answer::Error { severity: "ERROR".into(), sqlstate: "42501".into(), text: String::new() };
        check(b'I', &[error()], Some(b'I'));
        check(b'T', &[error()], Some(b'E'));
        check(b'E', &[error()], Some(b'E'));
        check(b'I', &[done("BEGIN"), error()], Some(b'E'));
        check(b'I', &[done("BEGIN"), done("SELECT 1")], Some(b'T'));
        check(b'T', &[done("ROLLBACK")], None);
    }
}
