//! The data files as they are written; [`File::cases`] is the only way from them to a [`Case`].

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::case::{Answered, Case, Effect, Empty, Extended, Policy, Purpose, Sight, Step};

/// One file of `tests/corpus`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    class: String,
    #[serde(default)]
    evasive: Vec<Entry>,
    #[serde(default)]
    harmless: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    policy: Policy,
    #[serde(default)]
    setup: Vec<String>,
    #[serde(default)]
    cleanup: Vec<String>,
    #[serde(default)]
    startup: BTreeMap<String, String>,
    sql: Option<String>,
    #[serde(default)]
    send: Protocol,
    #[serde(default)]
    steps: Vec<Step>,
    effect: Option<EffectEntry>,
    row: Option<String>,
    error: Option<String>,
}

/// How the one statement of a case is sent.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Protocol {
    /// As a Query message, and in the extended protocol.
    #[default]
    Both,
    /// As a Query message only: it is several statements, or the server parses it in no other way.
    Simple,
    /// In the extended protocol only.
    Extended,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum EffectEntry {
    Named(String),
    Table(EffectTable),
}

/// An effect as it is written: one of `probe`, `session`, `told` and `bystander`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EffectTable {
    probe: Option<String>,
    session: Option<String>,
    told: Option<String>,
    bystander: Option<Empty>,
    unharmed: Option<String>,
    harmed: Option<String>,
}

impl EffectTable {
    /// The effect.
    ///
    /// # Errors
    /// When it does not say exactly one place to look at, or not what is seen there.
    pub fn effect(&self) -> Result<Effect> {
        let seen = |sight| {
            let unharmed = self.unharmed.clone().context("`unharmed` is missing")?;
            ensure!(self.harmed.as_ref() != Some(&unharmed), "`harmed` is `unharmed`");
            Ok(Effect { sight, unharmed, harmed: self.harmed.clone() })
        };
        match (&self.probe, &self.session, &self.told, &self.bystander) {
            (Some(query), None, None, None) => seen(Sight::Observer(query.clone())),
            (None, Some(expression), None, None) => {
                // Nobody looks at the session before the case.
                ensure!(self.harmed.is_some(), "`harmed` is missing");
                seen(Sight::Session(expression.clone()))
            }
            (None, None, None, Some(_)) => seen(Sight::Bystander),
            (None, None, Some(text), None) => {
                ensure!(self.unharmed.is_none() && self.harmed.is_none(), "`told` has no value");
                let [unharmed, harmed] = ["not told", "told"].map(str::to_owned);
                Ok(Effect { sight: Sight::Told(text.clone()), unharmed, harmed: Some(harmed) })
            }
            _ => anyhow::bail!("one of `probe`, `session`, `told` and `bystander`"),
        }
    }
}

impl File {
    /// Its cases.
    ///
    /// # Errors
    /// When one contradicts itself; with its name.
    pub fn cases(self, effects: &BTreeMap<String, Effect>) -> Result<Vec<Case>> {
        let Self { class, evasive, harmless } = self;
        let evasive = evasive.into_iter().map(|entry| {
            let purpose = entry.effect(effects).map(Purpose::Evasive);
            (entry, purpose)
        });
        let harmless = harmless.into_iter().map(|entry| {
            let purpose = entry.answered().map(Purpose::Harmless);
            (entry, purpose)
        });
        let case = |(entry, purpose): (Entry, Result<Purpose>)| {
            let name = entry.name.clone();
            purpose.and_then(|purpose| entry.case(&class, purpose)).context(name)
        };
        evasive.chain(harmless).map(case).collect()
    }
}

impl Entry {
    fn effect(&self, effects: &BTreeMap<String, Effect>) -> Result<Effect> {
        ensure!(self.row.is_none() && self.error.is_none(), "an evasive case is judged by its effect only");
        ensure!(self.policy != Policy::Anything, "a policy has to stop it");
        match self.effect.as_ref().context("`effect` is missing")? {
            EffectEntry::Named(name) => effects.get(name).cloned().with_context(|| format!("no effect '{name}'")),
            EffectEntry::Table(table) => table.effect(),
        }
    }

    fn answered(&self) -> Result<Answered> {
        ensure!(self.effect.is_none(), "a harmless case has no effect");
        ensure!(self.row.is_none() || self.error.is_none(), "a row or an error");
        Ok(Answered { row: self.row.clone(), error: self.error.clone() })
    }

    fn case(self, class: &str, purpose: Purpose) -> Result<Case> {
        let Self { name, policy, setup, cleanup, startup, sql, send, steps, .. } = self;
        let variants = match (sql, steps.is_empty()) {
            (Some(sql), true) => variants(&sql, send),
            (None, false) => vec![steps],
            _ => anyhow::bail!("one of `sql` and `steps`"),
        };
        Ok(Case { class: class.to_owned(), name, policy, purpose, setup, cleanup, startup, variants })
    }
}

fn variants(sql: &str, send: Protocol) -> Vec<Vec<Step>> {
    let simple = vec![Step::Query(sql.to_owned())];
    let extended = vec![Step::Extended(Extended { sql: sql.to_owned(), parameters: Vec::new() })];
    match send {
        Protocol::Both => vec![simple, extended],
        Protocol::Simple => vec![simple],
        Protocol::Extended => vec![extended],
    }
}
