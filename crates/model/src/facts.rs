//! What a statement would do, said before it runs: the language between whoever reads SQL and whoever decides.
//!
//! What is not understood is [`OpaqueReason`], never an empty list of effects.

use std::sync::Arc;

use crate::Known;
use crate::lineage::Lineage;
use crate::words::words;

/// What one text (a Query message, or the text of a prepared statement) would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Its statements in order; empty for a text without any (comments, whitespace).
    pub statements: Vec<StatementFacts>,
    /// The text as a whole is not understood, for this reason; then `statements` is empty.
    pub opaque: Option<OpaqueReason>,
}

/// What one statement would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StatementFacts {
    /// What it is, in the words of the server's command tags where it has one: `SELECT`, `CREATE TABLE`, `EXPLAIN`.
    pub command: Arc<str>,
    /// Everything it does, nested statements, views and functions that are understood included. Each once.
    pub effects: Vec<Effect>,
    /// Row limit of the outermost query, where it is a constant.
    pub limit: Option<u64>,
    /// What it changes about the session: what statements behind it mean depends on it.
    pub changes: Vec<StateChange>,
    /// Parts that are not understood; empty: everything is.
    pub opaque: Vec<OpaqueReason>,
    /// Where values come from; `None`: nobody asked, or parts are not understood. Not part of a record.
    pub lineage: Option<Arc<Lineage>>,
}

impl StatementFacts {
    /// Where its values come from, or why nobody knows.
    ///
    /// # Errors
    /// The reason.
    pub fn traced(&self) -> Result<&Lineage, OpaqueReason> {
        let why = || self.opaque.first().copied().unwrap_or(OpaqueReason::Construct);
        self.lineage.as_deref().ok_or_else(why)
    }

    /// Whether it runs code of which nobody has said what it does: a parameter, and so the meaning of every name behind
    /// it, may be another one then. What the server's own functions do is in other effects.
    #[must_use]
    pub fn runs_code(&self) -> bool {
        let is_servers = |name: &Name| name.schema.known().is_some_and(|schema| **schema == *"pg_catalog");
        self.effects.iter().any(|effect| match &effect.object {
            Object::Function(name) => effect.action == Action::Call && !is_servers(name),
            _ => false,
        })
    }
}

/// One thing that a statement does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Effect {
    /// What.
    pub action: Action,
    /// To what.
    pub object: Object,
    /// Which columns of it.
    pub columns: Columns,
    /// Which rows of it (UPDATE, DELETE and SELECT; [`Condition::NotApplicable`] otherwise).
    pub condition: Condition,
}

words! {
    /// What a statement does to an object. Append-only: records and policies name them.
    Action {
        /// Reads rows.
        Select = "select",
        /// Adds rows.
        Insert = "insert",
        /// Changes rows.
        Update = "update",
        /// Removes rows.
        Delete = "delete",
        /// The MERGE command itself, besides what its branches do.
        Merge = "merge",
        /// Empties a relation.
        Truncate = "truncate",
        /// Takes a lock: LOCK, or a locking clause.
        Lock = "lock",
        /// COPY ... TO: besides [`Action::Select`].
        CopyOut = "copy_out",
        /// COPY ... FROM: besides [`Action::Insert`].
        CopyIn = "copy_in",
        /// Calls a function or procedure that is not known to be free of effects.
        Call = "call",
        /// Runs a program on the server (COPY ... PROGRAM, an untrusted language).
        Program = "program",
        /// Reads or writes a file of the server.
        ServerFile = "server_file",
        /// CREATE.
        Create = "create",
        /// ALTER, also RENAME, OWNER, COMMENT and SECURITY LABEL.
        Alter = "alter",
        /// DROP.
        Drop = "drop",
        /// GRANT and ALTER DEFAULT PRIVILEGES; attributes, members and passwords of roles; OWNER.
        Grant = "grant",
        /// REVOKE.
        Revoke = "revoke",
        /// SET ROLE, SET SESSION AUTHORIZATION.
        SetRole = "set_role",
        /// SET and RESET of a parameter, `set_config`.
        SetParameter = "set_parameter",
        /// SHOW.
        Show = "show",
        /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT and the like.
        Transaction = "transaction",
        /// PREPARE, DEALLOCATE.
        Prepare = "prepare",
        /// EXECUTE of a statement that SQL prepared.
        Execute = "execute",
        /// DECLARE, FETCH, MOVE, CLOSE.
        Cursor = "cursor",
        /// EXPLAIN, besides what an ANALYZE does.
        Explain = "explain",
        /// LISTEN, UNLISTEN.
        Listen = "listen",
        /// NOTIFY.
        Notify = "notify",
        /// VACUUM, ANALYZE, REINDEX, CLUSTER, REFRESH MATERIALIZED VIEW.
        Maintain = "maintain",
        /// DO, CALL, functions that are made in another language than SQL, extensions: code whose effects are not read.
        Code = "code",
        /// ALTER SYSTEM, CHECKPOINT, LOAD, signals to other backends: the server itself.
        Admin = "admin",
        /// A replication command.
        Replicate = "replicate",
        /// DISCARD.
        Discard = "discard",
    }
}

/// What an effect is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// A table, view, materialized view, foreign table or sequence.
    Relation(Name),
    /// A function or procedure.
    Function(Name),
    /// A schema.
    Schema(Arc<str>),
    /// A role; `None`: the one that the session began with.
    Role(Option<Arc<str>>),
    /// A configuration parameter; `None`: all of them.
    Parameter(Option<Arc<str>>),
    /// A prepared statement, cursor, savepoint or notification channel of this session; `None`: all of them, or none.
    Session(Option<Arc<str>>),
    /// Another database object: its kind in the words of the server's tags (`INDEX`, `TYPE`, `EXTENSION`), and its name
    /// where it has one.
    Other {
        /// What it is.
        kind: Arc<str>,
        /// Its name.
        name: Option<Name>,
    },
    /// The database or the server as a whole.
    Server,
}

/// A name that may be qualified.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The schema that it is in.
    pub schema: Known<Arc<str>, UnknownSchema>,
    /// As the server stores it: folded, unquoted.
    pub name: Arc<str>,
}

words! {
    /// Why the schema of a name is not known.
    UnknownSchema {
        /// There is no snapshot of the catalogue.
        NoCatalogue = "no_catalogue",
        /// The snapshot has no such name in the search path.
        NotFound = "not_found",
        /// The search path is not known.
        SearchPath = "search_path",
        /// The name may stand for an object that this session has made since the snapshot.
        Changed = "changed",
    }
}

/// Columns that an effect touches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Columns {
    /// The object has none, or none is named: `SELECT count(*)`.
    #[default]
    None,
    /// All of them: `*`, a whole-row reference, INSERT without a list.
    All,
    /// These, sorted.
    Named(Vec<Arc<str>>),
    /// Which ones is not known without the catalogue: names that could belong to several relations.
    Unknown,
}

words! {
    /// The kind of a where-clause: how many rows an effect can have.
    Condition {
        /// The effect has no where-clause.
        NotApplicable = "not_applicable",
        /// Every row: no WHERE, or one that does not look at the relation (`WHERE true`, `WHERE 1 = 1`).
        Everything = "everything",
        /// A WHERE that looks at the relation.
        Some = "some",
    }
}

words! {
    /// Why something is not understood.
    OpaqueReason {
        /// PostgreSQL's grammar does not accept the text.
        Syntax = "syntax",
        /// The two parsers read different actions.
        Disagreement = "disagreement",
        /// It is longer, deeper or has more statements than the analysis takes.
        TooLarge = "too_large",
        /// The analysis took longer than it may.
        Timeout = "timeout",
        /// The grammar accepts something that the analysis does not know.
        Construct = "construct",
        /// Not valid UTF-8, a NUL, or an encoding in which bytes mean something else.
        Encoding = "encoding",
        /// The message was not seen whole.
        Incomplete = "incomplete",
        /// The name of a prepared statement, portal or cursor whose text is not known for certain.
        UnknownName = "unknown_name",
        /// A session setting changes the meaning of the text in a way that is not followed.
        SessionState = "session_state",
        /// A FunctionCall message: it names the function by a number.
        FunctionCall = "function_call",
        /// Code in another language (DO, CREATE FUNCTION bodies that run here).
        Code = "code",
        /// Text that is made while the statement runs (`query_to_xml`, `dblink`).
        DynamicSql = "dynamic_sql",
    }
}

/// What a statement changes about its session, once it has succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StateChange {
    /// A parameter was set.
    Parameter {
        /// Its name, folded.
        name: Arc<str>,
        /// Its new value as text; `None`: its default, or not known.
        value: Option<Arc<str>>,
        /// Only until the end of the transaction.
        local: bool,
    },
    /// All parameters are at their defaults.
    ResetAll,
    /// Everything is at its defaults: parameters, names, temporary objects.
    DiscardAll,
    /// The role changed.
    Role,
    /// SQL has prepared a statement.
    Prepared {
        /// Its name.
        name: Arc<str>,
        /// What it does.
        facts: Arc<StatementFacts>,
    },
    /// SQL runs a statement that it prepared.
    Executes {
        /// Its name.
        name: Arc<str>,
    },
    /// SQL forgets a prepared statement; `None`: all of them.
    Deallocated {
        /// Its name.
        name: Option<Arc<str>>,
    },
    /// A transaction begins.
    Begin,
    /// A transaction ends: COMMIT, ROLLBACK, PREPARE TRANSACTION.
    End,
    /// Parameters go back to what they were: ROLLBACK TO SAVEPOINT.
    RolledBackTo,
    /// Objects of the catalogue are not what the snapshot says.
    Catalogue,
    /// Relations of this name, and what is made of them, are not what the snapshot says.
    Relation {
        /// The name, in whatever schema.
        name: Arc<str>,
        /// The statement has made it, in this schema: it was not there before, and holds nothing.
        made_in: Option<Arc<str>>,
    },
    /// Functions, operators or casts are not what the snapshot says: a name of the server may mean another one.
    Functions,
    /// The session has a temporary object of that name: it hides others.
    Temporary {
        /// Its name; `None`: not known.
        name: Option<Arc<str>>,
    },
}

impl StateChange {
    /// Whether something of the catalogue is not what the snapshot says.
    #[must_use]
    pub const fn is_of_catalogue(&self) -> bool {
        matches!(self, Self::Catalogue | Self::Relation { .. } | Self::Functions)
    }
}
