//! Statements that wait for an approval, on the line between a worker of the proxy and the core: the worker says what
//! waits, the core what becomes of it.

use std::sync::Arc;

use guard::{Announcement, Answer, Denied, Question};
use model::Known;
use model::access::{GrantId, StatementDigest};
use model::facts::{Condition, Effect, Facts, Name, Object};
use model::id::DatabaseId;
use model::statement::{Format, Parameter, Value};
use proxy::Held;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::form::access::HolderForm;

/// Effects of one statement that are shown; whoever has more of them is told so.
const EFFECTS_MAX: usize = 64;
/// Of BackendKeyData: the server's process; its key follows.
const PID_BYTES: usize = 4;

/// A statement waits. Its text and values are in the packet's record, as [`ShownStatement`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HoldAsk {
    pub(crate) connection: u64,
    /// Who acts, as the session knows.
    pub(crate) holder: Option<HolderForm<'static>>,
    /// Number of the hold within its worker.
    pub(crate) hold: u64,
    pub(crate) database: u16,
    pub(crate) sql_database: String,
    /// Over the exact text and values.
    pub(crate) digest: [u8; 32],
    /// The policy that asks, what it is about, and why.
    pub(crate) rule: String,
    pub(crate) what: String,
    pub(crate) reason: String,
    pub(crate) in_transaction: bool,
    /// Process of the server that serves the session.
    pub(crate) server_pid: Option<u32>,
    /// What names a cancel request of this client, see [`cancel_name`].
    pub(crate) cancel: Option<[u8; 32]>,
}

/// What an approver sees of a statement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShownStatement {
    pub(crate) text: String,
    pub(crate) parameters: Vec<ShownValue>,
    pub(crate) effects: Vec<ShownEffect>,
    /// Effects that are not among them.
    pub(crate) effects_more: usize,
    /// Parts that are not understood, in fixed words.
    pub(crate) opaque: Vec<String>,
    /// Commands of its statements: `DELETE`.
    pub(crate) commands: Vec<String>,
    /// Schemas in which names are looked up; `None`: not known.
    pub(crate) search_path: Option<Vec<String>>,
}

/// A value that is bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ShownValue {
    Null,
    Text(String),
    /// It cannot be read here: so many bytes, in the binary format or not.
    Unreadable {
        bytes: u64,
        binary: bool,
    },
    /// It may be a secret.
    Withheld,
}

/// One thing that the statement does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShownEffect {
    /// As policies call it: `Delete`.
    pub(crate) action: String,
    /// `relation`, `function`, ...
    pub(crate) kind: String,
    /// `schema.name`; a schema that is not known is `?`.
    pub(crate) name: Option<String>,
    /// Every row of it.
    pub(crate) every_row: bool,
}

/// What the core says about a hold.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HoldWord {
    /// Somebody was asked, and the client is to be told: grant, approvers, until when. It waits at most so many seconds.
    Asked { grant: String, approvers: String, until: String, seconds: u64 },
    /// Exactly this may run.
    Approved { grant: String },
    /// It may not.
    Denied { grant: Option<String>, why: DenialWord },
}

/// Why it may not.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum DenialWord {
    Refused(String),
    TimedOut,
    Cancelled,
    Unavailable(String),
}

impl HoldAsk {
    /// What waits, and what is shown of it.
    pub(crate) fn new(hold: u64, held: &Held) -> (Self, ShownStatement) {
        let Question { digest, hold: why, holder, in_transaction, cancel_key, .. } = &*held.question;
        let key = cancel_key.as_deref();
        let ask = Self {
            holder: holder.as_ref().map(|holder| HolderForm::from(holder).into_owned()),
            connection: held.connection.0,
            hold,
            database: held.database.0,
            sql_database: held.sql_database.to_string(),
            digest: digest.0,
            rule: why.rule.to_string(),
            what: why.what.to_string(),
            reason: why.reason.to_string(),
            in_transaction: *in_transaction,
            server_pid: key.and_then(|key| Some(u32::from_be_bytes(key.get(..PID_BYTES)?.try_into().ok()?))),
            cancel: key.map(|key| cancel_name(held.database, key)),
        };
        (ask, ShownStatement::of(&held.question))
    }

    pub(crate) const fn digest(&self) -> StatementDigest {
        StatementDigest(self.digest)
    }
}

/// What a cancel request is called between processes: its key stays where it is.
pub(crate) fn cancel_name(database: DatabaseId, key: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"warder cancel\0")
        .chain_update(database.0.to_be_bytes())
        .chain_update(key)
        .finalize()
        .into()
}

impl ShownStatement {
    fn of(question: &Question) -> Self {
        let Question { text, parameters, facts, search_path, .. } = question;
        let effects: Vec<_> = facts.statements.iter().flat_map(|statement| &statement.effects).collect();
        Self {
            text: text.to_string(),
            parameters: parameters.iter().map(ShownValue::of).collect(),
            effects: effects.iter().take(EFFECTS_MAX).map(|effect| ShownEffect::of(effect)).collect(),
            effects_more: effects.len().saturating_sub(EFFECTS_MAX),
            opaque: opaque(facts),
            commands: facts.statements.iter().map(|statement| statement.command.to_string()).collect(),
            search_path: search_path.as_ref().map(|path| path.iter().map(ToString::to_string).collect()),
        }
    }
}

fn opaque(facts: &Facts) -> Vec<String> {
    let parts = facts.statements.iter().flat_map(|statement| &statement.opaque);
    facts.opaque.iter().chain(parts).map(|reason| reason.word().to_owned()).collect()
}

impl ShownValue {
    fn of(parameter: &Parameter) -> Self {
        match &parameter.value {
            Value::Null => Self::Null,
            Value::Readable(text) => Self::Text(text.clone()),
            Value::Opaque { format, bytes } => Self::Unreadable { bytes: *bytes, binary: *format == Format::Binary },
            Value::Redacted => Self::Withheld,
        }
    }
}

impl ShownEffect {
    fn of(effect: &Effect) -> Self {
        let (kind, name) = match &effect.object {
            Object::Relation(name) => ("relation", Some(qualified(name))),
            Object::Function(name) => ("function", Some(qualified(name))),
            Object::Schema(name) => ("schema", Some(name.to_string())),
            Object::Role(name) => ("role", name.as_deref().map(str::to_owned)),
            Object::Parameter(name) => ("parameter", name.as_deref().map(str::to_owned)),
            Object::Session(name) => ("session", name.as_deref().map(str::to_owned)),
            Object::Other { kind, name } => (&**kind, name.as_ref().map(qualified)),
            Object::Server => ("server", None),
        };
        Self {
            action: policy::action_name(effect.action),
            kind: kind.to_owned(),
            name,
            every_row: effect.condition == Condition::Everything,
        }
    }
}

fn qualified(name: &Name) -> String {
    let schema = match &name.schema {
        Known::Known(schema) => schema,
        Known::Unknown(_) => "?",
    };
    format!("{schema}.{}", name.name)
}

impl HoldWord {
    /// For whoever waits; `None`: it is no word about a hold.
    pub(crate) fn into_word(self) -> Option<proxy::Word> {
        let word = match self {
            Self::Asked { grant, approvers, until, .. } => proxy::Word::Asked(Announcement {
                grant: GrantId::parse(&grant)?,
                approvers: approvers.into(),
                until: until.into(),
            }),
            Self::Approved { grant } => proxy::Word::Answered(Answer::Approved(GrantId::parse(&grant)?)),
            Self::Denied { grant, why } => {
                let grant = grant.as_deref().and_then(GrantId::parse);
                proxy::Word::Answered(Answer::Denied(grant, why.denied()))
            }
        };
        Some(word)
    }
}

impl DenialWord {
    fn denied(self) -> Denied {
        match self {
            Self::Refused(words) => Denied::Refused(Arc::from(words)),
            Self::TimedOut => Denied::TimedOut,
            Self::Cancelled => Denied::Cancelled,
            Self::Unavailable(words) => Denied::Unavailable(Arc::from(words)),
        }
    }
}
