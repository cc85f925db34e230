//! Small server bodies: error fields, command tags, parameter types (55.7, 55.8).

use model::statement::Outcome;

use crate::reader::Reader;
use crate::text;

/// Longest error message that is kept; PostgreSQL's own are far shorter, functions can raise any.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// The three fields of an ErrorResponse that are kept.
pub(crate) struct Failure {
    pub(crate) severity: String,
    pub(crate) sqlstate: String,
    pub(crate) message: String,
}

impl Failure {
    /// Fields are a code byte and a string each. `V` is the severity that is never localised; servers before 9.6
    /// send only `S`. `None`: the body was cut before severity and code were complete. A message that was cut is
    /// taken as far as it goes.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut failure = Self { severity: String::new(), sqlstate: String::new(), message: String::new() };
        let mut body = Reader::new(body);
        while let Some(code) = body.u8() {
            if code == 0 {
                break;
            }
            let value = match (code, body.cstr()) {
                (_, Some(value)) => value,
                (b'M', None) => body.rest(),
                (_, None) => break,
            };
            match code {
                b'V' => failure.severity = text::owned(value, 16),
                b'S' if failure.severity.is_empty() => failure.severity = text::owned(value, 16),
                b'C' => failure.sqlstate = text::owned(value, 5),
                b'M' => failure.message = text::owned(value, MESSAGE_BYTES_MAX),
                _ => {}
            }
        }
        (!failure.sqlstate.is_empty()).then_some(failure)
    }

    /// The server closes the connection after it.
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(&*self.severity, "FATAL" | "PANIC")
    }

    pub(crate) fn into_outcome(self) -> Outcome {
        Outcome::Failed { severity: self.severity, sqlstate: self.sqlstate, message: self.message }
    }
}

/// CommandComplete: the tag, and the row count that ends it for some commands.
pub(crate) fn command_tag(body: &[u8]) -> (String, Option<u64>) {
    let tag = Reader::new(body).cstr().unwrap_or(body);
    let tag = text::owned(tag, usize::MAX);
    let rows = tag.rsplit_once(' ').and_then(|(_, count)| count.parse().ok());
    (tag, rows)
}

/// ParameterDescription: object ids of the parameters' types; `None` if it was cut.
pub(crate) fn parameter_types(body: &[u8]) -> Option<Box<[u32]>> {
    let mut body = Reader::new(body);
    let count = body.u16()?;
    (0..count).map(|_| body.u32()).collect()
}
