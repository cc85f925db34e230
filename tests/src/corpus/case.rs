//! What a case is, once it has been read and checked.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// One attempt, or one thing that has to go on working.
#[derive(Clone, Debug)]
pub struct Case {
    /// The evasion class, or who sends such statements.
    pub class: String,
    /// Unique in its class.
    pub name: String,
    /// Evasive: the policy that must stop it. Harmless: the strictest policy that must let it pass.
    pub policy: Policy,
    /// What is expected of it.
    pub purpose: Purpose,
    /// Statements of the observer before the case.
    pub setup: Vec<String>,
    /// Statements of the observer behind it, where it may touch more than its database.
    pub cleanup: Vec<String>,
    /// Parameters of the start-up packet.
    pub startup: BTreeMap<String, String>,
    /// Ways of sending it; each is played by itself.
    pub variants: Vec<Vec<Step>>,
}

impl Case {
    /// Whether it is about another session.
    #[must_use]
    pub fn needs_bystander(&self) -> bool {
        matches!(&self.purpose, Purpose::Evasive(effect) if matches!(effect.sight, Sight::Bystander))
    }

    /// The expression that its client asks its session for at the end.
    #[must_use]
    pub fn session_sight(&self) -> Option<&str> {
        match &self.purpose {
            Purpose::Evasive(Effect { sight: Sight::Session(expression), .. }) => Some(expression),
            _ => None,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.class, self.name)
    }
}

/// What is expected of a case.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// It tries to have this effect.
    Evasive(Effect),
    /// It is answered as the server answers it.
    Harmless(Answered),
}

/// How a server without a guard answers a harmless case.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// Its last row, values with `|` in between, where the case pins it.
    pub row: Option<String>,
    /// SQLSTATE of the error that the server itself answers with.
    pub error: Option<String>,
}

/// Something that can be seen to have happened.
#[derive(Clone, Debug)]
pub struct Effect {
    /// Where one looks.
    pub sight: Sight,
    /// What is seen when it did not happen.
    pub unharmed: String,
    /// What is seen when it did; anything but `unharmed` where the case does not say.
    pub harmed: Option<String>,
}

/// Where an effect is seen.
#[derive(Clone, Debug)]
pub enum Sight {
    /// A query of the observer: its rows, or `error` and the SQLSTATE.
    Observer(String),
    /// A scalar expression in the session of the case.
    Session(String),
    /// What the client was told contains this text.
    Told(String),
    /// Another session, straight to the server, that waits for something during the case: whether it gets it, or the
    /// SQLSTATE that ends the wait. Its `application_name` is `bystander`.
    Bystander,
}

/// What kind of policy a case is about: who holds it may do everything that it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Nothing is written, in whatever way.
    ReadOnly,
    /// No object is made, changed or dropped.
    NoDdl,
    /// No UPDATE or DELETE of every row, no TRUNCATE.
    NoUnboundedWrites,
    /// No file of the server, and no program on it.
    NoFileAccess,
    /// The session stays who it is, and nobody's rights change.
    NoRoleChange,
    /// The protected relations (`vault.secrets`) are not read.
    NoSecrets,
    /// No code whose effects cannot be read, no text that is made while it runs, no other server.
    NoHiddenCode,
    /// No setting of the session that changes what statements mean or how long they may run.
    NoSessionChange,
    /// Not the server itself: its configuration, signals to other sessions, replication.
    NoAdmin,
    /// Everything: a harmless case that only has to be answered as it is directly.
    Anything,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ReadOnly,
        Self::NoDdl,
        Self::NoUnboundedWrites,
        Self::NoFileAccess,
        Self::NoRoleChange,
        Self::NoSecrets,
        Self::NoHiddenCode,
        Self::NoSessionChange,
        Self::NoAdmin,
        Self::Anything,
    ];
}

/// What a client does in one go.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// One Query message.
    Query(String),
    /// One Query message whose characters up to U+00FF are sent as one byte each: other encodings.
    QueryBytes(String),
    /// Parse, Bind, Describe, Execute, Sync.
    Extended(Extended),
    /// A Query message that is answered with CopyInResponse, then data and CopyDone.
    CopyIn(CopyIn),
    /// A Query message that is answered with CopyOutResponse.
    CopyOut(String),
    /// FunctionCall.
    FunctionCall(FunctionCall),
    /// Messages that are sent at once.
    Messages(Vec<Message>),
    /// A CancelRequest on a connection of its own, with the key of the bystander.
    CancelBystander(Empty),
    /// A statement that is cancelled on a connection of its own as soon as it runs.
    Cancelled(String),
    /// A command of psql, or SQL that it changes before it sends it.
    Psql(String),
    /// A program of PostgreSQL with its arguments.
    Program(Vec<String>),
}

/// A step without further words.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// One statement in the extended protocol.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extended {
    /// Its text.
    pub sql: String,
    /// Its parameters, as text.
    #[serde(default)]
    pub parameters: Vec<String>,
}

/// COPY with data of the client.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyIn {
    /// COPY ... FROM STDIN.
    pub sql: String,
    /// The data.
    pub data: String,
}

/// A function that is called by its number.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionCall {
    /// As a `regprocedure`; the observer looks its number up.
    pub function: String,
    /// As text.
    pub arguments: Vec<String>,
}

/// One message (manual, "Message Formats").
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Message {
    /// Query.
    Query(String),
    /// Parse: name of the statement, text.
    Parse(String, String),
    /// Bind with text parameters: portal, statement, parameters.
    Bind(String, String, Vec<String>),
    /// Describe a portal.
    DescribePortal(String),
    /// Describe a statement.
    DescribeStatement(String),
    /// Execute: portal, maximum number of rows.
    Execute(String, u32),
    /// Close a statement.
    CloseStatement(String),
    /// Close a portal.
    ClosePortal(String),
    /// FunctionCall.
    FunctionCall(FunctionCall),
    /// CopyData.
    CopyData(String),
    /// CopyDone.
    CopyDone(Empty),
    /// Flush.
    Flush(Empty),
    /// Sync.
    Sync(Empty),
    /// How many ReadyForQuery follow, where that is not the number of Query, FunctionCall and Sync: a server that
    /// skips messages behind an error does not answer them.
    Answers(u32),
}
