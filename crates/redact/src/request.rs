//! Takes secrets out of a request, by the rules of statements.

use model::request::Request;
use model::statement::{Text, UnknownText};

use crate::statement::{Taint, Values, redact_text, withhold_values};

/// See [`crate::request()`].
pub(crate) fn redact(request: &mut Request) -> Taint {
    let taint = redact_text(&mut request.text);
    let may_be_judged = match &request.text {
        Text::Whole(_) | Text::Unknown(UnknownText::NoSuchName) => taint == Taint::Plain && !request.doubtful,
        Text::Truncated { .. } | Text::Unknown(_) => false,
    };
    let values = if may_be_judged { Values::Judge } else { Values::Withhold };
    request.redacted |= taint == Taint::Tainted;
    request.redacted |= withhold_values(&mut request.parameters, &values);
    taint
}
