//! The hand-written line against the same statement through the form and `serde_json`.

use model::id::{BootId, HostId, SocketCookie};
use model::time::BootTime;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::form::judgement_line::tests as judged;
use crate::form::statement::{OutcomeForm, ParameterForm, StatementForm};

/// The oracle: the form that is read back, built field by field.
fn form_of(session: SessionId, number: u64, statement: &Statement) -> StatementForm<'_> {
    let (text, text_bytes, text_unknown) = match &statement.text {
        Text::Whole(text) => (Some(&**text), None, None),
        Text::Truncated { beginning, bytes } => (Some(&**beginning), Some(*bytes), None),
        Text::Unknown(why) => (None, None, Some(unknown_word(*why))),
    };
    let function = match statement.kind {
        StatementKind::FunctionCall { function } => Some(function),
        _ => None,
    };
    let judged = statement.judgement.as_deref().map(judged::form_of).unwrap_or_default();
    StatementForm {
        session: session.into(),
        number,
        kind: kind_word(statement.kind).into(),
        function,
        text: text.map(Into::into),
        text_bytes,
        text_unknown: text_unknown.map(Into::into),
        prepared: statement.prepared.as_deref().map(Into::into),
        portal: statement.portal.as_deref().map(Into::into),
        parameters: statement.parameters.as_ref().map(|all| all.iter().map(parameter_form).collect()),
        row_limit: statement.row_limit.into(),
        resumed: statement.resumed,
        transaction_before: statement.transaction_before.map(|it| transaction_word(it).into()),
        transaction_after: statement.transaction_after.map(|it| transaction_word(it).into()),
        latency_us: statement.finished.map(|at| at.nanos_since(statement.started) / 1000),
        outcomes: statement.outcomes.iter().map(outcome_form).collect(),
        outcomes_dropped: statement.outcomes_dropped,
        rows_sent: statement.rows_sent,
        notices: statement.notices,
        copy_bytes: statement.copy_bytes,
        ending: ending_word(statement.ending).unwrap_or("answered").into(),
        redacted: statement.redacted,
        verdict: judged.verdict,
        effects: judged.effects,
        opaque: judged.opaque,
    }
}

fn parameter_form(parameter: &Parameter) -> ParameterForm<'_> {
    let form = ParameterForm { type_oid: parameter.type_oid, ..ParameterForm::default() };
    match &parameter.value {
        Value::Null => ParameterForm { null: true, ..form },
        Value::Readable(value) => ParameterForm { value: Some(value.into()), ..form },
        Value::Opaque { format, bytes } => {
            ParameterForm { opaque_bytes: Some(*bytes), format: Some(format_word(*format).into()), ..form }
        }
        Value::Redacted => ParameterForm { redacted: true, ..form },
    }
}

fn outcome_form(outcome: &Outcome) -> OutcomeForm<'_> {
    let form = OutcomeForm::default();
    match outcome {
        Outcome::Completed { tag, rows } => OutcomeForm { tag: Some(tag.into()), rows: *rows, ..form },
        Outcome::Failed { severity, sqlstate, message } => OutcomeForm {
            severity: Some(severity.into()),
            sqlstate: Some(sqlstate.into()),
            message: (!message.is_empty()).then(|| message.into()),
            ..form
        },
        Outcome::Empty => OutcomeForm { empty: true, ..form },
        Outcome::Suspended { rows } => OutcomeForm { suspended: true, rows: Some(*rows), ..form },
        Outcome::Returned => OutcomeForm { returned: true, ..form },
        Outcome::CopyStarted { direction } => OutcomeForm { copy: Some(direction_word(*direction).into()), ..form },
    }
}

/// Texts of every length around the scan, with and without what is escaped.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,40}",
        "[\\x00-\\x7f]{0,40}",
        any::<String>(),
        Just(String::new()),
        Just("SELECT '\u{2028}\u{2029}\u{7f}\u{85}\u{1f600}é'".to_owned()),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), 1..1000u64, any::<u64>()]
}

fn kind() -> impl Strategy<Value = StatementKind> {
    prop_oneof![
        Just(StatementKind::Simple),
        Just(StatementKind::Execute),
        Just(StatementKind::Parse),
        Just(StatementKind::Bind),
        Just(StatementKind::Describe),
        any::<u32>().prop_map(|function| StatementKind::FunctionCall { function }),
    ]
}

fn statement_text() -> impl Strategy<Value = Text> {
    const UNKNOWN: [UnknownText; 5] = [
        UnknownText::PreparedBeforeStart,
        UnknownText::Lost,
        UnknownText::NoSuchName,
        UnknownText::TooManyNames,
        UnknownText::None,
    ];
    prop_oneof![
        text().prop_map(|text| Text::Whole(text.into())),
        (text(), number()).prop_map(|(beginning, bytes)| Text::Truncated { beginning: beginning.into(), bytes }),
        prop::sample::select(&UNKNOWN[..]).prop_map(Text::Unknown),
    ]
}

fn parameter() -> impl Strategy<Value = Parameter> {
    let format = prop_oneof![Just(Format::Text), Just(Format::Binary)];
    let value = prop_oneof![
        Just(Value::Null),
        text().prop_map(Value::Readable),
        (format, number()).prop_map(|(format, bytes)| Value::Opaque { format, bytes }),
        Just(Value::Redacted),
    ];
    (any::<Option<u32>>(), value).prop_map(|(type_oid, value)| Parameter { type_oid, value })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let direction = prop_oneof![Just(CopyDirection::In), Just(CopyDirection::Out), Just(CopyDirection::Both)];
    prop_oneof![
        (text(), option::of(number())).prop_map(|(tag, rows)| Outcome::Completed { tag, rows }),
        (text(), text(), text()).prop_map(|(severity, sqlstate, message)| Outcome::Failed {
            severity,
            sqlstate,
            message
        }),
        Just(Outcome::Empty),
        number().prop_map(|rows| Outcome::Suspended { rows }),
        Just(Outcome::Returned),
        direction.prop_map(|direction| Outcome::CopyStarted { direction }),
    ]
}

fn transaction() -> impl Strategy<Value = Option<Transaction>> {
    option::of(prop_oneof![Just(Transaction::Idle), Just(Transaction::Open), Just(Transaction::Failed)])
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![Just(Ending::Answered), Just(Ending::Discarded), Just(Ending::Unanswered), Just(Ending::Lost)]
}

prop_compose! {
    fn statement()(
        (kind, text, prepared, portal) in (kind(), statement_text(), option::of(text()), option::of(text())),
        parameters in option::of(prop::collection::vec(parameter(), 0..5)),
        (row_limit, resumed, redacted) in (prop_oneof![Just(0), any::<u32>()], any::<bool>(), any::<bool>()),
        (transaction_before, transaction_after, ending) in (transaction(), transaction(), ending()),
        (started, finished) in (number(), option::of(number())),
        outcomes in prop::collection::vec(outcome(), 0..5),
        (outcomes_dropped, rows_sent, notices, copy_bytes) in (number(), number(), number(), number()),
        judgement in option::of(judged::judgement()),
    ) -> Statement {
        Statement {
            kind, text, prepared: prepared.map(Into::into), portal: portal.map(Into::into), parameters, row_limit,
            resumed, transaction_before, transaction_after, started: BootTime(started),
            finished: finished.map(BootTime), outcomes, outcomes_dropped, rows_sent, notices, copy_bytes, ending,
            redacted, judgement,
        }
    }
}

/// The line as an object of its own: without the common fields, and without the newline.
fn written(session: SessionId, number: u64, statement: &Statement) -> String {
    let mut out = Vec::new();
    write_statement(&mut out, session, number, statement);
    let line = String::from_utf8(out).unwrap();
    format!("{{{}", line.strip_prefix(',').unwrap().strip_suffix('\n').unwrap())
}

proptest! {
    #[test]
    fn a_statement_is_written_as_its_form(statement in statement(), number in number(), cookie in number()) {
        let session = SessionId { host: HostId(7 << 96), boot: BootId(9 << 96), cookie: SocketCookie(cookie) };
        let form = form_of(session, number, &statement);
        let line = written(session, number, &statement);
        prop_assert_eq!(&line, &serde_json::to_string(&form).unwrap());
        let read: StatementForm<'_> = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(&read, &form);
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), line);
    }
}

#[test]
fn every_character_is_escaped_as_serde_json_does_wherever_it_stands() {
    let characters = (0..=0x100).chain([0x2028, 0x2029, 0xfeff, 0xfffd, 0x1_f600, 0x10_ffff]);
    for character in characters.filter_map(char::from_u32) {
        for before in 0..2 * SCAN_BYTES {
            let text = format!("{}{character}{}{character}", "x".repeat(before), "y".repeat(SCAN_BYTES));
            let mut out = vec![b'"'];
            write_escaped(&mut out, text.as_bytes());
            out.push(b'"');
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        }
    }
}
