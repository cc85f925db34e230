//! Why something was not done, as HTTP says it.

use http::StatusCode;
use web::answer::{self, Answer};

use crate::control::client::ClientError;

/// A status, a word for programs, a text for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    status: StatusCode,
    code: String,
    message: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "not_a_request", message)
    }

    pub(super) fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many ask at once; try again in some seconds")
    }

    /// Where it is and why not is for the log, not for other hosts.
    pub(super) fn silent() -> Self {
        let text = "the agent does not answer; try again, and if it stays so, tell the people who run Warder";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "agent", text)
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    pub(super) fn answer(&self) -> Answer {
        answer::error(self.status, &self.code, &self.message)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused { code, message } => Self { status: status(&code), code, message },
            _ => Self::silent(),
        }
    }
}

/// Of the words of the control socket.
fn status(code: &str) -> StatusCode {
    match code {
        "scope" | "too_much" | "unknown_database" => StatusCode::BAD_REQUEST,
        "no_token" | "token" => StatusCode::UNAUTHORIZED,
        "policy" | "person" => StatusCode::FORBIDDEN,
        "no_grant" | "unknown_grant" => StatusCode::NOT_FOUND,
        "state" | "digest" => StatusCode::CONFLICT,
        "request_too_long" => StatusCode::PAYLOAD_TOO_LARGE,
        "too_many" => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
