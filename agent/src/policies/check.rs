//! `warder policy check`: is this a set that could take effect, and, looked at more deeply, does each of its policies
//! do something?

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use policy::{PolicySet, Problem};

use super::load::Source;
use crate::terminal::escape;

/// What was found about some sets.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Lines about what is right.
    pub correct: Vec<String>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Policies that decide no case, where that was asked.
    pub idle: Vec<String>,
}

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Everything that keeps a set from taking effect.
    Shallow,
    /// And the policies that decide none of the cases beside them: perhaps they never decide anything.
    Deep,
}

/// Looks at the sets of these paths.
pub fn check(paths: &[PathBuf], depth: Depth) -> Result<Findings> {
    let mut findings = Findings::default();
    for path in paths {
        let source = Source::read(path)?;
        let protection = source.protection()?;
        match source.compile() {
            Ok(set) => {
                if !protection.is_empty() {
                    let rules = protection.rules().len();
                    findings.correct.push(format!("{}: masking is correct; {rules} rules", path.display()));
                }
                let (policies, files) = (set.policies().count(), source.files.len());
                findings.correct.push(format!("{}: correct; {policies} policies in {files} files", path.display()));
                if depth == Depth::Deep {
                    findings.idle.extend(idle(&source, &set)?);
                }
            }
            Err(problems) => findings.problems.extend(problems),
        }
    }
    Ok(findings)
}

/// The policies that neither allow nor deny in any case.
fn idle(source: &Source, set: &PolicySet) -> Result<Vec<String>> {
    let mut deciding = BTreeSet::new();
    for case in source.cases()? {
        for (_, verdict) in case.trial.run(set).parts.iter().flat_map(|part| &part.steps) {
            deciding.extend(verdict.allowed_by.iter().cloned());
            deciding.extend(verdict.denial.iter().map(|denial| denial.rule.clone()));
        }
    }
    // No case asks for a grant.
    let idle = set.policies().filter(|policy| policy.decides_requests && !deciding.contains(&policy.id));
    Ok(idle.map(|policy| format!("{}:{}: {} decides none of the cases", policy.file, policy.line, policy.id)).collect())
}

/// For people: one line for each problem, and for each set that is correct.
pub fn text(findings: &Findings) -> Result<String> {
    let mut text = String::new();
    let problems = findings.problems.iter().map(ToString::to_string);
    for line in problems.chain(findings.idle.iter().cloned()).chain(findings.correct.iter().cloned()) {
        writeln!(text, "{}", escape(&line))?;
    }
    Ok(text)
}
