//! `warder classify`.

use anyhow::Result;
use clap::Args;

use crate::classify::{ROWS, ROWS_MAX, propose};
use crate::terminal;

#[derive(Debug, Args)]
pub(super) struct Classify {
    /// Where to log in as somebody who may read the tables [default: PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE]
    #[arg(long, value_name = "DSN")]
    dsn: Option<String>,
    /// Rows of each table that are looked at
    #[arg(long, value_name = "NUMBER", default_value_t = ROWS, value_parser = clap::value_parser!(u32).range(1..=i64::from(ROWS_MAX)))]
    rows: u32,
}

impl Classify {
    pub(super) fn run(&self) -> Result<()> {
        Ok(terminal::print(&propose(self.dsn.as_deref(), self.rows)?)?)
    }
}
