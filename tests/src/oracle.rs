//! Compares what the agent recorded with what the server logged: two multisets of messages.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use crate::events::{self, Event, Parameter, Statement};
use crate::server_log::{LoggedKind, LoggedMessage};

/// Lines of a report per side: enough to see the pattern.
const REPORT_LINES_MAX: usize = 15;

/// What the two witnesses do not agree on.
#[derive(Debug, Default)]
pub struct Difference {
    /// Logged by the server, not recorded.
    pub missing: Vec<LoggedMessage>,
    /// Recorded, not logged by the server.
    pub invented: Vec<LoggedMessage>,
    /// How many messages both saw.
    pub agreed: usize,
}

impl Difference {
    /// Whether both multisets are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.invented.is_empty()
    }

    /// A readable account.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text =
            format!("{} agreed, {} missing, {} invented\n", self.agreed, self.missing.len(), self.invented.len());
        for (title, side) in [("missing", &self.missing), ("invented", &self.invented)] {
            for message in side.iter().take(REPORT_LINES_MAX) {
                // A String takes every write.
                let _ = writeln!(text, "  {title}: {message:?}");
            }
        }
        text
    }
}

/// Compares the server's messages with the agent's events. Only backends that `logged` speaks of are compared on
/// the server's side; every statement of the agent must be among them.
#[must_use]
pub fn compare(logged: &[LoggedMessage], recorded: &[Event]) -> Difference {
    let mut open = count(logged.iter().cloned());
    let backends = backends(recorded);
    let (mut invented, mut agreed) = (Vec::new(), 0);
    for statement in events::statements(recorded).filter(|statement| server_logs(statement)) {
        let pid = backends.get(statement.session.as_str()).copied().unwrap_or_default();
        let message = message(pid, statement);
        let refusal = LoggedMessage { kind: LoggedKind::Refused, parameters: Vec::new(), ..message.clone() };
        if take(&mut open, &message) || (statement.failed() && take(&mut open, &refusal)) {
            agreed += 1;
        } else {
            invented.push(message);
        }
    }
    let missing = open.into_iter().flat_map(|(message, count)| std::iter::repeat_n(message, count)).collect();
    Difference { missing, invented, agreed }
}

/// Whether the server logs such a message: not one that it skipped, and not the execution of an empty statement.
fn server_logs(statement: &Statement) -> bool {
    let skipped = statement.ending.as_deref() == Some("discarded");
    let empty_execute = statement.kind == "execute" && statement.outcomes.iter().any(|outcome| outcome.empty);
    !skipped && !empty_execute
}

fn count(messages: impl Iterator<Item = LoggedMessage>) -> BTreeMap<LoggedMessage, usize> {
    let mut counts = BTreeMap::new();
    for message in messages {
        *counts.entry(message).or_insert(0) += 1;
    }
    counts
}

fn take(open: &mut BTreeMap<LoggedMessage, usize>, message: &LoggedMessage) -> bool {
    let Some(count) = open.get_mut(message) else { return false };
    *count -= 1;
    if *count == 0 {
        open.remove(message);
    }
    true
}

/// The backend process of each session.
fn backends(recorded: &[Event]) -> HashMap<&str, u32> {
    let sessions = events::sessions(recorded).into_iter();
    sessions.filter_map(|(id, session)| Some((id, session.server.as_ref()?.pid))).collect()
}

fn message(pid: u32, statement: &Statement) -> LoggedMessage {
    let kind = match (statement.kind.as_str(), statement.function) {
        ("simple", _) => LoggedKind::Simple,
        ("execute", _) => LoggedKind::Execute {
            prepared: statement.prepared.clone().unwrap_or_default(),
            portal: statement.portal.clone().unwrap_or_default(),
            resumed: statement.resumed,
        },
        ("function_call", Some(function)) => LoggedKind::FunctionCall { function },
        _ => LoggedKind::Refused,
    };
    let is_execute = matches!(kind, LoggedKind::Execute { .. });
    let parameters = statement.parameters.iter().flatten().filter(|_| is_execute).map(value).collect();
    let text = match (&statement.text, &statement.text_unknown) {
        (Some(text), _) => text.clone(),
        (None, Some(reason)) if reason != "none" => format!("<unknown: {reason}>"),
        (None, _) => String::new(),
    };
    LoggedMessage { pid, kind, text, parameters }
}

fn value(parameter: &Parameter) -> Option<String> {
    match parameter {
        Parameter { null: true, .. } => None,
        Parameter { value: Some(value), .. } => Some(value.clone()),
        Parameter { opaque_bytes: Some(bytes), oid, .. } => Some(format!("<opaque: {bytes} bytes of type {oid:?}>")),
        _ => Some("<redacted>".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> Event {
        serde_json::from_str(json).expect("a documented record")
    }

    fn opened() -> Event {
        event(r#"{"v":1,"seq":1,"time":"t","type":"session.open","session":"s","server":{"pid":7}}"#)
    }

    fn logged(kind: LoggedKind, text: &str, parameters: &[Option<&str>]) -> LoggedMessage {
        let parameters = parameters.iter().map(|value| value.map(str::to_owned)).collect();
        LoggedMessage { pid: 7, kind, text: text.to_owned(), parameters }
    }

    fn check(logged: &[LoggedMessage], statements: &[&str], expected: (usize, usize, usize)) {
        let recorded: Vec<Event> = std::iter::once(opened()).chain(statements.iter().map(|json| event(json))).collect();
        let found = compare(logged, &recorded);
        assert_eq!((found.agreed, found.missing.len(), found.invented.len()), expected, "{}", found.report());
    }

    const SELECT: &str = r#"{"v":1,"seq":2,"time":"t","type":"statement","session":"s","number":1,"kind":"simple","text":"select 1","outcomes":[{"tag":"SELECT 1","rows":1}]}"#;

    #[test]
    fn equal_multisets_agree_and_repetition_counts() {
        check(&[logged(LoggedKind::Simple, "select 1", &[])], &[SELECT], (1, 0, 0));
        check(&[logged(LoggedKind::Simple, "select 1", &[])], &[SELECT, SELECT], (1, 0, 1));
        check(
            &[logged(LoggedKind::Simple, "select 1", &[]), logged(LoggedKind::Simple, "select 2", &[])],
            &[SELECT],
            (1, 1, 0),
        );
    }

    #[test]
    fn an_execute_agrees_only_with_its_parameters() {
        let kind = LoggedKind::Execute { prepared: "p".into(), portal: String::new(), resumed: false };
        let statement = r#"{"v":1,"seq":2,"time":"t","type":"statement","session":"s","number":1,"kind":"execute","text":"select $1, $2","prepared":"p","portal":"","parameters":[{"type":23,"value":"4"},{"null":true}],"outcomes":[{"tag":"SELECT 1"}]}"#;
        check(&[logged(kind.clone(), "select $1, $2", &[Some("4"), None])], &[statement], (1, 0, 0));
        check(&[logged(kind, "select $1, $2", &[Some("5"), None])], &[statement], (0, 1, 1));
    }

    #[test]
    fn a_failed_statement_agrees_with_a_refusal_and_a_discarded_one_is_not_expected() {
        let failed = r#"{"v":1,"seq":2,"time":"t","type":"statement","session":"s","number":1,"kind":"parse","text":"selec","outcomes":[{"severity":"ERROR","sqlstate":"42601","message":"m"}]}"#;
        let discarded = r#"{"v":1,"seq":3,"time":"t","type":"statement","session":"s","number":2,"kind":"execute","text":"selec","outcomes":[],"ending":"discarded"}"#;
        check(&[logged(LoggedKind::Refused, "selec", &[])], &[failed, discarded], (1, 0, 0));
    }
}
