//! `warder policy diff`: what a new set says that the old one does not, and which cases of both come out differently.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use policy::PolicySet;

use super::load::Source;
use super::trial::Outcome;
use crate::terminal::{Style, Terminal, escape};

/// How two sets differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Ids that only the new set has.
    pub added: Vec<Arc<str>>,
    /// Ids that only the old set has.
    pub removed: Vec<Arc<str>>,
    /// Ids of policies that say something else.
    pub changed: Vec<Arc<str>>,
    /// Cases that are decided differently: name, old, new.
    pub verdicts: Vec<(String, String, String)>,
    /// Cases that were tried.
    pub cases: usize,
}

/// Compares two sets.
pub fn diff(old: &Path, new: &Path) -> Result<Differences> {
    let (old, new) = (Source::read(old)?, Source::read(new)?);
    let (before, after) = (old.set()?, new.set()?);
    let mut differences = policies(&before, &after);
    let mut cases = old.cases()?;
    let known: Vec<_> = cases.iter().map(|case| case.trial.clone()).collect();
    cases.extend(new.cases()?.into_iter().filter(|case| !known.contains(&case.trial)));
    differences.cases = cases.len();
    for case in cases {
        let [from, to] = [&before, &after].map(|set| shown(&case.trial.run(set)));
        if from != to {
            differences.verdicts.push((format!("{}: {}", case.file, case.name), from, to));
        }
    }
    Ok(differences)
}

fn policies(old: &PolicySet, new: &PolicySet) -> Differences {
    let digests = |set: &PolicySet| set.policies().map(|policy| (policy.id, policy.digest)).collect::<BTreeMap<_, _>>();
    let (old, new) = (digests(old), digests(new));
    let ids = |set: &BTreeMap<Arc<str>, _>, other: &BTreeMap<Arc<str>, [u8; 32]>| {
        set.keys().filter(|id| !other.contains_key(*id)).cloned().collect()
    };
    let changed = new.iter().filter(|(id, digest)| old.get(*id).is_some_and(|old| old != *digest));
    Differences {
        added: ids(&new, &old),
        removed: ids(&old, &new),
        changed: changed.map(|(id, _)| Arc::clone(id)).collect(),
        ..Differences::default()
    }
}

/// A verdict in one line.
fn shown(outcome: &Outcome) -> String {
    match (outcome.denial(), outcome.hold()) {
        (Some(denial), _) => format!("refused by {}", denial.rule),
        (None, Some(hold)) => format!("held by {}", hold.rule),
        (None, None) => format!("permitted by {}", outcome.allowed_by().join(", ")),
    }
}

impl Differences {
    /// For people.
    pub fn text(&self, terminal: Terminal) -> Result<String> {
        let mut text = String::new();
        let groups = [("added", &self.added), ("removed", &self.removed), ("changed", &self.changed)];
        for (what, id) in groups.iter().flat_map(|(what, ids)| ids.iter().map(move |id| (what, id))) {
            writeln!(text, "{what} {id}")?;
        }
        for (case, old, new) in &self.verdicts {
            writeln!(text, "{} {}", terminal.paint(Style::Warning, "decides differently:"), escape(case))?;
            writeln!(text, "  - {old}\n  + {new}")?;
        }
        writeln!(text, "{} of {} cases are decided differently", self.verdicts.len(), self.cases)?;
        Ok(text)
    }
}
