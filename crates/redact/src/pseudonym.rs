//! Replaces the values of a statement by fingerprints, as configuration wants it.

use std::borrow::Cow;
use std::sync::Arc;

use model::request::Request;
use model::statement::{Outcome, Parameter, Statement, Text, Value};

use crate::fingerprint::{Domain, Key, is_printed};
use crate::policy::Mode;
use crate::quoted::Doubt;
use crate::statement::Taint;
use crate::text::{self, Marks};
use crate::{WITHHELD_MESSAGE, number};

/// What a text that is withheld as a whole looks like: this, a fingerprint of the text, a quote.
const WITHHELD_TEXT: &str = "withheld '";

/// Likewise for messages, with a parenthesis.
const MESSAGE_MAY_QUOTE: &str = "message withheld: it may quote a value (";

/// SQLSTATEs of texts whose words may not be what they look like: a syntax error, and names that the server does not
/// know as column or table. A value that lacks its quotes, or has the wrong ones, ends in one of them.
const DOUBTFUL_SQLSTATES: [&str; 3] = ["42601", "42703", "42P01"];

/// Types whose text form is a number: int8, int2, int4, oid, float4, float8, numeric.
const NUMBER_TYPES: [u32; 7] = [20, 21, 23, 26, 700, 701, 1700];

/// See [`crate::statement_in_mode`].
pub(crate) fn replace(statement: &mut Statement, mode: Mode, taint: Taint, key: &Key) {
    if mode == Mode::None {
        return;
    }
    if mode.covers_literals() {
        let judged = Judged::by(&statement.outcomes);
        statement.redacted |= replace_text(&mut statement.text, judged, taint, key);
    }
    if mode.covers_parameters() {
        for parameter in statement.parameters.iter_mut().flatten() {
            statement.redacted |= replace_value(parameter, key);
        }
    }
    for outcome in &mut statement.outcomes {
        if let Outcome::Failed { message, .. } = outcome {
            statement.redacted |= replace_message(message, key);
        }
    }
}

/// See [`crate::request_in_mode`].
pub(crate) fn replace_request(request: &mut Request, mode: Mode, taint: Taint, key: &Key) {
    if mode.covers_literals() {
        request.redacted |= replace_text(&mut request.text, Judged::NotUnderstood, taint, key);
    }
    if mode.covers_parameters() {
        for parameter in request.parameters.iter_mut().flatten() {
            request.redacted |= replace_value(parameter, key);
        }
    }
}

/// Whether something was replaced; so the other functions below.
pub(crate) fn replace_text(text: &mut Text, judged: Judged, taint: Taint, key: &Key) -> bool {
    let (kept, replaced) = match text {
        Text::Unknown(_) => return false,
        Text::Whole(whole) | Text::Truncated { beginning: whole, .. } if is_mark(whole, WITHHELD_TEXT, "'") => {
            return false;
        }
        Text::Whole(whole) if judged == Judged::NotUnderstood => {
            let replaced = withheld(whole, &[], key);
            (whole, replaced)
        }
        Text::Whole(whole) => {
            let marks = match taint {
                Taint::Plain => Marks::Fingerprints(key),
                Taint::Tainted => Marks::Withheld,
            };
            let replaced = match text::replace(whole, marks) {
                Ok(None) => return false,
                Ok(Some(replaced)) => replaced,
                Err(Doubt) => withheld(whole, &[], key),
            };
            (whole, replaced)
        }
        // Where the text was cut, a value may be cut as well.
        Text::Truncated { beginning, bytes } => {
            let replaced = withheld(beginning, &bytes.to_be_bytes(), key);
            (beginning, replaced)
        }
    };
    *kept = Arc::from(replaced);
    true
}

/// What the server made of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It did not refuse its words, or its answer is not known.
    NotRefused,
    /// It did not understand it.
    NotUnderstood,
}

impl Judged {
    fn by(outcomes: &[Outcome]) -> Self {
        let refuses = |outcome: &Outcome| matches!(outcome, Outcome::Failed { sqlstate, .. } if DOUBTFUL_SQLSTATES.contains(&sqlstate.as_str()));
        if outcomes.iter().any(refuses) { Self::NotUnderstood } else { Self::NotRefused }
    }
}

/// A text of which nothing is kept. Cut texts are equal if their beginnings and their lengths are.
fn withheld(text: &str, length: &[u8], key: &Key) -> String {
    let mut out = WITHHELD_TEXT.to_owned();
    key.of(Domain::Text, &[length, text.as_bytes()]).push_to(&mut out);
    out.push('\'');
    out
}

fn replace_value(parameter: &mut Parameter, key: &Key) -> bool {
    // NULL and a length are kept; what was withheld as a secret has no fingerprint.
    let Value::Readable(value) = &mut parameter.value else {
        return false;
    };
    if is_printed(value.strip_prefix('-').unwrap_or(value).as_bytes()) {
        return false;
    }
    let is_number = parameter.type_oid.is_some_and(|oid| NUMBER_TYPES.contains(&oid));
    let (sign, canonical) =
        is_number.then(|| number::parameter(value)).flatten().unwrap_or(("", Cow::Borrowed(value.as_str())));
    let mut mark = sign.to_owned();
    key.of(Domain::Value, &[canonical.as_bytes()]).push_to(&mut mark);
    *value = mark;
    true
}

/// Every message: which of them quote a value depends on the server's language and on functions that raise their own.
fn replace_message(message: &mut String, key: &Key) -> bool {
    if message == WITHHELD_MESSAGE || is_mark(message, MESSAGE_MAY_QUOTE, ")") {
        return false;
    }
    let mut mark = MESSAGE_MAY_QUOTE.to_owned();
    key.of(Domain::Message, &[message.as_bytes()]).push_to(&mut mark);
    mark.push(')');
    *message = mark;
    true
}

fn is_mark(text: &str, beginning: &str, end: &str) -> bool {
    let inside = text.strip_prefix(beginning).and_then(|rest| rest.strip_suffix(end));
    inside.is_some_and(|inside| is_printed(inside.as_bytes()))
}
