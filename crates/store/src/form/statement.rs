//! The statement object as it is read back. Its writer is `statement_line`; the two stay the same by test.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::identity::SessionText;
use super::judgement::{EffectForm, VerdictForm};
use super::{is_false, is_zero};

/// A statement as it is read.
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
    /// What was decided about it before it was forwarded; absent: nobody decided, or it is not known what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Box<VerdictForm<'a>>>,
    /// What it does, as far as it is understood; only beside `verdict`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<EffectForm<'a>>,
    /// Why a part of it is not understood; absent beside `verdict`: all of it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub opaque: Vec<Cow<'a, str>>,
}

/// `request`: what a client asked for through the proxy, before its outcome is known. Fields as in [`StatementForm`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestForm<'a> {
    /// Session id.
    pub session: SessionText,
    /// `simple`, `execute`, `parse`, `bind`, `function_call`.
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
    /// Values of a Bind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Vec<ParameterForm<'a>>>,
    /// Row limit of the Execute.
    #[serde(skip_serializing_if = "is_zero")]
    pub row_limit: u64,
    /// An unanswered message may have changed what the name stands for.
    #[serde(skip_serializing_if = "is_false")]
    pub doubtful: bool,
    /// Something was withheld because it may be a secret.
    #[serde(skip_serializing_if = "is_false")]
    pub redacted: bool,
    /// What was decided about it before it was forwarded; absent: nobody decided, or it is not known what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Box<VerdictForm<'a>>>,
    /// What it does, as far as it is understood; only beside `verdict`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<EffectForm<'a>>,
    /// Why a part of it is not understood; absent beside `verdict`: all of it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub opaque: Vec<Cow<'a, str>>,
}

/// A bound value as it is read.
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

/// A result as it is read.
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

fn answered() -> Cow<'static, str> {
    "answered".into()
}

fn is_answered(ending: &str) -> bool {
    ending == "answered"
}
