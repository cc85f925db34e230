//! Events as lines.

use model::request::Request;
use model::statement::{Ending, Format, Outcome, Statement, StatementKind, Text, Value};
use model::wire::WireEvent;

pub fn event(event: &WireEvent) -> String {
    match event {
        WireEvent::Encryption(encryption) => format!("encryption {encryption:?}"),
        WireEvent::Startup { protocol: (major, minor), parameters } => {
            let parameters: String = parameters.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("startup {major}.{minor}{parameters}")
        }
        WireEvent::CancelRequested { pid } => format!("cancel {pid}"),
        WireEvent::AuthenticationRequested(method) => format!("authentication {method}"),
        WireEvent::Authenticated => "authenticated".to_owned(),
        WireEvent::BackendPid(pid) => format!("pid {pid}"),
        WireEvent::ParameterStatus { name, value } => format!("status {name}={value}"),
        WireEvent::Refused { severity, sqlstate, message } => format!("refused {severity} {sqlstate} {message}"),
        WireEvent::Requested(it) => request(it),
        WireEvent::Statement(it) => statement(it),
        WireEvent::Notification { channel } => format!("notification {channel}"),
        WireEvent::Terminated => "terminated".to_owned(),
        WireEvent::Gap { side, bytes } => format!("gap {side:?} {bytes:?}"),
        WireEvent::Violation { side, what } => format!("violation {side:?} {what}"),
    }
}

/// `KIND TEXT [NAMES] [(VALUES)] [COUNTS] BEFORE>AFTER STARTED-FINISHED [OUTCOMES] ENDING`; defaults are left out.
pub fn statement(it: &Statement) -> String {
    let mut parts = vec![kind(it.kind), text(&it.text)];
    if let Some(name) = &it.prepared {
        parts.push(format!("s={name}"));
    }
    if let Some(name) = &it.portal {
        parts.push(format!("p={name}"));
    }
    if let Some(parameters) = &it.parameters
        && !parameters.is_empty()
    {
        let values: Vec<_> = parameters.iter().map(|it| value(it.type_oid, &it.value)).collect();
        parts.push(format!("({})", values.join(", ")));
    }
    if it.parameters.is_none() && it.kind == StatementKind::Execute {
        parts.push("(?)".to_owned());
    }
    for (name, count) in [
        ("limit", u64::from(it.row_limit)),
        ("dropped", it.outcomes_dropped),
        ("rows", it.rows_sent),
        ("notices", it.notices),
        ("copied", it.copy_bytes),
    ] {
        if count > 0 {
            parts.push(format!("{name}={count}"));
        }
    }
    if it.resumed {
        parts.push("resumed".to_owned());
    }
    let letter = |status: Option<model::statement::Transaction>| {
        status.map_or('?', |status| format!("{status:?}").chars().next().unwrap_or('?'))
    };
    parts.push(format!("{}>{}", letter(it.transaction_before), letter(it.transaction_after)));
    let finished = it.finished.map_or(String::new(), |at| at.0.to_string());
    parts.push(format!("{}-{finished}", it.started.0));
    parts.push(format!("[{}]", it.outcomes.iter().map(outcome).collect::<Vec<_>>().join("; ")));
    if it.ending != Ending::Answered {
        parts.push(format!("{:?}", it.ending));
    }
    parts.join(" ")
}

/// `ask KIND TEXT [NAMES] [(VALUES)] AT [doubtful]`; defaults are left out.
pub fn request(it: &Request) -> String {
    let mut parts = vec!["ask".to_owned(), kind(it.kind), text(&it.text)];
    parts.extend(it.prepared.as_ref().map(|name| format!("s={name}")));
    parts.extend(it.portal.as_ref().map(|name| format!("p={name}")));
    if let Some(parameters) = &it.parameters {
        let values: Vec<_> = parameters.iter().map(|it| value(it.type_oid, &it.value)).collect();
        parts.push(format!("({})", values.join(", ")));
    }
    if it.row_limit > 0 {
        parts.push(format!("limit={}", it.row_limit));
    }
    parts.push(it.at.0.to_string());
    if it.doubtful {
        parts.push("doubtful".to_owned());
    }
    parts.join(" ")
}

fn kind(kind: StatementKind) -> String {
    match kind {
        StatementKind::FunctionCall { function } => format!("function({function})"),
        _ => format!("{kind:?}").to_lowercase(),
    }
}

fn text(text: &Text) -> String {
    match text {
        Text::Whole(text) => format!("'{text}'"),
        Text::Truncated { beginning, bytes } => format!("'{beginning}'..{bytes}"),
        Text::Unknown(reason) => format!("?{reason:?}"),
    }
}

fn value(type_oid: Option<u32>, value: &Value) -> String {
    let value = match value {
        Value::Null => "NULL".to_owned(),
        Value::Readable(text) => format!("'{text}'"),
        Value::Opaque { format: Format::Text, bytes } => format!("text[{bytes}]"),
        Value::Opaque { format: Format::Binary, bytes } => format!("binary[{bytes}]"),
        Value::Redacted => "redacted".to_owned(),
    };
    type_oid.map_or(value.clone(), |oid| format!("{value}:{oid}"))
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed { tag, rows: None } => tag.clone(),
        Outcome::Completed { tag, rows: Some(rows) } => format!("{tag} ={rows}"),
        Outcome::Failed { severity, sqlstate, message } => format!("{severity} {sqlstate} {message}"),
        Outcome::Empty => "empty".to_owned(),
        Outcome::Suspended { rows } => format!("suspended {rows}"),
        Outcome::Returned => "returned".to_owned(),
        Outcome::CopyStarted { direction } => format!("copy {direction:?}"),
    }
}
