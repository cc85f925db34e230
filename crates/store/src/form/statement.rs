//! The statement object: the hot one, 25,000 a second.

use std::borrow::Cow;

use model::id::SessionId;
use model::statement::{
    CopyDirection, Ending, Format, Outcome, Parameter, Statement, StatementKind, Text, Transaction, UnknownText, Value,
};
use serde::{Deserialize, Serialize};

use super::identity::SessionText;
use super::{is_false, is_zero};

/// A statement as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatementForm<'a> {
    /// Session id.
    pub session: SessionText,
    /// Number within the session, from 1.
    pub number: u64,
    /// `simple`, `execute`, `parse`, `bind`, `describe`, `function_call`.
    pub kind: Cow<'a, str>,
    /// Oid of the called function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<u32>,
    /// SQL text, or its beginning if `text_bytes` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    /// Length of the whole text, if `text` is only its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_bytes: Option<u64>,
    /// Why there is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_unknown: Option<Cow<'a, str>>,
    /// Name of the prepared statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepared: Option<Cow<'a, str>>,
    /// Name of the portal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portal: Option<Cow<'a, str>>,
    /// Bound values; absent: not observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Vec<ParameterForm<'a>>>,
    /// Row limit of the Execute.
    #[serde(skip_serializing_if = "is_zero")]
    pub row_limit: u64,
    /// The portal had been executed before.
    #[serde(skip_serializing_if = "is_false")]
    pub resumed: bool,
    /// `idle`, `open`, `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_before: Option<Cow<'a, str>>,
    /// `idle`, `open`, `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_after: Option<Cow<'a, str>>,
    /// From receipt to last response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// Results in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<OutcomeForm<'a>>,
    /// Results that were only counted.
    #[serde(skip_serializing_if = "is_zero")]
    pub outcomes_dropped: u64,
    /// Rows sent to the client.
    pub rows_sent: u64,
    /// Notices sent while it ran.
    #[serde(skip_serializing_if = "is_zero")]
    pub notices: u64,
    /// Bytes of COPY data.
    #[serde(skip_serializing_if = "is_zero")]
    pub copy_bytes: u64,
    /// `answered` (left out), `discarded`, `unanswered`, `lost`.
    #[serde(default = "answered", skip_serializing_if = "is_answered")]
    pub ending: Cow<'a, str>,
    /// Something was withheld because it may be a secret.
    #[serde(skip_serializing_if = "is_false")]
    pub redacted: bool,
}

/// A bound value as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ParameterForm<'a> {
    /// Type oid.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_oid: Option<u32>,
    /// Readable value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Cow<'a, str>>,
    /// SQL NULL.
    #[serde(skip_serializing_if = "is_false")]
    pub null: bool,
    /// Length of a value that is not decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opaque_bytes: Option<u64>,
    /// Format of a value that is not decoded: `text`, `binary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Cow<'a, str>>,
    /// Withheld.
    #[serde(skip_serializing_if = "is_false")]
    pub redacted: bool,
}

/// A result as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutcomeForm<'a> {
    /// Command tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Cow<'a, str>>,
    /// Portal suspended at its row limit.
    #[serde(skip_serializing_if = "is_false")]
    pub suspended: bool,
    /// Row count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Severity of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Cow<'a, str>>,
    /// SQLSTATE of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<Cow<'a, str>>,
    /// Message of an error; absent where it was withheld.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Cow<'a, str>>,
    /// Empty query.
    #[serde(skip_serializing_if = "is_false")]
    pub empty: bool,
    /// Function call returned.
    #[serde(skip_serializing_if = "is_false")]
    pub returned: bool,
    /// COPY began: `in`, `out`, `both`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<Cow<'a, str>>,
}

impl<'a> StatementForm<'a> {
    /// The form of one statement record.
    #[must_use]
    pub fn new(session: SessionId, number: u64, statement: &'a Statement) -> Self {
        let (text, text_bytes, text_unknown) = text_fields(&statement.text);
        Self {
            session: session.into(),
            number,
            kind: kind_word(statement.kind).into(),
            function: match statement.kind {
                StatementKind::FunctionCall { function } => Some(function),
                _ => None,
            },
            text,
            text_bytes,
            text_unknown,
            prepared: statement.prepared.as_deref().map(Cow::from),
            portal: statement.portal.as_deref().map(Cow::from),
            parameters: statement.parameters.as_ref().map(|all| all.iter().map(ParameterForm::from).collect()),
            row_limit: statement.row_limit.into(),
            resumed: statement.resumed,
            transaction_before: statement.transaction_before.map(transaction_word),
            transaction_after: statement.transaction_after.map(transaction_word),
            latency_us: statement.finished.map(|at| at.nanos_since(statement.started) / 1000),
            outcomes: statement.outcomes.iter().map(OutcomeForm::from).collect(),
            outcomes_dropped: statement.outcomes_dropped,
            rows_sent: statement.rows_sent,
            notices: statement.notices,
            copy_bytes: statement.copy_bytes,
            ending: ending_word(statement.ending).into(),
            redacted: statement.redacted,
        }
    }
}

type TextFields<'a> = (Option<Cow<'a, str>>, Option<u64>, Option<Cow<'a, str>>);

fn text_fields(text: &Text) -> TextFields<'_> {
    match text {
        Text::Whole(text) => (Some((&**text).into()), None, None),
        Text::Truncated { beginning, bytes } => (Some((&**beginning).into()), Some(*bytes), None),
        Text::Unknown(why) => {
            let word = match why {
                UnknownText::PreparedBeforeStart => "prepared_before_start",
                UnknownText::Lost => "lost",
                UnknownText::NoSuchName => "no_such_name",
                UnknownText::TooManyNames => "too_many_names",
                UnknownText::None => "none",
            };
            (None, None, Some(word.into()))
        }
    }
}

impl<'a> From<&'a Parameter> for ParameterForm<'a> {
    fn from(parameter: &'a Parameter) -> Self {
        let form = Self { type_oid: parameter.type_oid, ..Self::default() };
        match &parameter.value {
            Value::Null => Self { null: true, ..form },
            Value::Readable(value) => Self { value: Some((&**value).into()), ..form },
            Value::Opaque { format, bytes } => {
                let word = match format {
                    Format::Text => "text",
                    Format::Binary => "binary",
                };
                Self { opaque_bytes: Some(*bytes), format: Some(word.into()), ..form }
            }
            Value::Redacted => Self { redacted: true, ..form },
        }
    }
}

impl<'a> From<&'a Outcome> for OutcomeForm<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        let form = Self::default();
        match outcome {
            Outcome::Completed { tag, rows } => Self { tag: Some((&**tag).into()), rows: *rows, ..form },
            Outcome::Failed { severity, sqlstate, message } => Self {
                severity: Some((&**severity).into()),
                sqlstate: Some((&**sqlstate).into()),
                message: (!message.is_empty()).then(|| (&**message).into()),
                ..form
            },
            Outcome::Empty => Self { empty: true, ..form },
            Outcome::Suspended { rows } => Self { suspended: true, rows: Some(*rows), ..form },
            Outcome::Returned => Self { returned: true, ..form },
            Outcome::CopyStarted { direction } => {
                let word = match direction {
                    CopyDirection::In => "in",
                    CopyDirection::Out => "out",
                    CopyDirection::Both => "both",
                };
                Self { copy: Some(word.into()), ..form }
            }
        }
    }
}

const fn kind_word(kind: StatementKind) -> &'static str {
    match kind {
        StatementKind::Simple => "simple",
        StatementKind::Execute => "execute",
        StatementKind::Parse => "parse",
        StatementKind::Bind => "bind",
        StatementKind::Describe => "describe",
        StatementKind::FunctionCall { .. } => "function_call",
    }
}

const fn ending_word(ending: Ending) -> &'static str {
    match ending {
        Ending::Answered => "answered",
        Ending::Discarded => "discarded",
        Ending::Unanswered => "unanswered",
        Ending::Lost => "lost",
    }
}

const fn transaction_word(transaction: Transaction) -> Cow<'static, str> {
    Cow::Borrowed(match transaction {
        Transaction::Idle => "idle",
        Transaction::Open => "open",
        Transaction::Failed => "failed",
    })
}

fn answered() -> Cow<'static, str> {
    "answered".into()
}

fn is_answered(ending: &str) -> bool {
    ending == "answered"
}
