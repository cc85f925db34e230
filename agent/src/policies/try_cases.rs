//! `warder policy test`: the cases beside policies, and which of them came out differently.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::case::{Case, Difference};
use super::load::Source;
use crate::terminal::{Style, Terminal, escape};

/// What the cases of some sets came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Cases that came out as expected.
    pub passed: usize,
    /// The others.
    pub failed: Vec<(Case, Difference)>,
}

/// Tries the cases of these paths, each against the set that it belongs to.
pub fn try_cases(paths: &[PathBuf]) -> Result<Tally> {
    let mut tally = Tally::default();
    for path in paths {
        let source = Source::read(path)?;
        let (set, cases) = (source.set()?, source.cases()?);
        ensure!(!cases.is_empty(), "there are no cases (*.test.toml) for {}", path.display());
        for case in cases {
            match case.difference(&case.trial.run(&set)) {
                None => tally.passed = tally.passed.saturating_add(1),
                Some(difference) => tally.failed.push((case, difference)),
            }
        }
    }
    Ok(tally)
}

/// For people: each failed case, then the numbers.
pub fn text(tally: &Tally, terminal: Terminal) -> Result<String> {
    let mut text = String::new();
    for (case, difference) in &tally.failed {
        writeln!(text, "{} {}: {}", terminal.paint(Style::Bad, "failed"), escape(&case.file), escape(&case.name))?;
        writeln!(text, "  - expected: {}", escape(&difference.expected))?;
        writeln!(text, "  + found:    {}", escape(&difference.found))?;
    }
    let failed = format!("{} failed", tally.failed.len());
    let style = if tally.failed.is_empty() { Style::Quiet } else { Style::Bad };
    writeln!(text, "{} cases passed, {}", tally.passed, terminal.paint(style, &failed))?;
    Ok(text)
}
