//! What is asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::Known;
use model::facts::{OpaqueReason, StatementFacts};
use model::lineage::StoredColumn;
use model::principal::{Principal, UnknownPrincipal};
use model::time::WallTime;

use crate::granted::ActiveGrant;
use crate::session::SessionContext;

/// May this happen?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who acts, or why that is not known.
    pub principal: &'a Known<Principal, UnknownPrincipal>,
    /// What it would do.
    pub facts: Asked<'a>,
    /// On which session.
    pub session: &'a SessionContext,
    /// What the principal has been granted in this database and is active; none of it permits anything by itself.
    pub grants: &'a [ActiveGrant],
    /// When.
    pub now: WallTime,
}

/// What is to happen.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// A statement runs. What its facts call opaque is asked about as well.
    Statement(&'a StatementFacts),
    /// A text that is not understood as a whole runs.
    Opaque(OpaqueReason),
    /// The session is opened.
    Connect,
    /// The session is opened for replication.
    Replication,
    /// A protected column is read in clear.
    ReadClear(&'a Protected<'a>),
}

/// A column that is protected.
#[derive(Clone, Copy, Debug)]
pub struct Protected<'a> {
    /// The column; `*` for each part: any.
    pub column: &'a StoredColumn,
    /// Tags of what protects it.
    pub tags: &'a BTreeSet<Arc<str>>,
}

impl Asked<'_> {
    /// Is it something that runs in a session, and not the opening of one?
    pub(crate) const fn is_statement(self) -> bool {
        matches!(self, Self::Statement(_) | Self::Opaque(_))
    }
}
