//! Runs a text in a session of its own through the proxy, and takes a bounded part of what comes back.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use identity::secret::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::DbError;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, SimpleQueryMessage};

use super::answer::{Answer, Failure, Refusal};
use super::databases::Place;
use super::foresight::APPLICATION;

/// Most bytes that the server may send in one session.
const RECEIVED_MAX: u64 = 256 << 20;
/// Most bytes of values in an answer.
const VALUES_MAX: usize = 256 << 10;
/// Bytes of an answer that a null takes, and a text beside itself.
const NULL: usize = 4;
const QUOTES: usize = 2;
/// Most statements of one text that an answer tells about, and most notices.
const PARTS_MAX: usize = 64;
/// Most bytes of one text of an error or a notice.
const TEXT_MAX: usize = 4 << 10;
/// How long a login may take.
const LOGIN_PATIENCE: Duration = Duration::from_secs(30);
/// How long a statement may take to end after it was cancelled.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
/// SQLSTATE of what was cancelled.
const CANCELLED: &str = "57014";
/// Class of the errors in which a server names a constraint of a table.
const INTEGRITY: &str = "23";

/// What is run, and how much of its result is wanted.
pub(super) struct Statement<'a> {
    pub(super) sql: &'a str,
    pub(super) sql_database: &'a str,
    pub(super) rows_max: usize,
    pub(super) patience: Duration,
}

/// Runs it; what is said meanwhile goes to the notices. It is cancelled when nobody wants the answer any more.
pub(super) async fn run(
    place: &Place<'_>,
    token: &Secret,
    statement: &Statement<'_>,
    notices: &Notices,
    given_up: impl Future<Output = ()>,
) -> Answer {
    let mut config = Config::new();
    config.user(place.role).password(token.expose()).dbname(statement.sql_database);
    // The proxy is on this host: nobody else hears the token.
    config.application_name(APPLICATION).ssl_mode(SslMode::Disable);
    let login = async {
        let (received, sent) =
            TcpStream::connect(place.address).await.map_err(|error| unreachable(place, &error))?.into_split();
        let bounded = tokio::io::join(received.take(RECEIVED_MAX), sent);
        config.connect_raw(bounded, NoTls).await.map_err(|error| failure(&error))
    };
    let slow = |_elapsed| Failure::new("timeout", "the login took too long", "try again later");
    let (client, connection) = timeout(LOGIN_PATIENCE, login).await.map_err(slow)??;
    let mut driven = pin!(drive(connection, notices));
    let mut collected = pin!(collect(&client, statement));
    let both = async {
        tokio::select! {
            done = &mut collected => done,
            ended = &mut driven => Err(ended),
        }
    };
    let mut both = pin!(both);
    tokio::select! {
        done = &mut both => return done,
        () = tokio::time::sleep(statement.patience) => {}
        () = given_up => {}
    }
    cancel(&client, place.address).await;
    let seconds = statement.patience.as_secs();
    let late = || {
        Failure::new(
            "timeout",
            format!("it was cancelled, because it had not ended after {seconds} s"),
            "allow it more time (timeout_seconds), or do less; if notices say that somebody has to approve it, ask them",
        )
    };
    // It may have ended in the last moment, and then it has happened.
    let end = timeout(CANCEL_PATIENCE, both).await.unwrap_or_else(|_elapsed| Err(late()));
    end.map_err(|failure| if failure.code() == CANCELLED { late() } else { failure })
}

/// Without an answer; the session ends in any case.
async fn cancel(client: &Client, address: SocketAddr) {
    let token = client.cancel_token();
    let request = async { token.cancel_query_raw(TcpStream::connect(address).await.ok()?, NoTls).await.ok() };
    let _asked = timeout(CANCEL_PATIENCE, request).await;
}

/// What the server and the proxy say beside results.
#[derive(Default)]
pub(super) struct Notices(Mutex<Vec<Value>>);

impl Notices {
    /// All of them.
    pub(super) fn into_values(self) -> Vec<Value> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, notice: &DbError) {
        let mut notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notices.len() < PARTS_MAX {
            notices.push(json!({
                "severity": notice.severity(),
                "message": shortened(notice.message()),
                "detail": notice.detail().map(shortened),
                "hint": notice.hint().map(shortened),
            }));
        }
    }
}

/// Moves the session on until it ends, which it does not by itself; why it has.
async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<S, tokio_postgres::tls::NoTlsStream>,
    notices: &Notices,
) -> Failure {
    loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notice(notice))) => notices.add(&notice),
            Some(Ok(_)) => {}
            Some(Err(error)) => return failure(&error),
            None => return ended(),
        }
    }
}

fn ended() -> Failure {
    let message = format!("the session was ended, or sent more than {} MiB", RECEIVED_MAX >> 20);
    Failure::new("connection", message, "ask for fewer rows, or try again; whether a change has happened is not known")
}

/// The results of all statements of the text.
async fn collect(client: &Client, statement: &Statement<'_>) -> Answer {
    let stream = client.simple_query_raw(statement.sql).await.map_err(|error| failure(&error))?;
    let mut stream = pin!(stream);
    let mut results = Results::new(statement.rows_max);
    while let Some(message) = stream.next().await {
        results.add(message.map_err(|error| failure(&error))?);
    }
    Ok(results.into_value())
}

/// What has come back so far.
struct Results {
    done: Vec<Value>,
    left_out: usize,
    columns: Vec<String>,
    rows: Vec<Value>,
    row_count: u64,
    rows_left: usize,
    bytes_left: usize,
    is_truncated: bool,
}

impl Results {
    const fn new(rows_max: usize) -> Self {
        Self {
            done: Vec::new(),
            left_out: 0,
            columns: Vec::new(),
            rows: Vec::new(),
            row_count: 0,
            rows_left: rows_max,
            bytes_left: VALUES_MAX,
            is_truncated: false,
        }
    }

    fn add(&mut self, message: SimpleQueryMessage) {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                let bytes: usize = columns.iter().map(|column| column.name().len() + QUOTES).sum();
                match self.bytes_left.checked_sub(bytes) {
                    Some(left) => {
                        self.bytes_left = left;
                        self.columns = columns.iter().map(|column| column.name().to_owned()).collect();
                    }
                    None => self.is_truncated = true,
                }
            }
            SimpleQueryMessage::Row(row) => {
                let values: Vec<Option<&str>> = (0..row.len()).map(|place| row.try_get(place).ok().flatten()).collect();
                let bytes: usize = values.iter().map(|value| value.map_or(NULL, |text| text.len() + QUOTES)).sum();
                // Once a row is left out, so are all that follow.
                self.is_truncated |= self.rows_left == 0 || bytes > self.bytes_left;
                if !self.is_truncated {
                    self.rows_left = self.rows_left.saturating_sub(1);
                    self.bytes_left = self.bytes_left.saturating_sub(bytes);
                    self.rows.push(json!(values));
                }
            }
            SimpleQueryMessage::CommandComplete(count) => {
                self.row_count = count;
                self.complete();
            }
            _ => {}
        }
    }

    fn complete(&mut self) {
        let result = json!({
            "columns": std::mem::take(&mut self.columns),
            "rows": std::mem::take(&mut self.rows),
            "row_count": std::mem::take(&mut self.row_count),
        });
        if self.done.len() < PARTS_MAX {
            self.done.push(result)
        } else {
            self.left_out = self.left_out.saturating_add(1)
        }
    }

    fn into_value(self) -> Value {
        json!({ "results": self.done, "truncated": self.is_truncated, "results_left_out": self.left_out })
    }
}

fn unreachable(place: &Place<'_>, error: &std::io::Error) -> Failure {
    let message = format!("{} does not answer on {}: {error}", place.name, place.address);
    Failure::new("connection", message, "the people who run Warder can see why: warder doctor")
}

/// The guard's refusals name their rule where a server names a constraint.
fn failure(error: &tokio_postgres::Error) -> Failure {
    let Some(said) = error.as_db_error() else {
        return if error.is_closed() { ended() } else { Failure::of("connection", &anyhow::anyhow!("{error}")) };
    };
    let sqlstate = said.code().code();
    // What code of the database raises has the place where it was raised.
    let is_of_proxy = said.routine().is_none() && !sqlstate.starts_with(INTEGRITY);
    match said.constraint() {
        Some(rule) if is_of_proxy => Failure::Refusal(Refusal {
            rule: shortened(rule),
            why: shortened(said.detail().unwrap_or_default()),
            how_to_proceed: Refusal::how_to_proceed(&shortened(said.hint().unwrap_or_default())),
            what: shortened(said.message()),
            sqlstate: sqlstate.to_owned(),
        }),
        _ => {
            let detail = said.detail().map_or(String::new(), |detail| format!("; {}", shortened(detail)));
            let hint = said.hint().unwrap_or("correct the statement; the code is PostgreSQL's SQLSTATE");
            Failure::new(sqlstate, format!("{}{detail}", shortened(said.message())), shortened(hint))
        }
    }
}

/// Whoever raises an error or a notice in the database decides how long it is.
fn shortened(text: &str) -> String {
    match text.get(..text.floor_char_boundary(TEXT_MAX)).filter(|_| text.len() > TEXT_MAX) {
        Some(beginning) => format!("{beginning}... ({} bytes)", text.len()),
        None => text.to_owned(),
    }
}
