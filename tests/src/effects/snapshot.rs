//! A snapshot of the catalogue for the analysis, fetched with the analysis' own queries.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sql::catalogue::rows::{
    Body, Column, Conversion, Definition, Dependency, Events, Function, Generated, Inexact, Inheritance, Operator,
    Relation, RelationKind, Required, Rule, Trigger, Type,
};
use sql::catalogue::{Builder, Catalogue, QUERIES};

use crate::corpus::session::{Answer, Session};

/// Names for the columns of a query: those of the catalogue may occur twice in one.
const COLUMNS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Fetches a snapshot.
///
/// # Errors
/// When a query fails or returns something else than its row.
pub fn take(session: &mut Session, epoch: u64) -> Result<Catalogue> {
    let mut builder = Builder::new();
    // Names in definitions are qualified then.
    session.query(b"begin; set local search_path = ''")?;
    for (name, query) in QUERIES {
        let names = COLUMNS.get(..width(name)?).unwrap_or(&COLUMNS).join(", ");
        let answers = session.query(format!("select row_to_json(t) from ({query}) as t({names})").as_bytes())?;
        for answer in &answers {
            match answer {
                Answer::Row(row) => add(&mut builder, name, &Row(serde_json::from_str(row)?)).context(*name)?,
                Answer::Error { text, .. } => bail!("{name}: {text}"),
                _ => {}
            }
        }
    }
    session.query(b"commit")?;
    Ok(builder.build(epoch))
}

fn width(query: &str) -> Result<usize> {
    Ok(match query {
        "schemas" => 1,
        "inheritance" | "rules" | "definitions" | "required" | "inexact" => 2,
        "columns" | "operators" | "triggers" | "generated" | "conversions" | "bodies" => 3,
        "relations" | "dependencies" | "types" => 4,
        "functions" => 5,
        _ => bail!("an unknown query: {query}"),
    })
}

fn add(builder: &mut Builder, query: &str, row: &Row) -> Result<()> {
    match query {
        "schemas" => builder.schema(row.text("a")?),
        "relations" => {
            let kind = RelationKind::from_letter(row.letter("d")?);
            builder.relation(Relation { oid: row.number("a")?, schema: row.text("b")?, name: row.text("c")?, kind });
        }
        "columns" => {
            builder.column(Column { relation: row.number("a")?, number: row.number("b")?, name: row.text("c")? });
        }
        "inheritance" => builder.inheritance(Inheritance { child: row.number("a")?, parent: row.number("b")? }),
        "dependencies" => builder.dependency(Dependency {
            view: row.number("a")?,
            relation: row.number("b")?,
            column: row.number("c")?,
            function: row.number("d")?,
        }),
        "functions" => builder.function(Function {
            oid: row.number("a")?,
            schema: row.text("b")?,
            name: row.text("c")?,
            extension: row.text("d")?,
            takes_row: row.number::<i16>("e")? != 0,
        }),
        "operators" => {
            let (schema, name, function) = (row.text("a")?, row.text("b")?, row.number("c")?);
            builder.operator(Operator { schema, name, function });
        }
        "types" => builder.type_code(Type {
            schema: row.text("a")?,
            name: row.text("b")?,
            relation: row.number("c")?,
            function: row.number("d")?,
        }),
        "triggers" => {
            let events = Events::from_trigger_type(row.number("c")?);
            builder.trigger(Trigger { relation: row.number("a")?, function: row.number("b")?, events });
        }
        "definitions" => builder.definition(Definition { relation: row.number("a")?, text: row.text("b")? }),
        "generated" => {
            builder.generated(Generated { relation: row.number("a")?, number: row.number("b")?, text: row.text("c")? });
        }
        "required" => builder.required(Required { relation: row.number("a")?, number: row.number("b")? }),
        "bodies" => builder.body(Body { function: row.number("a")?, text: row.text("b")?, arguments: row.text("c")? }),
        "inexact" => builder.inexact(Inexact { relation: row.number("a")?, number: row.number("b")? }),
        "conversions" => builder.conversion(Conversion {
            relation: row.number("a")?,
            number: row.number("b")?,
            function: row.number("c")?,
        }),
        "rules" => {
            let events = Events::from_rule_type(row.letter("b")?);
            builder.rule(Rule { relation: row.number("a")?, events });
        }
        _ => bail!("nobody reads its rows"),
    }
    Ok(())
}

/// A row as JSON; numbers of objects are strings in it.
struct Row(Value);

impl Row {
    fn text(&self, column: &str) -> Result<Arc<str>> {
        match self.0.get(column) {
            Some(Value::String(text)) => Ok(text.as_str().into()),
            Some(Value::Number(number)) => Ok(number.to_string().into()),
            other => bail!("{column} is {other:?}"),
        }
    }

    fn number<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(&self, column: &str) -> Result<T> {
        Ok(self.text(column)?.parse()?)
    }

    fn letter(&self, column: &str) -> Result<u8> {
        self.text(column)?.bytes().next().with_context(|| format!("{column} is empty"))
    }
}
