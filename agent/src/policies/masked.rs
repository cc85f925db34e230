//! `warder policy explain --sql` beside a masking file: where each column of the result comes from, and what the client
//! would see of it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use mask::plan::{Cell, Columns, shown};
use mask::{Plan, Planned, Protection, Rule};
use model::facts::StatementFacts;
use model::lineage::{Lineage, Origin, Output, Rows, StoredColumn, UnknownLineage};
use policy::{Asked, Decision, PolicySet, Protected, Question};
use serde_json::{Value, json};
use sql::catalogue::Catalogue;
use sql::state::State;
use sql::{Analyser, Limits};

use super::trial::{Deed, Trial};
use crate::core_process::catalogue_fetch;
use crate::setup_plan;
use crate::terminal::escape;

/// A statement, and what would become of its result.
#[derive(Debug)]
pub struct Masked {
    command: String,
    lineage: Option<Lineage>,
    planned: Planned,
}

impl Masked {
    fn is_without_catalogue(&self) -> bool {
        self.lineage.as_ref().is_some_and(|lineage| lineage.unknown == Some(UnknownLineage::NoCatalogue))
    }
}

/// Reads what a server has; without one there is no catalogue.
pub fn catalogue(dsn: Option<&str>) -> Result<Catalogue> {
    let Some(dsn) = dsn else { return Ok(Catalogue::none()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let form = tokio::task::LocalSet::new().block_on(&runtime, async {
        let client = setup_plan::connect(Some(dsn)).await?;
        catalogue_fetch::rows(&client).await
    })?;
    Ok(form.build(1))
}

/// Plans the statements of a trial; names are looked up as in a session that has changed nothing.
pub fn plan(trial: &Trial, set: &PolicySet, protection: &Protection, catalogue: &Catalogue) -> Vec<Masked> {
    let Deed::Sql(text) = &trial.deed else { return Vec::new() };
    let limits = Limits { lineage: true, ..Limits::default() };
    let state = State::new(std::sync::Arc::clone(&trial.session.user));
    let facts = Analyser::new(limits).facts(text.as_bytes(), &state, catalogue);
    let may_read = |column: &StoredColumn, rule: &Rule| {
        let protected = Protected { column, tags: &rule.tags };
        let facts = Asked::ReadClear(&protected);
        let question = Question { principal: &trial.who, facts, session: &trial.session, grants: &[], now: trial.now };
        matches!(set.decide(&question), Decision::Permit(_))
    };
    let masked = |statement: &StatementFacts| Masked {
        command: statement.command.to_string(),
        lineage: statement.lineage.as_deref().cloned(),
        planned: mask::plan(protection, statement.traced(), may_read),
    };
    facts.statements.iter().map(masked).collect()
}

/// For people.
pub fn text(all: &[Masked]) -> Result<String> {
    let mut text = String::new();
    for masked in all {
        writeln!(text, "  masking of {}", escape(&masked.command))?;
        match &masked.planned {
            Planned::Refused(refusal) => {
                writeln!(
                    text,
                    "    refused by {}: {}: {}",
                    refusal.rule,
                    escape(&refusal.what),
                    escape(&refusal.reason)
                )?;
                writeln!(text, "    remedy: {}", escape(&refusal.remedy))?;
                if masked.is_without_catalogue() {
                    writeln!(text, "    there is no catalogue to look names up in: name a server with --dsn")?;
                }
            }
            Planned::Clear => writeln!(text, "    nothing is hidden")?,
            Planned::Masked(_) => {}
        }
        for (place, origin) in origins(masked.lineage.as_ref()).iter().enumerate() {
            let seen = match (&masked.planned, cell(&masked.planned, place)) {
                (Planned::Refused(_), _) => "not shown".to_owned(),
                (_, Some(cell)) => format!("masked by {} ({:?})", cell.rule, cell.mask),
                (_, None) => "in clear".to_owned(),
            };
            writeln!(text, "    column {}: {}: {seen}", place + 1, escape(&origin_text(origin)))?;
        }
    }
    Ok(text)
}

/// Whether masking keeps any of them from running.
#[must_use]
pub fn refuses(all: &[Masked]) -> bool {
    all.iter().any(|masked| matches!(masked.planned, Planned::Refused(_)))
}

/// For programs.
#[must_use]
pub fn json(all: &[Masked]) -> Value {
    let one = |masked: &Masked| {
        let columns = origins(masked.lineage.as_ref());
        let columns = columns.iter().enumerate().map(|(place, origin)| {
            json!({ "origin": origin_text(origin), "rule": cell(&masked.planned, place).map(|cell| cell.rule.to_string()) })
        });
        let refused = match &masked.planned {
            Planned::Refused(refusal) => {
                Some(json!({ "rule": &*refusal.rule, "what": refusal.what, "reason": refusal.reason }))
            }
            Planned::Clear | Planned::Masked(_) => None,
        };
        json!({ "statement": masked.command, "columns": columns.collect::<Vec<_>>(), "refused": refused })
    };
    Value::Array(all.iter().map(one).collect())
}

fn origins(lineage: Option<&Lineage>) -> &[Origin] {
    match lineage.map(|lineage| &lineage.output) {
        Some(Output::Rows(rows) | Output::Copy(rows, _)) => match rows {
            Rows::Columns(columns) => columns,
            Rows::Every(origin) => std::slice::from_ref(origin),
        },
        _ => &[],
    }
}

fn cell(planned: &Planned, place: usize) -> Option<&Cell> {
    let Planned::Masked(plan) = planned else { return None };
    let Plan { columns, .. } = &**plan;
    match columns {
        Columns::Each(each) => each.get(place)?.as_ref(),
        Columns::Every(cell) => cell.as_ref(),
    }
}

fn origin_text(origin: &Origin) -> String {
    let names = || origin.sources().map(shown).collect::<Vec<_>>().join(", ");
    match origin {
        Origin::Direct(_) => names(),
        Origin::Derived(sources) if sources.is_empty() => "made of no stored value".to_owned(),
        Origin::Derived(_) => format!("made of {}", names()),
        Origin::Unknown(reason) => format!("unknown ({})", reason.word()),
    }
}
