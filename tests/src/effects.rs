//! The executed-effect oracle: what a statement really did in a scratch database, compared with what its facts say.
//!
//! It knows nothing about SQL. Relations that a statement touches are those whose counters move in its transaction
//! (`pg_stat_xact_user_tables`); what it changed is what differs between two digests of everything that the database
//! stores: rows, sequences, large objects and the whole catalogue, shared relations included. It does not see files,
//! other servers, locks, and signals to other sessions: the probes of the corpus do.

pub mod snapshot;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use model::Known;
use model::facts::{Action, Facts, Name, Object, UnknownSchema};

use crate::corpus::session::{Answer, Session, told};

/// Digest of each relation that stores something, indexes left out. The sum does not depend on the order of rows.
const DIGEST: &str = "
select n.nspname || '.' || c.relname,
       (xpath('//d/text()', query_to_xml(format(
           'select count(*) || ''/'' || coalesce(sum(hashtextextended(row(t.*)::text, 0)::numeric), 0) as d from only %I.%I t',
           n.nspname, c.relname), false, true, '')))[1]
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm', 'S') and c.relpersistence <> 't' and n.nspname <> 'pg_toast'";

/// How often each table was scanned or written by this session.
const COUNTERS: &str = "
select schemaname || '.' || relname, coalesce(seq_scan, 0) + coalesce(idx_scan, 0) + n_tup_ins + n_tup_upd + n_tup_del
from pg_stat_xact_user_tables";

/// Relations with a digest or a counter each.
type Values = BTreeMap<String, String>;

/// Reads everything that the database stores.
///
/// # Errors
/// When the observer gets no answer.
pub fn digest(observer: &mut Session) -> Result<Values> {
    values(observer, DIGEST)
}

fn values(session: &mut Session, query: &str) -> Result<Values> {
    let answers = session.query(query.as_bytes())?;
    let failed = answers.iter().any(|answer| matches!(answer, Answer::Error { .. } | Answer::Ended));
    ensure!(!failed, "no values: {}", told(&answers));
    let pair = |answer: &Answer| match answer {
        Answer::Row(row) => row.rsplit_once('|').map(|(name, value)| (name.to_owned(), value.to_owned())),
        _ => None,
    };
    Ok(answers.iter().filter_map(pair).collect())
}

/// Relations whose values differ, or that only one side has.
#[must_use]
pub fn differences(before: &Values, after: &Values) -> BTreeSet<String> {
    let names = before.keys().chain(after.keys());
    names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

/// Whether the transaction has changed anything that is kept: then it has a number.
const CHANGED: &str = "select pg_current_xact_id_if_assigned() is not null";

/// What one run of a statement did.
#[derive(Clone, Debug)]
pub struct Executed {
    /// What the server answered.
    pub answers: Vec<Answer>,
    /// Its transaction has a number: it changed something, or took a lock on rows.
    pub changed: bool,
    /// Tables that it scanned or wrote, as `schema.name`.
    pub touched: BTreeSet<String>,
}

/// Runs a statement inside a transaction for it alone; the session is in none.
///
/// # Errors
/// When the server is silent.
pub fn execute(session: &mut Session, sql: &str) -> Result<Executed> {
    session.execute("begin")?;
    let before = values(session, COUNTERS)?;
    let answers = session.query(sql.as_bytes())?;
    if session.failed() {
        session.execute("rollback")?;
        return Ok(Executed { answers, changed: false, touched: BTreeSet::new() });
    }
    let touched = differences(&before, &values(session, COUNTERS)?);
    let changed = session.scalar(CHANGED)? == "t";
    session.execute("commit")?;
    Ok(Executed { answers, changed, touched })
}

/// What the facts say about a text that only reads: the relations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// As `schema.name`.
    known: BTreeSet<String>,
    /// Names whose schema is not known: conceded, not claimed.
    unknown: BTreeSet<String>,
}

impl Declared {
    /// `None`: the facts do not say that the text only reads, or name what this session may have made itself; then they
    /// claim nothing that could be wrong here.
    #[must_use]
    pub fn reads_only(facts: &Facts) -> Option<Self> {
        if facts.opaque.is_some() || facts.statements.is_empty() {
            return None;
        }
        let mut declared = Self::default();
        for statement in &facts.statements {
            if !statement.opaque.is_empty() || !statement.changes.is_empty() {
                return None;
            }
            for effect in &statement.effects {
                match (effect.action, &effect.object) {
                    // It may be a temporary view, or a view in whatever schema: what is behind it is in no snapshot, or not known.
                    (
                        _,
                        Object::Relation(Name {
                            schema: Known::Unknown(UnknownSchema::Changed | UnknownSchema::SearchPath),
                            ..
                        }),
                    ) => return None,
                    (Action::Select | Action::CopyOut, Object::Relation(name)) => declared.add(name),
                    (Action::Select | Action::CopyOut | Action::Show | Action::Explain, _) => {}
                    _ => return None,
                }
            }
        }
        Some(declared)
    }

    fn add(&mut self, name: &Name) {
        match &name.schema {
            Known::Known(schema) => self.known.insert(format!("{schema}.{}", name.name)),
            Known::Unknown(_) => self.unknown.insert(name.name.to_string()),
        };
    }

    /// Those of `touched` that the facts do not name. Temporary tables are the session's own, also below others' tables.
    #[must_use]
    pub fn undeclared(&self, touched: &BTreeSet<String>) -> BTreeSet<String> {
        let conceded = |name: &str| name.split_once('.').is_some_and(|(_, name)| self.unknown.contains(name));
        let own = |name: &str| name.starts_with("pg_temp_");
        let is_named = |name: &str| self.known.contains(name) || conceded(name) || own(name);
        touched.iter().filter(|name| !is_named(name)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use model::facts::{Columns, Condition, Effect, OpaqueReason, StatementFacts};

    use super::*;

    fn facts(action: Action, schema: Known<&str, UnknownSchema>) -> Facts {
        let schema = match schema {
            Known::Known(name) => Known::Known(name.into()),
            Known::Unknown(reason) => Known::Unknown(reason),
        };
        let object = Object::Relation(Name { schema, name: "t".into() });
        let effect = Effect { action, object, columns: Columns::All, condition: Condition::NotApplicable };
        Facts { statements: vec![StatementFacts { effects: vec![effect], ..Default::default() }], opaque: None }
    }

    fn check(facts: &Facts, undeclared: Option<&[&str]>) {
        let touched = BTreeSet::from(["a.t".to_owned(), "b.t".to_owned(), "b.u".to_owned()]);
        let found = Declared::reads_only(facts).map(|declared| declared.undeclared(&touched));
        assert_eq!(found, undeclared.map(|names| names.iter().map(|&name| name.to_owned()).collect()));
    }

    #[test]
    fn what_is_touched_must_be_declared() {
        check(&facts(Action::Select, Known::Known("a")), Some(&["b.t", "b.u"]));
        check(&facts(Action::Select, Known::Unknown(UnknownSchema::NoCatalogue)), Some(&["b.u"]));
        check(&facts(Action::Select, Known::Unknown(UnknownSchema::Changed)), None);
        check(&facts(Action::Delete, Known::Known("a")), None);
        check(&Facts { opaque: Some(OpaqueReason::Syntax), ..Facts::default() }, None);
    }

    #[test]
    fn a_relation_on_one_side_only_is_a_difference() {
        let values = |text: &[(&str, &str)]| text.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let (before, after) =
            (values(&[("a", "1"), ("b", "1"), ("c", "1")]), values(&[("a", "1"), ("b", "2"), ("d", "1")]));
        assert_eq!(differences(&before, &after), ["b", "c", "d"].map(str::to_owned).into());
    }
}
