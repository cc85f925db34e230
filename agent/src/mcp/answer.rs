//! What a tool answers: a JSON object, or a failure that a model can act on.

use rmcp::model::CallToolResult;
use serde::Serialize;
use serde_json::{Value, json};

use crate::control::client::ClientError;

/// What to do where whoever refused has not said it.
const ASK: &str = "explain_statement says which action on what is refused; request_grant asks for access to it";

/// What a tool answers.
pub(super) type Answer = Result<Value, Failure>;

/// Why a tool has not done what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Failure {
    /// A rule does not allow it.
    Refusal(Refusal),
    /// It failed.
    Error {
        /// For programs: SQLSTATE, or a word.
        code: String,
        /// What happened.
        message: String,
        /// What to do about it.
        how_to_proceed: String,
    },
}

/// What a rule has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Refusal {
    /// The rule: the `@id` of a policy; `default` where none allows it.
    pub(super) rule: String,
    /// Why.
    pub(super) why: String,
    /// What to do instead.
    pub(super) how_to_proceed: String,
    /// What is refused.
    pub(super) what: String,
    /// As clients of the database see it.
    pub(super) sqlstate: String,
}

impl Failure {
    /// A failure with its remedy.
    pub(super) fn new(code: &str, message: impl Into<String>, how_to_proceed: impl Into<String>) -> Self {
        Self::Error { code: code.to_owned(), message: message.into(), how_to_proceed: how_to_proceed.into() }
    }

    /// For programs.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Refusal(refusal) => &refusal.sqlstate,
            Self::Error { code, .. } => code,
        }
    }

    /// A failure with its causes; what to do is in their words.
    pub(super) fn of(code: &str, error: &anyhow::Error) -> Self {
        Self::new(code, format!("{error:#}"), "correct what the message says, or tell the people who run Warder")
    }
}

impl Refusal {
    /// Never without something to do.
    pub(super) fn how_to_proceed(remedy: &str) -> String {
        if remedy.is_empty() { ASK.to_owned() } else { remedy.to_owned() }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused { code, message } => Self::new(
                &code,
                message,
                "ask for less, for a shorter time, or for what a policy lets you ask for; a person may have to ask",
            ),
            other => Self::of("agent", &other.into()),
        }
    }
}

/// As the protocol has it. A failure is a result that the model sees, not an error of the protocol.
pub(super) fn result(answer: Answer) -> CallToolResult {
    answer.map_or_else(|failure| CallToolResult::structured_error(json!(failure)), CallToolResult::structured)
}

/// The same with what was said meanwhile.
pub(super) fn result_with(answer: Answer, notices: Vec<Value>) -> CallToolResult {
    let noted = |mut value: Value| {
        if let Value::Object(fields) = &mut value {
            fields.insert("notices".into(), notices.into());
        }
        value
    };
    match answer {
        Ok(value) => CallToolResult::structured(noted(value)),
        Err(failure) => CallToolResult::structured_error(noted(json!(failure))),
    }
}
