//! A replay for people, and for machines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};

use super::tally::{Counts, Group, Sample, Tally};
use crate::terminal::{Style, Terminal, escape};
use crate::words;

/// Lines of each list.
const LINES_MAX: usize = 20;

/// For people: what would differ first.
pub fn text(tally: &Tally, terminal: Terminal) -> Result<String> {
    let mut text = String::new();
    differences(&mut text, tally, terminal)?;
    list(&mut text, "by rule", &tally.rules)?;
    list(&mut text, "by principal", &tally.principals)?;
    list(&mut text, "by way", &tally.classes)?;
    writeln!(text, "sessions: {}", counts(&tally.openings))?;
    writeln!(text, "statements: {}", counts(&tally.statements))?;
    for (reason, count) in &tally.undecidable {
        writeln!(text, "  {count} undecidable: {}", reason.replace('_', " "))?;
    }
    for (count, what) in [
        (tally.without_policies, "of databases without policies: not decided about"),
        (tally.damaged, "lines of the journal are no records; see warder verify"),
    ] {
        if count > 0 {
            writeln!(text, "{count} {what}")?;
        }
    }
    let different = tally.different();
    let style = if different == 0 { Style::Good } else { Style::Warning };
    let summary = format!("{} would have come out differently", words::count(different, "statement", "statements"));
    writeln!(text, "{}", terminal.paint(style, &summary))?;
    Ok(text)
}

fn differences(text: &mut String, tally: &Tally, terminal: Terminal) -> Result<()> {
    for (group, sample) in most(&tally.differences) {
        let outcome = outcome(group);
        let line = format!("{} × {}: {outcome}", sample.count, escape(&group.principal));
        writeln!(text, "{}", terminal.paint(Style::Warning, &line))?;
        if !sample.what.is_empty() {
            writeln!(text, "  {}", escape(&sample.what))?;
        }
        writeln!(text, "  first: record {}, session {}: {}", sample.seq, sample.session, escape(&sample.text))?;
    }
    let hidden = tally.differences.len().saturating_sub(LINES_MAX);
    if hidden > 0 {
        writeln!(text, "{}; all are in --json", words::count(hidden as u64, "group more", "groups more"))?;
    }
    Ok(())
}

fn outcome(group: &Group) -> String {
    let was = group.was.word().replace('_', " ");
    match &group.rule {
        Some(rule) => format!("was {was}, would be refused by {}", escape(rule)),
        None => format!("was {was}, would be permitted"),
    }
}

/// The largest groups first.
fn most(differences: &BTreeMap<Group, Sample>) -> Vec<(&Group, &Sample)> {
    let mut groups: Vec<_> = differences.iter().collect();
    groups.sort_by_key(|(_, sample)| std::cmp::Reverse(sample.count));
    groups.truncate(LINES_MAX);
    groups
}

fn list(text: &mut String, title: &str, of: &BTreeMap<Arc<str>, Counts>) -> Result<()> {
    let mut lines: Vec<_> = of.iter().collect();
    lines.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.all()));
    writeln!(text, "{title}:")?;
    for (name, of) in lines.iter().take(LINES_MAX) {
        let name = if name.is_empty() { "not known" } else { name };
        writeln!(text, "  {}: {}", escape(name), counts(of))?;
    }
    if lines.len() > LINES_MAX {
        writeln!(text, "  and {} more", lines.len() - LINES_MAX)?;
    }
    Ok(())
}

fn counts(counts: &Counts) -> String {
    let Counts { permitted, refused, undecidable } = counts;
    format!("{permitted} permitted, {refused} refused, {undecidable} undecidable")
}

/// For machines: everything.
#[must_use]
pub fn json(tally: &Tally) -> Value {
    let object =
        |of: &Counts| json!({ "permitted": of.permitted, "refused": of.refused, "undecidable": of.undecidable });
    let map = |of: &BTreeMap<Arc<str>, Counts>| {
        of.iter().map(|(name, counts)| (name.to_string(), object(counts))).collect::<serde_json::Map<_, _>>()
    };
    let differences = tally.differences.iter().map(|(group, sample)| {
        json!({
            "was": group.was.word(),
            "now": if group.rule.is_some() { "refused" } else { "permitted" },
            "rule": group.rule,
            "principal": group.principal,
            "statements": sample.count,
            "first": { "seq": sample.seq, "session": sample.session, "what": sample.what, "text": sample.text },
        })
    });
    json!({
        "sessions": object(&tally.openings),
        "statements": object(&tally.statements),
        "undecidable": tally.undecidable,
        "without_policies": tally.without_policies,
        "damaged_lines": tally.damaged,
        "by_rule": map(&tally.rules),
        "by_principal": map(&tally.principals),
        "by_class": map(&tally.classes),
        "different": tally.different(),
        "differences": differences.collect::<Vec<_>>(),
        "differences_not_told_apart": tally.differences_beyond,
    })
}
