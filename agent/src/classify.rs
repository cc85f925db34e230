//! `warder classify`: looks at a sample of a database, and proposes a masking file for somebody to review. It reads, for a
//! bounded time, in one transaction that cannot write; values are looked at and forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use mask::Detector;
use mask::classify::{CLASSES, Class, Ground, Looked, classify};
use model::lineage::StoredColumn;
use postgres_protocol::escape::escape_identifier;
use tokio_postgres::{Client, Row};

use crate::setup_plan;
use crate::terminal::escape;

/// Rows of one table that are looked at, if nobody says how many, and at most.
pub(crate) const ROWS: u32 = 200;
pub(crate) const ROWS_MAX: u32 = 1000;
/// Letters of one value that are looked at.
const LETTERS_MAX: u32 = 1000;
/// Columns of one database; of more of them nothing is said.
const COLUMNS_MAX: usize = 100_000;
/// Pages of a table from which on a part of them is read.
const PAGES_MAX: u32 = 1000;

/// No waiting for anybody, no writing, and names stand for what they say.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL search_path = ''; \
     SET LOCAL statement_timeout = '5s'; SET LOCAL lock_timeout = '1s'";

/// Columns of tables and materialized views, in order, with whether their values can be looked at as text. A partition is
/// looked at with its table, whose columns are protected by the same rules.
const COLUMNS: &str = "SELECT n.nspname::text, c.relname::text, greatest(c.relpages, 0)::int4, a.attname::text,
       pg_catalog.col_description(c.oid, a.attnum),
       t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace
         AND (t.typcategory = 'S' OR t.typname = ANY ('{json,jsonb,xml,int8,numeric,_text,_varchar}'))
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
 WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
 ORDER BY 1, 2, a.attnum";

/// A table with its columns; the flag says whether the values are looked at.
struct Table {
    schema: String,
    name: String,
    pages: u32,
    columns: Vec<(Looked, bool)>,
}

/// Everything that was looked at.
#[derive(Default)]
struct Sample {
    columns: Vec<Looked>,
    /// Tables that could not be read, and why.
    unread: Vec<String>,
}

/// Looks at a database; returns the text of a masking file.
///
/// # Errors
///
/// It cannot be reached, or does not say what it has.
pub(crate) fn propose(dsn: Option<&str>, rows: u32) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let sample = tokio::task::LocalSet::new().block_on(&runtime, async {
        let client = setup_plan::connect(dsn).await?;
        look(&client, rows).await
    })?;
    Ok(text(&sample))
}

async fn look(client: &Client, rows: u32) -> Result<Sample> {
    client.batch_execute(BEGIN).await.context("no transaction")?;
    let bounded = format!("{COLUMNS} LIMIT {COLUMNS_MAX}");
    let found = client.query(&bounded, &[]).await.context("the server does not say which columns it has")?;
    let mut sample = Sample::default();
    for mut table in tables(&found)? {
        client.batch_execute("SAVEPOINT before").await.context("no savepoint")?;
        if let Err(error) = look_at(client, &mut table, rows).await {
            let why = error.code().map_or_else(|| error.to_string(), |code| format!("SQLSTATE {}", code.code()));
            sample.unread.push(format!("{}.{} ({why})", table.schema, table.name));
            client.batch_execute("ROLLBACK TO SAVEPOINT before").await.context("the connection broke")?;
        }
        sample.columns.extend(table.columns.into_iter().map(|(looked, _)| looked));
    }
    client.batch_execute("ROLLBACK").await.context("no end of the transaction")?;
    Ok(sample)
}

fn tables(rows: &[Row]) -> Result<Vec<Table>> {
    let mut tables: Vec<Table> = Vec::new();
    for row in rows {
        let (schema, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let column: String = row.try_get(3)?;
        let column = StoredColumn { schema: (*schema).into(), relation: (*name).into(), name: column.into() };
        let looked = Looked { column, comment: row.try_get(4)?, values: 0, found: BTreeMap::new() };
        let pages = u32::try_from(row.try_get::<_, i32>(2)?).unwrap_or_default();
        match tables.last_mut().filter(|table| table.schema == schema && table.name == name) {
            Some(table) => table.columns.push((looked, row.try_get(5)?)),
            None => tables.push(Table { schema, name, pages, columns: vec![(looked, row.try_get(5)?)] }),
        }
    }
    Ok(tables)
}

/// Counts what detectors find in a sample of a table's rows.
async fn look_at(client: &Client, table: &mut Table, rows: u32) -> Result<(), tokio_postgres::Error> {
    let mut columns: Vec<&mut Looked> =
        table.columns.iter_mut().filter_map(|(looked, is_text)| is_text.then_some(looked)).collect();
    if columns.is_empty() {
        return Ok(());
    }
    let value = |looked: &&mut Looked| {
        format!("pg_catalog.left({}::pg_catalog.text, {LETTERS_MAX})", escape_identifier(&looked.column.name))
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    let part = if table.pages > PAGES_MAX {
        format!("TABLESAMPLE SYSTEM ({:.6})", 100.0 * f64::from(PAGES_MAX) / f64::from(table.pages))
    } else {
        String::new()
    };
    let (schema, name) = (escape_identifier(&table.schema), escape_identifier(&table.name));
    let query = format!("SELECT {} FROM {schema}.{name} {part} LIMIT {rows}", values.join(", "));
    for row in client.query(&query, &[]).await? {
        for (place, looked) in columns.iter_mut().enumerate() {
            let Some(value) = row.try_get::<_, Option<&str>>(place)? else { continue };
            looked.values += 1;
            for detector in Detector::ALL.iter().filter(|detector| detector.finds(value.as_bytes())) {
                *looked.found.entry(*detector).or_default() += 1;
            }
        }
    }
    Ok(())
}

/// The file: what is proposed, and what somebody should look at besides.
fn text(sample: &Sample) -> String {
    let mut text = "# Proposed by `warder classify` from names, comments and a sample of the values. Review every line: what is not\n\
                    # here was not recognized, which does not mean that it is harmless.\n"
        .to_owned();
    for unread in &sample.unread {
        let _infallible = writeln!(text, "# Not looked into: {}", escape(unread));
    }
    let classified: Vec<_> = sample.columns.iter().map(|looked| (looked, classify(looked))).collect();
    let proposed: BTreeSet<&StoredColumn> =
        classified.iter().filter(|(_, class)| class.is_some()).map(|(looked, _)| &looked.column).collect();
    for looked in sample.columns.iter().filter(|looked| !proposed.contains(&looked.column)) {
        for (detector, found) in &looked.found {
            let (column, word, of) = (escape(&pattern(&looked.column)).into_owned(), detector.word(), looked.values);
            let _infallible = writeln!(text, "# {column}: {found} of {of} values have something like {word} in them");
        }
    }
    for class in CLASSES {
        let of_class = classified.iter().filter_map(|(looked, found)| match found {
            Some((known, grounds)) if *known == class => Some((*looked, grounds.as_slice())),
            _ => None,
        });
        write_rule(&mut text, class, of_class);
    }
    text
}

fn write_rule<'a>(text: &mut String, class: &Class, columns: impl Iterator<Item = (&'a Looked, &'a [Ground])>) {
    let line = |(looked, grounds): (&Looked, &[Ground])| {
        let grounds: Vec<&str> = grounds.iter().map(|ground| word(*ground)).collect();
        format!("    {}, # {}\n", toml::Value::String(pattern(&looked.column)), grounds.join(", "))
    };
    let lines: String = columns.map(line).collect();
    if lines.is_empty() {
        return;
    }
    let Class { name, tag, mask, .. } = class;
    let _infallible = write!(
        text,
        "\n[[protect]]\nname = \"{name}\"\ncolumns = [\n{lines}]\ntags = [\"{tag}\"]\nmask = \"{mask}\"\n"
    );
}

const fn word(ground: Ground) -> &'static str {
    match ground {
        Ground::Comment => "its comment",
        Ground::Name => "its name",
        Ground::Values => "most of its values",
    }
}

/// A dot within a name cannot be written in a pattern.
fn pattern(column: &StoredColumn) -> String {
    [&column.schema, &column.relation, &column.name].map(|part| part.replace('.', "?")).join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking_file;

    #[test]
    fn what_is_proposed_is_a_masking_file() {
        let looked = |name: &str, values, found: &[(Detector, u64)]| Looked {
            column: StoredColumn { schema: "public".into(), relation: "a\"b.c\n".into(), name: name.into() },
            comment: None,
            values,
            found: found.iter().copied().collect(),
        };
        let sample = Sample {
            columns: vec![
                looked("email", 3, &[(Detector::Email, 3)]),
                looked("ssn", 0, &[]),
                looked("note", 9, &[(Detector::Card, 1)]),
            ],
            unread: vec!["public.secret\n (SQLSTATE 42501)".to_owned()],
        };
        let text = text(&sample);
        let protection = masking_file::read(&text, None).unwrap();
        let is_protected = |looked: &Looked| protection.rule(&looked.column).map(|rule| rule.name.to_string());
        let rules: Vec<_> = sample.columns.iter().map(is_protected).collect();
        assert_eq!(rules, [Some("email".to_owned()), Some("national-number".to_owned()), None], "{text}");
        assert!(text.contains("1 of 9 values have something like card"), "{text}");
    }
}
