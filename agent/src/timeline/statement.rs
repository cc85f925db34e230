//! A statement as one line: `time  #number  latency  result  text`.

use store::form::judgement::VerdictForm;
use store::form::statement::{OutcomeForm, ParameterForm, RequestForm, StatementForm};

use crate::terminal::{Style, Terminal, columns, escape, shorten};
use crate::words;

/// Results of one statement that are shown one by one.
const OUTCOMES_SHOWN: usize = 8;
/// Columns of the result in a terminal; and what is left to the text at least.
const RESULT_COLUMNS: usize = 48;
const TEXT_COLUMNS_MIN: usize = 24;
/// Columns of the text of a request.
const ASKED_COLUMNS: usize = 120;

/// The line of a statement, with newline. `clock` is its time of day.
pub(super) fn lines(form: &StatementForm<'_>, clock: String, terminal: Terminal) -> String {
    let latency = form.latency_us.map_or_else(|| "-".into(), words::duration);
    let head = format!("  {clock}  #{:<4} {latency:>11}  ", form.number);
    let (style, result) = result(form);
    let result = escape(&result);
    let text = text(form);
    let Some(width) = terminal.width else {
        return format!("{head}{result}  {text}\n");
    };
    let result = shorten(&result, RESULT_COLUMNS);
    let rest = width.saturating_sub(columns(&head) + columns(&result) + 2).max(TEXT_COLUMNS_MIN);
    format!("{}{}  {}\n", terminal.paint(Style::Quiet, &head), terminal.paint(style, &result), shorten(&text, rest))
}

/// A request, if it runs something: its statement follows when it is answered.
pub(super) fn asked(form: &RequestForm<'_>) -> Option<String> {
    if !matches!(&*form.kind, "simple" | "execute" | "function_call") {
        return None;
    }
    let text = match (&form.text, &form.text_unknown) {
        (Some(text), _) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        (None, Some(why)) if form.function.is_none() => format!("(text not known: {why})"),
        (None, _) => format!("function {}", form.function.unwrap_or_default()),
    };
    let denied = form.verdict.as_deref().and_then(denial).map_or_else(String::new, |denial| format!("{denial}  "));
    Some(format!("asked   {}{}", escape(&denied), shorten(&escape(&text), ASKED_COLUMNS)))
}

/// What was decided against it, not yet escaped: `refused by no-drop: DROP of table t (nobody drops tables)`.
fn denial(verdict: &VerdictForm<'_>) -> Option<String> {
    let rule = verdict.rule.as_deref()?;
    let decision = match &*verdict.decision {
        "would_refuse" => "would be refused",
        other => other,
    };
    let what = verdict.what.as_deref().map_or_else(String::new, |what| format!(": {what}"));
    let reason = verdict.reason.as_deref().filter(|reason| !reason.is_empty());
    Some(format!("{decision} by {rule}{what}{}", reason.map_or_else(String::new, |reason| format!(" ({reason})"))))
}

/// Which rules have masked columns of its result, not yet escaped: `masked by numbers, mail`.
fn masked(verdict: &VerdictForm<'_>) -> Option<String> {
    let mut rules: Vec<&str> = verdict.masked.iter().map(|masked| &*masked.rule).collect();
    rules.dedup();
    (verdict.mode == "enforce" && !rules.is_empty()).then(|| format!("masked by {}", rules.join(", ")))
}

/// What became of it, not yet escaped. Of what was refused, the rule says more than the error that the client was told.
fn result(form: &StatementForm<'_>) -> (Style, String) {
    let refusal = form.verdict.as_deref().filter(|verdict| verdict.decision == "refused").and_then(denial);
    if let Some(refusal) = refusal {
        return (Style::Bad, refusal);
    }
    let mut parts: Vec<String> = form.outcomes.iter().take(OUTCOMES_SHOWN).map(outcome).collect();
    let hidden = form.outcomes_dropped + form.outcomes.len().saturating_sub(OUTCOMES_SHOWN) as u64;
    if hidden > 0 {
        parts.push(format!("{hidden} more"));
    }
    match &*form.ending {
        "answered" => {}
        "discarded" => parts.push("discarded (an earlier message failed)".into()),
        "unanswered" => parts.push("not answered (the session ended)".into()),
        "lost" => parts.push("!! answer not observed".into()),
        other => parts.push(other.into()),
    }
    let denied = form.verdict.as_deref().and_then(denial);
    let is_denied = denied.is_some();
    parts.extend(denied);
    parts.extend(form.verdict.as_deref().and_then(masked));
    let failed = form.outcomes.iter().any(|outcome| outcome.sqlstate.is_some());
    let style = match &*form.ending {
        _ if failed => Style::Bad,
        _ if is_denied => Style::Warning,
        "answered" => Style::Good,
        "lost" => Style::Bad,
        _ => Style::Warning,
    };
    (style, if parts.is_empty() { "done".into() } else { parts.join("; ") })
}

fn outcome(form: &OutcomeForm<'_>) -> String {
    if let Some(sqlstate) = &form.sqlstate {
        let severity = form.severity.as_deref().unwrap_or("ERROR");
        let message = form.message.as_deref().unwrap_or("(message withheld)");
        return format!("{severity} {sqlstate}: {message}");
    }
    if form.suspended {
        return format!("{}, more to come", words::count(form.rows.unwrap_or(0), "row", "rows"));
    }
    match (&form.tag, &form.copy) {
        (Some(tag), _) => tag.clone().into_owned(),
        (None, Some(direction)) => format!("COPY {direction}"),
        (None, None) if form.empty => "empty query".into(),
        (None, None) if form.returned => "returned".into(),
        (None, None) => "(a result of a newer version)".into(),
    }
}

/// Its SQL text with what else the client said, escaped, on one line.
fn text(form: &StatementForm<'_>) -> String {
    let mut out = match &*form.kind {
        "simple" | "execute" => String::new(),
        "function_call" => format!("[function {}] ", form.function.unwrap_or(0)),
        kind => format!("[{}] ", escape(kind)),
    };
    match (&form.text, &form.text_unknown) {
        (Some(text), _) => out.push_str(&escape(text)),
        (None, Some(why)) if why == "none" => {}
        (None, Some(why)) => out.push_str(&format!("(text not known: {})", escape(&why.replace('_', " ")))),
        (None, None) => out.push_str("(text not known)"),
    }
    if let Some(bytes) = form.text_bytes {
        out.push_str(&format!("... ({bytes} bytes in all)"));
    }
    if let Some(values) = form.parameters.as_ref().filter(|values| !values.is_empty()) {
        let values: Vec<String> =
            values.iter().enumerate().map(|(index, value)| format!("${} = {}", index + 1, parameter(value))).collect();
        out.push_str(&format!("  [{}]", values.join(", ")));
    }
    if form.resumed {
        out.push_str("  (fetch from the same portal)");
    }
    if form.copy_bytes > 0 {
        out.push_str(&format!("  (COPY {})", words::bytes(form.copy_bytes)));
    }
    if form.redacted {
        out.push_str("  (redacted)");
    }
    out.trim_start().to_owned()
}

fn parameter(form: &ParameterForm<'_>) -> String {
    match &form.value {
        Some(value) => format!("'{}'", escape(value)),
        None if form.null => "NULL".into(),
        None if form.redacted => "(redacted)".into(),
        None => format!("({} bytes)", form.opaque_bytes.unwrap_or(0)),
    }
}
