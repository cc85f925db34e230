//! The tokio-postgres scene of the completeness test: simple and extended protocol, pipelining, portals, COPY, errors.
//!
//! usage: `tokio-postgres-driver ROUNDS`; the server comes from the `PG*` variables of libpq.

use std::env::var;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let rounds: u32 = std::env::args().nth(1).context("usage: tokio-postgres-driver ROUNDS")?.parse()?;
    for _ in 0..rounds {
        let mut client = connect().await?;
        values(&client).await?;
        errors(&client).await?;
        transaction(&mut client).await?;
        pipelined(&client).await?;
    }
    Ok(())
}

async fn connect() -> Result<Client> {
    let mut config = Config::new();
    config.host(var("PGHOST")?).port(var("PGPORT")?.parse()?).user(var("PGUSER")?).dbname(var("PGDATABASE")?);
    config.application_name(var("PGAPPNAME").unwrap_or_default());
    if var("PGSSLMODE")? == "disable" {
        let (client, connection) = config.ssl_mode(SslMode::Disable).connect(NoTls).await?;
        tokio::spawn(connection);
        return Ok(client);
    }
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(var("WARDER_TLS_AUTHORITY")?)?)?;
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client, connection) = config.ssl_mode(SslMode::Require).connect(MakeRustlsConnect::new(tls)).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Prints what the server answered: two runs of the scene can be compared.
fn tell(what: &str, answer: impl std::fmt::Debug) {
    println!("{what}: {answer:?}");
}

async fn values(client: &Client) -> Result<()> {
    tell("simple", client.simple_query("select 1; select 2").await?);
    let sum = client.query_one("select $1::int4 + $2::int8", &[&1_i32, &(1_i64 << 40)]).await?;
    tell("sum", sum.try_get::<_, i64>(0)?);
    let row = client.query_one("select $1::text, $2::bool, $3::float8", &[&"it's ünïcödé ✓", &true, &1.5_f64]).await?;
    tell("row", (row.columns(), row.try_get::<_, String>(0)?, row.try_get::<_, bool>(1)?, row.try_get::<_, f64>(2)?));
    let nothing: (Option<&str>, Option<i32>) = (None, None);
    let row = client
        .query_one("select $1::text, $2::int4, $3::bytea", &[&nothing.0, &nothing.1, &[0_u8, 255].as_slice()])
        .await?;
    tell("nothing", (row.try_get::<_, Option<String>>(0)?, row.try_get::<_, Vec<u8>>(2)?));
    let statement = client.prepare("select $1::int4 * 2").await?;
    for number in 0..5_i32 {
        tell("double", client.query_one(&statement, &[&number]).await?.try_get::<_, i32>(0)?);
    }
    Ok(())
}

async fn errors(client: &Client) -> Result<()> {
    let code = |error: tokio_postgres::Error| {
        tell("refused", error.as_db_error());
        error.code().cloned()
    };
    let divided = client.query("select 1 / $1::int4", &[&0_i32]).await.map_err(code);
    ensure!(divided.err() == Some(Some(SqlState::DIVISION_BY_ZERO)), "no division by zero");
    let parsed = client.query("selec $1", &[&0_i32]).await.map_err(code);
    ensure!(parsed.err() == Some(Some(SqlState::SYNTAX_ERROR)), "no syntax error");
    Ok(())
}

async fn transaction(client: &mut Client) -> Result<()> {
    let transaction = client.transaction().await?;
    transaction.batch_execute("create temporary table t (id int4, name text)").await?;
    let sink = transaction.copy_in("copy t from stdin").await?;
    copy_rows(sink).await?;
    let portal = transaction.bind("select id from t where id > $1", &[&3_i32]).await?;
    for _ in 0..3 {
        let rows = transaction.query_portal(&portal, 10).await?;
        tell("rows", rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i32>, _>>()?);
    }
    transaction.commit().await?;
    client.batch_execute("drop table t").await?;
    Ok(())
}

async fn copy_rows(sink: tokio_postgres::CopyInSink<std::io::Cursor<Vec<u8>>>) -> Result<()> {
    let rows: String = (0..100).map(|number| format!("{number}\trow {number}\n")).collect();
    let mut sink = Box::pin(sink);
    futures_util::SinkExt::send(&mut sink, std::io::Cursor::new(rows.into_bytes())).await?;
    sink.as_mut().finish().await?;
    Ok(())
}

async fn pipelined(client: &Client) -> Result<()> {
    let query = |number: i32| async move { client.query_one("select $1::int4 as piped", &[&number]).await };
    let (one, two, three, four) = tokio::try_join!(query(1), query(2), query(3), query(4))?;
    for row in [one, two, three, four] {
        tell("piped", row.try_get::<_, i32>(0)?);
    }
    Ok(())
}
