//! What was decided about a message, as it is read back. Its writer is `judgement_line`; the two stay the same by test.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::is_false;

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerdictForm<'a> {
    /// `allowed`; `refused`: it did not reach the server; `would_refuse`: it did, because the mode does not enforce.
    pub decision: Cow<'a, str>,
    /// The policy that forbids it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Cow<'a, str>>,
    /// What is forbidden, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<Cow<'a, str>>,
    /// Why it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// Number of the policy set.
    pub epoch: u64,
    /// `observe`, `warn`, `enforce`.
    pub mode: Cow<'a, str>,
    /// Policies that allow it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_by: Vec<Cow<'a, str>>,
    /// Bounds that come with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obligations: Option<ObligationsForm>,
    /// Somebody had to approve it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldForm<'a>>,
    /// Columns of the result that the client gets masked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<MaskedForm<'a>>,
}

/// A column that the client gets masked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MaskedForm<'a> {
    /// The rule that hides it.
    pub rule: Cow<'a, str>,
    /// `schema.relation.column`; absent: it is not known where the values come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<Cow<'a, str>>,
}

/// Why somebody had to approve it first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HoldForm<'a> {
    /// The policy that does not let it run unattended.
    pub rule: Cow<'a, str>,
    /// What it is about, for people.
    pub what: Cow<'a, str>,
    /// Why it waits.
    pub reason: Cow<'a, str>,
    /// The request that it waited for; absent: it did not wait, because the mode does not enforce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<Cow<'a, str>>,
}

/// Bounds that come with a permission; absent: no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObligationsForm {
    /// Rows that one statement may return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_max: Option<u64>,
    /// Bytes that one statement may return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
    /// Milliseconds that one statement may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_max_ms: Option<u64>,
    /// Statements of the principal in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u64>,
}

/// One thing that the message does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EffectForm<'a> {
    /// What: `select`, `drop`, …
    pub action: Cow<'a, str>,
    /// To what: `relation`, `function`, `schema`, `role`, `parameter`, `session`, `server`, or the kind of another object
    /// as the server's command tags name it (`INDEX`).
    pub object: Cow<'a, str>,
    /// Schema that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Cow<'a, str>>,
    /// Why its schema is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_unknown: Option<Cow<'a, str>>,
    /// Its name; absent: it has none, or all of the kind are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
    /// Columns, where they are named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Cow<'a, str>>,
    /// All columns.
    #[serde(skip_serializing_if = "is_false")]
    pub all_columns: bool,
    /// Which columns is not known.
    #[serde(skip_serializing_if = "is_false")]
    pub columns_unknown: bool,
    /// `everything`, `some`; absent: rows are not what it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Cow<'a, str>>,
}
