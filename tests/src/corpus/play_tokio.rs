//! The corpus by tokio-postgres: each statement prepared under a name, described in a cycle of its own, its result
//! in the binary format.

use std::error::Error as StdError;
use std::io::Cursor;
use std::pin::pin;

use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type};
use tokio_postgres::{Client, Config, Error, NoTls, Row, SimpleQueryMessage};

use super::case::{CopyIn, Extended, Step};
use super::ground::DATABASE;
use super::play::{Entrance, Play, Played};
use super::session::Answer;
use crate::way::HOST;

/// Whether one step at least needs this client.
#[must_use]
pub fn plays(steps: &[Step]) -> bool {
    steps.iter().all(|step| matches!(step, Step::Query(_) | Step::Extended(_) | Step::CopyIn(_) | Step::CopyOut(_)))
        && !steps.iter().all(|step| matches!(step, Step::Query(_)))
}

/// Plays a case; a refused log-in is its only answer.
///
/// # Errors
/// When there is no runtime for it.
pub fn play(entrance: &Entrance, play: &Play<'_>) -> Result<Played> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match connect(entrance, play).await {
            Ok(client) => steps(&client, play).await,
            Err(error) => {
                let answers = vec![complaint(&error)];
                Ok(Played { answers, session: Some(String::new()), ..Played::default() })
            }
        }
    })
}

async fn connect(entrance: &Entrance, play: &Play<'_>) -> Result<Client, Error> {
    let login = (entrance.login)(play.case.policy);
    let mut config = Config::new();
    config.host(HOST).port(entrance.way.port).user(login.user).dbname(DATABASE);
    if let Some(password) = login.password {
        config.password(password);
    }
    if let Some(options) = play.case.startup.get("options") {
        config.options(options);
    }
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn steps(client: &Client, play: &Play<'_>) -> Result<Played> {
    let mut answers = Vec::new();
    for step in play.steps {
        let told = match step {
            Step::Query(sql) => simple(client, sql).await,
            Step::Extended(extended) => prepared(client, extended).await,
            Step::CopyIn(copy) => copy_in(client, copy).await,
            Step::CopyOut(sql) => copy_out(client, sql).await,
            _ => anyhow::bail!("not a step of this client"),
        };
        answers.extend(told.unwrap_or_else(|error| vec![complaint(&error)]));
    }
    let session = match play.case.session_sight() {
        Some(expression) => Some(own_sight(client, expression).await?),
        None => None,
    };
    let _ = client.simple_query("rollback").await;
    let alive = client.simple_query("select 'alive'").await.is_ok();
    Ok(Played { answers, session, alive, wrong: Vec::new() })
}

async fn own_sight(client: &Client, expression: &str) -> Result<String> {
    let sql = format!("select {expression}");
    let answers = match simple(client, &sql).await {
        Ok(answers) => answers,
        Err(_) => {
            client.simple_query("rollback").await?;
            simple(client, &sql).await?
        }
    };
    let value = answers.into_iter().find_map(|answer| match answer {
        Answer::Row(text) => Some(text),
        _ => None,
    });
    value.with_context(|| sql)
}

async fn simple(client: &Client, sql: &str) -> Result<Vec<Answer>, Error> {
    let messages = client.simple_query(sql).await?;
    let answer = |message| match message {
        SimpleQueryMessage::Row(row) => {
            let values = (0..row.len()).map(|column| row.get(column).unwrap_or("NULL").to_owned());
            Some(Answer::Row(values.collect::<Vec<_>>().join("|")))
        }
        SimpleQueryMessage::CommandComplete(rows) => Some(Answer::Done(rows.to_string())),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(answer).collect())
}

async fn prepared(client: &Client, extended: &Extended) -> Result<Vec<Answer>, Error> {
    let statement = client.prepare(&extended.sql).await?;
    let parameters: Vec<Text> = extended.parameters.iter().cloned().map(Text).collect();
    let parameters: Vec<_> = parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect();
    let rows = client.query(&statement, &parameters).await?;
    Ok(rows.iter().map(|row| Answer::Row(values(row))).collect())
}

async fn copy_in(client: &Client, copy: &CopyIn) -> Result<Vec<Answer>, Error> {
    let mut sink = pin!(client.copy_in::<_, Cursor<Vec<u8>>>(&copy.sql).await?);
    sink.send(Cursor::new(copy.data.clone().into_bytes())).await?;
    let rows = sink.finish().await?;
    Ok(vec![Answer::Done(format!("COPY {rows}"))])
}

async fn copy_out(client: &Client, sql: &str) -> Result<Vec<Answer>, Error> {
    let mut stream = pin!(client.copy_out(sql).await?);
    let mut answers = Vec::new();
    while let Some(data) = stream.next().await {
        answers.push(Answer::Row(String::from_utf8_lossy(&data?).into_owned()));
    }
    Ok(answers)
}

fn values(row: &Row) -> String {
    let value = |column| match row.try_get::<_, Option<Bytes>>(column) {
        Ok(Some(Bytes(bytes))) => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(None) => "NULL".to_owned(),
        Err(error) => error.to_string(),
    };
    (0..row.len()).map(value).collect::<Vec<_>>().join("|")
}

fn complaint(error: &Error) -> Answer {
    match error.as_db_error() {
        Some(told) => {
            let text = [Some(told.message()), told.detail(), told.hint()].into_iter().flatten();
            Answer::Error {
                severity: told.severity().to_owned(),
                sqlstate: told.code().code().to_owned(),
                text: text.collect::<Vec<_>>().join(" "),
            }
        }
        None if error.is_closed() => Answer::Ended,
        None => Answer::Notice(error.to_string()),
    }
}

/// A parameter of any type in its text form.
#[derive(Debug)]
struct Text(String);

impl ToSql for Text {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut tokio_postgres::types::private::BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}

/// A value of any type as it came.
struct Bytes(Vec<u8>);

impl<'a> FromSql<'a> for Bytes {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
