//! Takes secrets out of a decoded statement.

use std::sync::Arc;

use model::statement::{Outcome, Parameter, Statement, Text, UnknownText, Value};

use crate::{Judgement, WITHHELD_MESSAGE, sql, taint};

/// Which of a statement's values may be kept.
pub(crate) enum Values {
    /// The text is harmless: a value goes by its own form.
    Judge,
    /// The text is unknown in part: none may be kept.
    Withhold,
}

/// Whether a text speaks of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taint {
    /// It does not, or there is none.
    Plain,
    /// It does.
    Tainted,
}

/// See [`crate::statement()`].
pub(crate) fn redact(statement: &mut Statement) -> Taint {
    if redact_text(&mut statement.text) == Taint::Tainted {
        return withhold_rest(statement);
    }
    let values = match &statement.text {
        Text::Whole(_) => Values::Judge,
        // No such name: nothing ran, and the message can only quote the name.
        Text::Unknown(UnknownText::NoSuchName) => Values::Judge,
        // The message may quote what is not known.
        Text::Truncated { .. }
        | Text::Unknown(
            UnknownText::PreparedBeforeStart | UnknownText::Lost | UnknownText::TooManyNames | UnknownText::None,
        ) => {
            withhold_messages(&mut statement.outcomes, &mut statement.redacted);
            Values::Withhold
        }
    };
    let withheld = withhold_values(&mut statement.parameters, &values);
    if withheld {
        statement.redacted = true;
        // PostgreSQL quotes values: `invalid input syntax for type integer: "..."`.
        withhold_messages(&mut statement.outcomes, &mut statement.redacted);
    }
    // What code on the server says of itself: `cannot reach postgres://...`.
    withhold_messages_if(&mut statement.outcomes, &mut statement.redacted, taint::is_secret_value);
    Taint::Plain
}

/// Replaces the literals of a text that speaks of a secret.
pub(crate) fn redact_text(text: &mut Text) -> Taint {
    let (Text::Whole(text) | Text::Truncated { beginning: text, .. }) = text else {
        return Taint::Plain;
    };
    let Judgement::Tainted(kept) = sql(text) else {
        return Taint::Plain;
    };
    *text = Arc::from(kept);
    Taint::Tainted
}

/// A tainted statement: its text is replaced already.
fn withhold_rest(statement: &mut Statement) -> Taint {
    withhold_values(&mut statement.parameters, &Values::Withhold);
    withhold_messages(&mut statement.outcomes, &mut statement.redacted);
    statement.redacted = true;
    Taint::Tainted
}

/// Whether a value was withheld.
pub(crate) fn withhold_values(parameters: &mut Option<Vec<Parameter>>, values: &Values) -> bool {
    let mut withheld = false;
    for parameter in parameters.iter_mut().flatten() {
        let is_secret = match (values, &parameter.value) {
            (Values::Withhold, _) => true,
            (Values::Judge, Value::Readable(value)) => taint::is_secret_value(value),
            (Values::Judge, Value::Null | Value::Opaque { .. } | Value::Redacted) => false,
        };
        if is_secret {
            parameter.value = Value::Redacted;
            withheld = true;
        }
    }
    withheld
}

fn withhold_messages(outcomes: &mut [Outcome], redacted: &mut bool) {
    withhold_messages_if(outcomes, redacted, |_any| true);
}

fn withhold_messages_if(outcomes: &mut [Outcome], redacted: &mut bool, is_secret: impl Fn(&str) -> bool) {
    for outcome in outcomes {
        if let Outcome::Failed { message, .. } = outcome
            && is_secret(message)
        {
            message.clear();
            message.push_str(WITHHELD_MESSAGE);
            *redacted = true;
        }
    }
}
