//! What the server says about a statement that waits: how many rows it may touch, and what its session has locked. Asked
//! with the login that reads catalogues, in a transaction that may only read. Nothing is executed.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::catalogue_fetch::on_connection;
use super::own_hops::OwnLogin;
use crate::hold_link::{ShownStatement, ShownValue};

/// Locks that are shown.
const LOCKS_MAX: usize = 50;
/// Lines of a plan that are shown.
const PLAN_LINES_MAX: usize = 40;
/// What the planner can plan without executing anything.
const PLANNED: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"];
const LOCKS: &str = "select coalesce(relation::regclass::text, locktype), mode, granted from pg_catalog.pg_locks \
                     where pid = $1 and locktype <> 'virtualxid' order by 1, 2 limit 51";
/// Names as in the session; quotes as [`literal`] writes them.
const SETTINGS: &str = "select pg_catalog.set_config('search_path', $1, true), \
                        pg_catalog.set_config('standard_conforming_strings', 'on', true)";

/// What it said; a part that is not known has its reason.
pub(crate) struct Look {
    estimate: Result<Estimate, String>,
    locks: Result<Vec<Lock>, String>,
}

struct Estimate {
    /// Rows of the part of the plan that finds them.
    rows: Option<u64>,
    plan: Vec<String>,
}

struct Lock {
    object: String,
    mode: String,
    granted: bool,
}

impl Look {
    /// Nothing could be asked, for this reason.
    pub(super) fn unknown(why: &str) -> Self {
        Self { estimate: Err(why.to_owned()), locks: Err(why.to_owned()) }
    }

    /// Asks. `server_pid`: of the session that waits; `None`: not known.
    pub(super) async fn take(
        login: OwnLogin,
        sql_database: &str,
        shown: &ShownStatement,
        server_pid: Option<u32>,
    ) -> Self {
        let asked = on_connection(login, sql_database, async |client: &Client| {
            let locks = locks(client, server_pid).await.map_err(|error| format!("{error:#}"));
            client.batch_execute("BEGIN READ ONLY").await?;
            let estimate = estimate(client, shown).await.map_err(|error| format!("{error:#}"));
            Ok(Self { estimate, locks })
        });
        asked.await.unwrap_or_else(|error| Self::unknown(&format!("{error:#}")))
    }

    pub(crate) fn estimate_json(&self) -> Value {
        match &self.estimate {
            Ok(Estimate { rows, plan }) => json!({ "rows": rows, "plan": plan }),
            Err(why) => json!({ "unknown": why }),
        }
    }

    pub(crate) fn locks_json(&self) -> Value {
        let lock = |Lock { object, mode, granted }: &Lock| json!({ "on": object, "mode": mode, "granted": granted });
        match &self.locks {
            Ok(locks) => json!(locks.iter().map(lock).collect::<Vec<_>>()),
            Err(why) => json!({ "unknown": why }),
        }
    }
}

async fn locks(client: &Client, server_pid: Option<u32>) -> Result<Vec<Lock>> {
    let Some(pid) = server_pid.and_then(|pid| i32::try_from(pid).ok()) else {
        bail!("the process of the server is not known");
    };
    let rows = client.query(LOCKS, &[&pid]).await?;
    let lock = |row: &tokio_postgres::Row| {
        Ok(Lock { object: row.try_get(0)?, mode: row.try_get(1)?, granted: row.try_get(2)? })
    };
    rows.iter().take(LOCKS_MAX).map(lock).collect()
}

async fn estimate(client: &Client, shown: &ShownStatement) -> Result<Estimate> {
    let [command] = shown.commands.as_slice() else { bail!("it is more than one statement") };
    if !PLANNED.contains(&command.as_str()) || !shown.opaque.is_empty() {
        bail!("the server plans no {command}, or not all of it is understood");
    }
    let Some(path) = &shown.search_path else { bail!("it is not known in which schemas its names are") };
    let path: Vec<_> = path.iter().map(|schema| format!("\"{}\"", schema.replace('"', "\"\""))).collect();
    let values = shown.parameters.iter().map(literal).collect::<Result<Vec<_>>>()?;
    client.execute(SETTINGS, &[&path.join(", ")]).await?;
    // By the protocol one statement: nothing in the text can end the PREPARE.
    client.execute(&format!("PREPARE warder_waits AS {}", shown.text), &[]).await?;
    let values = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
    let rows = client.query(&format!("EXPLAIN EXECUTE warder_waits{values}"), &[]).await?;
    let plan = rows.iter().take(PLAN_LINES_MAX).map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    Ok(Estimate { rows: rows_of(&plan), plan })
}

/// As it is written in SQL; the server finds out its type.
fn literal(value: &ShownValue) -> Result<String> {
    match value {
        ShownValue::Text(text) => Ok(format!("'{}'", text.replace('\'', "''"))),
        ShownValue::Null => Ok("NULL".to_owned()),
        ShownValue::Unreadable { .. } | ShownValue::Withheld => bail!("a value of it cannot be read"),
    }
}

/// The first line that has rows: a change of rows has none itself.
fn rows_of(plan: &[String]) -> Option<u64> {
    let rows = |line: &String| line.split_once("rows=")?.1.split(' ').next()?.parse::<u64>().ok();
    plan.iter().filter_map(rows).find(|rows| *rows > 0)
}
