//! The report of a verification, for people and for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use journal::record::Reason;
use journal::verify::{Complete, KeyOrigin, Report, Verdict};
use serde_json::{Value, json};

use super::time;
use crate::terminal::{Style, Terminal, escape, escape_json, shorten};
use crate::words;

/// Losses that are shown to people; programs get all that are listed.
const LOSSES_SHOWN: usize = 10;

pub(super) fn text(report: &Report, directory: &Path, terminal: Terminal) -> String {
    let mut out = String::new();
    let mut line = |name: &str, style: Option<Style>, text: &str| {
        let text = style.map_or(text.into(), |style| terminal.paint(style, text));
        // Writing to a string does not fail.
        let _ = writeln!(out, "{name:<10}{text}");
    };
    line("journal", None, &format!("{}  {}", journal_id(report), escape(&directory.display().to_string())));
    line("records", None, &records(report));
    match &report.intact_up_to {
        Some((seq, signed)) => {
            line("intact", Some(Style::Good), &format!("up to record {seq}, signed at {}", time(*signed)));
        }
        None => line("intact", Some(Style::Warning), "nothing is signed by a key that is trusted"),
    }
    line("tail", None, &tail(report));
    let (style, complete) = complete(report);
    line("complete", Some(style), &complete);
    if let Some(removed) = &report.removed {
        let text =
            format!("records up to {} were removed by retention ({}), signed", removed.through, reason(removed.reason));
        line("removed", None, &text);
    }
    line("key", None, &key(report));
    for unvouched in &report.unvouched {
        let text =
            format!("{} signed up to record {}, and no trusted key vouches for it", unvouched.key.id(), unvouched.last);
        line("", Some(Style::Warning), &text);
    }
    losses(report, terminal, &mut line);
    match (&report.fault, report.verdict()) {
        (Some((segment, fault)), _) => {
            let place = if fault.first == fault.last {
                format!("record {}", fault.first)
            } else {
                format!("one of the records {} to {}", fault.first, fault.last)
            };
            let text =
                format!("BROKEN at {place}, in the segment of record {segment}: {}", escape(&fault.why.to_string()));
            line("result", Some(Style::Bad), &text);
        }
        (None, Verdict::Intact) => line("result", Some(Style::Good), "INTACT"),
        (None, _) => {
            line("result", Some(Style::Warning), "CANNOT BE VERIFIED: what is there is not signed by a trusted key")
        }
    }
    out
}

fn records(report: &Report) -> String {
    if report.records == 0 {
        return "none".into();
    }
    format!(
        "{} to {}, {} in {}",
        report.first_seq,
        report.last_seq,
        words::bytes(report.bytes),
        words::count(report.segments, "segment", "segments")
    )
}

fn tail(report: &Report) -> String {
    let mut text = match report.unsigned_tail {
        _ if report.fault.is_some() => "not known: what follows the fault was not read".into(),
        0 if report.records == 0 => "there are no records".into(),
        0 => "every record is signed".into(),
        count => format!("{} not signed yet", words::count(count, "record is", "records are")),
    };
    if report.torn_bytes > 0 {
        let _ =
            write!(text, "; {} at the end are not a whole record", words::count(report.torn_bytes, "byte", "bytes"));
    }
    text
}

fn complete(report: &Report) -> (Style, String) {
    match report.complete {
        Complete::UpTo(seq) => (Style::Good, format!("up to record {seq}, which the witness saw")),
        Complete::NoWitness => (
            Style::Quiet,
            "not provable: who holds the key could cut off the end; give a witness's file with --checkpoints".into(),
        ),
        Complete::WitnessedRemoved => {
            (Style::Warning, "not provable: what the witness saw was removed by retention".into())
        }
        Complete::BrokenBefore => (Style::Bad, "not up to what the witness saw".into()),
    }
}

fn key(report: &Report) -> String {
    let ids: Vec<String> = report.trusted.iter().map(|key| key.id().to_string()).collect();
    let origin = match report.key_origin {
        KeyOrigin::Given => "given with --key",
        KeyOrigin::Journal => {
            "from the journal itself: who can rewrite the journal can write another; give it with --key"
        }
    };
    format!("{} ({origin})", if ids.is_empty() { "none".into() } else { ids.join(", ") })
}

fn losses(report: &Report, terminal: Terminal, line: &mut impl FnMut(&str, Option<Style>, &str)) {
    if report.losses_count == 0 {
        line("losses", None, "none recorded");
        return;
    }
    let style = Some(Style::Warning);
    line("losses", style, &format!("{} recorded", words::count(report.losses_count, "loss or gap", "losses and gaps")));
    for loss in report.losses.iter().take(LOSSES_SHOWN) {
        let text = escape_json(&loss.line);
        line("", None, &terminal.width.map_or(text.clone(), |width| shorten(&text, width.saturating_sub(10))));
    }
    if report.losses_count > LOSSES_SHOWN as u64 {
        line("", None, "... list them with warder search type:loss,gap,session.gap,journal.recovered");
    }
}

const fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Age => "age",
        Reason::Size => "size",
    }
}

fn journal_id(report: &Report) -> String {
    report.journal.map_or_else(|| "(unknown)".into(), |journal| journal.to_string())
}

pub(super) fn json(report: &Report) -> Result<String> {
    let verdict = match report.verdict() {
        Verdict::Intact => "intact",
        Verdict::Broken => "broken",
        Verdict::CannotVerify => "cannot_verify",
    };
    let mut object = json!({
        "verdict": verdict,
        "journal": report.journal.map(|journal| journal.to_string()),
        "first_seq": report.first_seq,
        "last_seq": report.last_seq,
        "records": report.records,
        "bytes": report.bytes,
        "segments": report.segments,
        "intact_up_to": report.intact_up_to.map(|(seq, _)| seq),
        "signed_at": report.intact_up_to.map(|(_, signed)| time(signed)),
        "unsigned_tail": report.unsigned_tail,
        "torn_bytes": report.torn_bytes,
        "losses": report.losses_count,
        "keys": report.trusted.iter().map(|key| key.id().to_string()).collect::<Vec<_>>(),
        "key_origin": match report.key_origin {
            KeyOrigin::Given => "given",
            KeyOrigin::Journal => "journal",
        },
        "unvouched": report.unvouched.iter().map(|unvouched| {
            json!({ "key": unvouched.key.id().to_string(), "last": unvouched.last })
        }).collect::<Vec<_>>(),
    });
    let fields = object.as_object_mut().into_iter();
    for fields in fields {
        match report.complete {
            Complete::UpTo(seq) => fields.insert("complete_up_to".into(), seq.into()),
            Complete::NoWitness => fields.insert("complete_unknown".into(), "no_witness".into()),
            Complete::WitnessedRemoved => fields.insert("complete_unknown".into(), "witnessed_removed".into()),
            Complete::BrokenBefore => fields.insert("complete_unknown".into(), "broken_before".into()),
        };
        if let Some(removed) = &report.removed {
            let removed = json!({ "through": removed.through, "reason": reason(removed.reason) });
            fields.insert("removed".into(), removed);
        }
        if let Some((segment, fault)) = &report.fault {
            let fault = json!({
                "segment": segment,
                "first": fault.first,
                "last": fault.last,
                "why": fault.why.to_string(),
            });
            fields.insert("fault".into(), fault);
        }
        // Each is a record; a line that is none stays a text.
        let lines = report
            .losses
            .iter()
            .map(|loss| serde_json::from_str::<Value>(&loss.line).unwrap_or_else(|_not_json| loss.line.clone().into()));
        fields.insert("loss_records".into(), lines.collect());
    }
    Ok(escape_json(&object.to_string()).into_owned() + "\n")
}
