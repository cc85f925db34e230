//! The sqlx scene: named statements with a cache, binary values, streams, transactions, COPY, errors.
//!
//! usage: `sqlx-driver ROUNDS`; the server comes from the `PG*` variables of libpq. Prints what the server answered.

use std::env::var;

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor, Row};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let rounds: u32 = std::env::args().nth(1).context("usage: sqlx-driver ROUNDS")?.parse()?;
    for _ in 0..rounds {
        let options = PgConnectOptions::new().ssl_root_cert(var("WARDER_TLS_AUTHORITY")?);
        let mut connection = PgConnection::connect_with(&options).await?;
        values(&mut connection).await?;
        errors(&mut connection).await?;
        transaction(&mut connection).await?;
        connection.close().await?;
    }
    Ok(())
}

async fn values(connection: &mut PgConnection) -> Result<()> {
    for number in 0..5_i32 {
        let double: i32 = sqlx::query_scalar("select $1 * 2").bind(number).fetch_one(&mut *connection).await?;
        println!("double {double}");
    }
    let row = sqlx::query("select $1::text, $2::bool, $3::float8, $4::bytea, $5::int8")
        .bind("it's ünïcödé ✓")
        .bind(None::<bool>)
        .bind(1.5_f64)
        .bind([0_u8, 255].as_slice())
        .bind(1_i64 << 40)
        .fetch_one(&mut *connection)
        .await?;
    let (text, nothing): (String, Option<bool>) = (row.try_get(0)?, row.try_get(1)?);
    let (real, bytes, long): (f64, Vec<u8>, i64) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    println!("{text} {nothing:?} {real} {bytes:?} {long}");
    let done = connection.execute(sqlx::raw_sql("select 1; select 2; select 3")).await?;
    println!("{done:?}");
    Ok(())
}

async fn errors(connection: &mut PgConnection) -> Result<()> {
    for (sql, code) in [("select 1 / $1", "22012"), ("selec $1", "42601")] {
        let refused = sqlx::query(sql).bind(0_i32).execute(&mut *connection).await;
        let error = refused.err().context("no error")?;
        let error = error.as_database_error().context("not the server's error")?;
        ensure!(error.code().is_some_and(|found| found == code), "{error}");
        println!("{error}");
    }
    Ok(())
}

async fn transaction(connection: &mut PgConnection) -> Result<()> {
    let mut transaction = connection.begin().await?;
    transaction.execute("create temporary table t (id int4, name text) on commit drop").await?;
    let mut copy = transaction.copy_in_raw("copy t from stdin").await?;
    let rows: String = (0..100).map(|number| format!("{number}\trow {number}\n")).collect();
    copy.send(rows.into_bytes()).await?;
    println!("copied {}", copy.finish().await?);
    let mut stream =
        sqlx::query("select id, name from t where id > $1 order by id").bind(90_i32).fetch(&mut *transaction);
    while let Some(row) = stream.try_next().await? {
        println!("{} {}", row.try_get::<i32, _>(0)?, row.try_get::<String, _>(1)?);
    }
    drop(stream);
    let mut out = transaction.copy_out_raw("copy t to stdout").await?;
    let mut bytes = 0;
    while let Some(piece) = out.try_next().await? {
        bytes += piece.len();
    }
    drop(out);
    println!("copied out {bytes}");
    Ok(transaction.commit().await?)
}
