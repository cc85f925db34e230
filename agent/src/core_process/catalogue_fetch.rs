//! Reads the rows of a snapshot, and whatever else is asked with that login, over a connection that the kernel process
//! has opened.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use sql::catalogue::QUERIES;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls, Row};

use super::own_hops::OwnLogin;
use crate::catalogue_form::CatalogueForm;

/// Longest that all of it may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most rows of one query: a catalogue that has more is not read.
const ROWS_MAX: usize = 1_000_000;
/// Most bytes that the server may send.
const BYTES_MAX: u64 = 128 << 20;
/// What the session may do, whatever its role may: read, and not for long.
const OPTIONS: &str = "-c default_transaction_read_only=on -c statement_timeout=10s -c lock_timeout=1s";
/// Names in definitions are qualified where no schema is looked up.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL search_path = ''";

/// Reads what an SQL database has.
pub(super) async fn fetch(login: OwnLogin, sql_database: &str) -> Result<CatalogueForm> {
    on_connection(login, sql_database, rows).await
}

/// Logs in and works, in bounded time.
pub(super) async fn on_connection<T>(
    login: OwnLogin,
    sql_database: &str,
    work: impl AsyncFnOnce(&Client) -> Result<T>,
) -> Result<T> {
    let mut config = Config::new();
    config.user(&login.user).password(&*login.password).dbname(sql_database);
    // The connection does not leave the host: it takes the proxy's own way to the server.
    config.application_name("warder catalogue").ssl_mode(SslMode::Disable).options(OPTIONS);
    let is_unix = login.is_unix()?;
    let done = async {
        if is_unix {
            on_stream(UnixStream::from_std(login.socket.into())?, &config, work).await
        } else {
            on_stream(TcpStream::from_std(login.socket.into())?, &config, work).await
        }
    };
    timeout(PATIENCE, done).await.with_context(|| format!("it took longer than {} s", PATIENCE.as_secs()))?
}

async fn on_stream<S: AsyncRead + AsyncWrite + Unpin, T>(
    stream: S,
    config: &Config,
    work: impl AsyncFnOnce(&Client) -> Result<T>,
) -> Result<T> {
    let (received, sent) = tokio::io::split(stream);
    let bounded = tokio::io::join(received.take(BYTES_MAX), sent);
    let (client, connection) = config.connect_raw(bounded, NoTls).await.context("the login failed")?;
    let mut connection = pin!(connection);
    let done = tokio::select! {
        done = work(&client) => done?,
        end = &mut connection => {
            end.context("the connection broke")?;
            bail!("the server ended the connection, or sent more than {} MiB", BYTES_MAX >> 20);
        }
    };
    drop(client);
    // Says goodbye; whoever does not listen is not waited for longer than for the rows.
    let _end = connection.await;
    Ok(done)
}

/// All queries see one state of the database.
pub(crate) async fn rows(client: &Client) -> Result<CatalogueForm> {
    client.batch_execute(BEGIN).await.context("no transaction")?;
    let mut form = CatalogueForm::default();
    for (name, query) in QUERIES {
        let bounded = format!("SELECT * FROM ({query}) AS bounded LIMIT {}", ROWS_MAX + 1);
        let rows = client.query(&bounded, &[]).await.with_context(|| format!("{name} cannot be read"))?;
        ensure!(rows.len() <= ROWS_MAX, "there are more than {ROWS_MAX} {name}");
        for row in &rows {
            add(&mut form, name, row).with_context(|| format!("{name} are not what was asked for"))?;
        }
    }
    client.batch_execute("COMMIT").await.context("no end of the transaction")?;
    Ok(form)
}

fn add(form: &mut CatalogueForm, query: &str, row: &Row) -> Result<()> {
    match query {
        "schemas" => form.schemas.push(row.try_get(0)?),
        "relations" => {
            form.relations.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, letter(row.try_get(3)?)));
        }
        "columns" => form.columns.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)),
        "inheritance" => form.inheritance.push((row.try_get(0)?, row.try_get(1)?)),
        "dependencies" => {
            form.dependencies.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
        }
        "functions" => {
            let (oid, schema, name) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            form.functions.push((oid, schema, name, row.try_get(3)?, row.try_get(4)?));
        }
        "operators" => form.operators.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)),
        "types" => form.types.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)),
        "triggers" => form.triggers.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)),
        "rules" => form.rules.push((row.try_get(0)?, letter(row.try_get(1)?))),
        "definitions" => form.definitions.push((row.try_get(0)?, row.try_get(1)?)),
        "generated" => form.generated.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)),
        "required" => form.required.push((row.try_get(0)?, row.try_get(1)?)),
        "inexact" => form.inexact.push((row.try_get(0)?, row.try_get(1)?)),
        "conversions" => form.conversions.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)),
        "bodies" => form.bodies.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)),
        other => bail!("nobody reads the rows of {other}"),
    }
    Ok(())
}

/// The type `"char"` is one byte.
const fn letter(byte: i8) -> u8 {
    byte.cast_unsigned()
}
