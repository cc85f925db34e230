//! What a client asked for, said before anybody knows what becomes of it.

use std::sync::Arc;

use crate::statement::{Parameter, StatementKind, Text};
use crate::time::BootTime;
use crate::verdict::Judgement;

/// One complete message that asks for something: Query, Parse, Bind, Execute or FunctionCall.
///
/// What names stand for is what is known when the message is complete; earlier messages may not be answered then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which message. Never [`StatementKind::Describe`].
    pub kind: StatementKind,
    /// SQL text; of a Bind or Execute that of its prepared statement.
    pub text: Text,
    /// An earlier message without an answer may have changed what the name stands for: the text can be another's.
    pub doubtful: bool,
    /// Prepared statement name; `None` for the simple protocol, empty for the unnamed statement.
    pub prepared: Option<Arc<str>>,
    /// Portal name; `None` where the message has none, empty for the unnamed portal.
    pub portal: Option<Arc<str>>,
    /// Values of a Bind in order, with types as far as they are known. `None`: not seen, or no Bind.
    pub parameters: Option<Vec<Parameter>>,
    /// Row limit of an Execute; 0 is no limit.
    pub row_limit: u32,
    /// When the last byte of the message was received.
    pub at: BootTime,
    /// Something in it was withheld because it may be a secret.
    pub redacted: bool,
    /// What was decided about it before it was forwarded. `None`: nobody decided, or it is not known what.
    pub judgement: Option<Arc<Judgement>>,
}
