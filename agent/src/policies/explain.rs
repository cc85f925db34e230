//! `warder policy explain`: what would be decided, step by step, and why.

use std::fmt::Write as _;

use anyhow::Result;
use model::verdict::{Denial, Hold, Obligations, Verdict};
use serde_json::{Value, json};

use super::trial::{Outcome, Part};
use crate::terminal::{Style, Terminal, escape};

/// For people: the answer, then each statement with what it does.
pub fn text(outcome: &Outcome, terminal: Terminal) -> Result<String> {
    let mut text = String::new();
    match (outcome.denial(), outcome.hold()) {
        (Some(denial), _) => write_denial(&mut text, denial, terminal)?,
        (None, Some(hold)) => write_hold(&mut text, hold, terminal)?,
        (None, None) => writeln!(text, "{}", terminal.paint(Style::Good, "permitted"))?,
    }
    if outcome.parts.is_empty() {
        writeln!(text, "  there is no statement in the text")?;
    }
    for part in &outcome.parts {
        write_part(&mut text, part)?;
    }
    Ok(text)
}

fn write_denial(text: &mut String, denial: &Denial, terminal: Terminal) -> std::fmt::Result {
    writeln!(text, "{} by {}: {}", terminal.paint(Style::Bad, "refused"), denial.rule, escape(&denial.what))?;
    writeln!(text, "  reason: {}", escape(&denial.reason))?;
    if !denial.remedy.is_empty() {
        writeln!(text, "  remedy: {}", escape(&denial.remedy))?;
    }
    writeln!(text, "  the client sees SQLSTATE {}", denial.sqlstate)
}

fn write_hold(text: &mut String, hold: &Hold, terminal: Terminal) -> std::fmt::Result {
    writeln!(text, "{} by {}: {}", terminal.paint(Style::Bad, "waits for approval"), hold.rule, escape(&hold.what))?;
    writeln!(text, "  reason: {}", escape(&hold.reason))?;
    if !hold.remedy.is_empty() {
        writeln!(text, "  remedy: {}", escape(&hold.remedy))?;
    }
    Ok(())
}

fn write_part(text: &mut String, part: &Part) -> std::fmt::Result {
    writeln!(text, "  {}{}", escape(&part.name), bounds(part.verdict.obligations))?;
    for (what, verdict) in &part.steps {
        let by = match &verdict.denial {
            Some(denial) => format!("refused by {}", denial.rule),
            None => format!("permitted by {}", verdict.allowed_by.join(", ")),
        };
        writeln!(text, "    {}: {by}", escape(what))?;
    }
    Ok(())
}

fn bounds(bounds: Obligations) -> String {
    let all = [
        (bounds.rows_max, "rows"),
        (bounds.bytes_max, "bytes"),
        (bounds.runtime_max, "ms"),
        (bounds.rate_per_minute, "statements a minute"),
    ];
    let said = all.iter().filter_map(|(bound, unit)| bound.map(|bound| format!(", at most {bound} {unit}")));
    said.collect()
}

/// For programs.
#[must_use]
pub fn json(outcome: &Outcome) -> Value {
    let part = |part: &Part| {
        let steps = part.steps.iter().map(|(what, verdict)| verdict_json(what, verdict)).collect::<Vec<_>>();
        json!({ "statement": &*part.name, "steps": steps, "obligations": obligations(part.verdict.obligations) })
    };
    let verdict = match (outcome.denial(), outcome.hold()) {
        (Some(_), _) => "refuse",
        (None, Some(_)) => "hold",
        (None, None) => "permit",
    };
    json!({
        "verdict": verdict,
        "denial": outcome.denial().map(denial),
        "hold": outcome.hold().map(hold),
        "allowed_by": outcome.allowed_by(),
        "parts": outcome.parts.iter().map(part).collect::<Vec<_>>(),
    })
}

fn verdict_json(what: &str, verdict: &Verdict) -> Value {
    let allowed_by: Vec<&str> = verdict.allowed_by.iter().map(|id| &**id).collect();
    json!({ "what": what, "allowed_by": allowed_by, "denial": verdict.denial.as_ref().map(denial) })
}

fn denial(denial: &Denial) -> Value {
    json!({
        "rule": &*denial.rule,
        "what": &*denial.what,
        "reason": &*denial.reason,
        "remedy": &*denial.remedy,
        "sqlstate": denial.sqlstate,
    })
}

fn hold(hold: &Hold) -> Value {
    let Hold { rule, what, reason, remedy, .. } = hold;
    json!({ "rule": &**rule, "what": &**what, "reason": &**reason, "remedy": &**remedy })
}

fn obligations(bounds: Obligations) -> Value {
    json!({
        "rows_max": bounds.rows_max,
        "bytes_max": bounds.bytes_max,
        "runtime_max_ms": bounds.runtime_max,
        "rate_per_minute": bounds.rate_per_minute,
    })
}
