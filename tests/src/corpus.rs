//! The evasion corpus: statements that try to slip past a guard, and statements that no guard may hold up.
//!
//! The cases are data in `tests/corpus`, one file a class. A case is *evasive* and names an effect that a probe can
//! see, or it is *harmless* and has to be answered exactly as the server answers it. Every case is [`play`]ed over a
//! connection of its own, in a fresh copy of one database ([`ground`]), by each client that can send it; what came of
//! it is looked at by an observer who has a way of its own to the server ([`judge`]).
//!
//! Which way the client takes is an argument: directly, every evasive case has its effect, so that the same case can
//! prove something when the way leads through a guard.

pub mod case;
pub mod entry;
pub mod ground;
pub mod guard;
pub mod judge;
pub mod play;
pub mod play_psql;
pub mod play_raw;
pub mod play_tokio;
pub mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use case::{Case, Effect};
use entry::{EffectTable, File};
use ground::Places;

use crate::tooling;

/// All cases.
#[derive(Debug)]
pub struct Corpus {
    /// In the order of the files' names and of their lines.
    pub cases: Vec<Case>,
}

impl Corpus {
    /// Reads and checks `tests/corpus`.
    ///
    /// # Errors
    /// When a file has an unknown key, a case contradicts itself, or two cases of a class have one name.
    pub fn read(places: &Places) -> Result<Self> {
        let effects = effects(places)?;
        let mut cases = Vec::new();
        for path in files()? {
            let text = places.fill(&fs::read_to_string(&path)?);
            let within = || path.display().to_string();
            let file: File = toml::from_str(&text).with_context(within)?;
            cases.extend(file.cases(&effects).with_context(within)?);
        }
        let mut names = BTreeSet::new();
        for case in &cases {
            ensure!(names.insert(case.to_string()), "two cases are called {case}");
        }
        Ok(Self { cases })
    }

    /// Cases whose `class/name` contains one of `WARDER_CASES` (words with commas in between). Where it is not set: all
    /// of them in the long form, else the first of each class and every twentieth behind it.
    ///
    /// # Errors
    /// When there is none.
    pub fn asked_for(&self) -> Result<Vec<&Case>> {
        let Some(words) = std::env::var("WARDER_CASES").ok() else { return Ok(self.usual()) };
        let wanted = |name: String| words.split(',').any(|word| name.contains(word));
        let found: Vec<_> = self.cases.iter().filter(|case| wanted(case.to_string())).collect();
        ensure!(!found.is_empty(), "no case is called like '{words}'");
        Ok(found)
    }

    fn usual(&self) -> Vec<&Case> {
        const EACH: usize = 20;
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        let chosen = |case: &&Case| {
            let name = case.to_string();
            let class = name.split_once('/').map_or(name.as_str(), |(class, _)| class).to_owned();
            let number = numbers.entry(class).or_default();
            *number += 1;
            tooling::long_form() || *number % EACH == 1
        };
        self.cases.iter().filter(chosen).collect()
    }
}

/// The folder of the data files.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Effects that several cases try to have, by name.
fn effects(places: &Places) -> Result<BTreeMap<String, Effect>> {
    let path = folder().join("effects.toml");
    let text = places.fill(&fs::read_to_string(&path)?);
    let tables: BTreeMap<String, EffectTable> = toml::from_str(&text).with_context(|| path.display().to_string())?;
    tables.into_iter().map(|(name, table)| Ok((name.clone(), table.effect().context(name)?))).collect()
}

fn files() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for kind in ["evasive", "harmless"] {
        for entry in fs::read_dir(folder().join(kind))? {
            found.push(entry?.path());
        }
    }
    found.sort();
    Ok(found)
}
