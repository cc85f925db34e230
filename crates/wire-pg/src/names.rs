//! What the session's names stand for: prepared statements and portals (55.2.3 Extended Query).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use model::statement::{Text, UnknownText};

use crate::bound::Bound;
use crate::limits::Limits;
use crate::text;

/// A prepared statement.
pub(crate) struct Prepared {
    pub(crate) text: Text,
    /// Parameter types that the Parse declares; 0 where it leaves them to the server.
    pub(crate) declared: Box<[u32]>,
    /// Parameter types of a ParameterDescription.
    pub(crate) described: OnceLock<Box<[u32]>>,
}

impl Prepared {
    pub(crate) fn type_oid(&self, index: usize) -> Option<u32> {
        let described = self.described.get().and_then(|types| types.get(index));
        described.or_else(|| self.declared.get(index)).copied().filter(|oid| *oid != 0)
    }

    pub(crate) fn retained_bytes(&self) -> usize {
        let described = self.described.get().map_or(0, |types| size_of_val(&**types));
        size_of::<Self>()
            .saturating_add(text::retained(&self.text))
            .saturating_add(size_of_val(&*self.declared))
            .saturating_add(described)
    }
}

/// A prepared statement, or why it is not known.
pub(crate) type Source = Result<Arc<Prepared>, UnknownText>;

/// A bound portal.
#[derive(Clone)]
pub(crate) struct Portal {
    /// Name of its prepared statement.
    pub(crate) statement: Arc<str>,
    pub(crate) source: Source,
    pub(crate) bound: Arc<Bound>,
    /// An Execute of it has succeeded.
    pub(crate) executed: bool,
}

impl Portal {
    fn retained_bytes(&self) -> usize {
        self.bound.retained_bytes().saturating_add(self.statement.len())
    }
}

/// The names of one session, or those of a batch that may never take effect.
#[derive(Default)]
pub(crate) struct Names {
    statements: HashMap<Arc<str>, Arc<Prepared>>,
    portals: HashMap<Arc<str>, Portal>,
    bytes: usize,
    /// Why a statement may exist that is not in the map; `None`: the map is complete.
    statements_missing: Option<UnknownText>,
    portals_missing: Option<UnknownText>,
    /// The unnamed statement is in the map or does not exist.
    unnamed_settled: bool,
    /// A `DEALLOCATE` of one name was seen: some name in the map may be stale.
    stale: bool,
}

impl Names {
    pub(crate) fn new(missing: Option<UnknownText>) -> Self {
        Self {
            statements_missing: missing,
            portals_missing: missing,
            unnamed_settled: missing.is_none(),
            ..Self::default()
        }
    }

    pub(crate) fn statement(&self, name: &str) -> Option<&Arc<Prepared>> {
        self.statements.get(name)
    }

    pub(crate) fn portal(&self, name: &str) -> Option<&Portal> {
        self.portals.get(name)
    }

    /// Why a statement that is not in the map may exist.
    pub(crate) fn statement_missing(&self, name: &str) -> Option<UnknownText> {
        self.statements_missing.filter(|_| !(name.is_empty() && self.unnamed_settled))
    }

    pub(crate) const fn portal_missing(&self) -> Option<UnknownText> {
        self.portals_missing
    }

    /// ParseComplete.
    pub(crate) fn prepare(&mut self, name: Arc<str>, prepared: Arc<Prepared>, limits: &Limits) {
        self.drop_statement(&name);
        let bytes = name.len().saturating_add(prepared.retained_bytes());
        if !name.is_empty() && self.is_full(self.statements.len(), bytes, limits) {
            self.statements_missing = Some(UnknownText::TooManyNames);
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.statements.insert(name, prepared);
    }

    /// BindComplete.
    pub(crate) fn bind(&mut self, name: Arc<str>, portal: Portal, limits: &Limits) {
        self.drop_portal(&name);
        let bytes = name.len().saturating_add(portal.retained_bytes());
        if !name.is_empty() && self.is_full(self.portals.len(), bytes, limits) {
            self.portals_missing = Some(UnknownText::TooManyNames);
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.portals.insert(name, portal);
    }

    fn is_full(&self, names: usize, bytes: usize, limits: &Limits) -> bool {
        names as u64 >= u64::from(limits.names_max)
            || self.bytes.saturating_add(bytes) as u64 > u64::from(limits.name_bytes_max)
    }

    pub(crate) fn set_executed(&mut self, portal: &str) {
        if let Some(portal) = self.portals.get_mut(portal) {
            portal.executed = true;
        }
    }

    /// ParameterDescription of a statement.
    pub(crate) fn describe(&mut self, name: &str, types: Box<[u32]>, limits: &Limits) {
        let Some(prepared) = self.statements.get(name) else {
            return;
        };
        let bytes = size_of_val(&*types);
        let room = self.bytes.saturating_add(bytes) as u64 <= u64::from(limits.name_bytes_max);
        if (name.is_empty() || room) && prepared.described.set(types).is_ok() {
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    /// Close of a statement, or its replacement. Portals that were bound from it stay: the manual closes them too, the
    /// server keeps them usable, and either way its answer tells.
    pub(crate) fn drop_statement(&mut self, name: &str) {
        self.unnamed_settled |= name.is_empty();
        if let Some((name, prepared)) = self.statements.remove_entry(name) {
            self.bytes = self.bytes.saturating_sub(name.len().saturating_add(prepared.retained_bytes()));
        }
    }

    /// Close of a portal, or its replacement.
    pub(crate) fn drop_portal(&mut self, name: &str) {
        if let Some((name, portal)) = self.portals.remove_entry(name) {
            self.bytes = self.bytes.saturating_sub(name.len().saturating_add(portal.retained_bytes()));
        }
    }

    /// A simple Query destroys the unnamed statement and the unnamed portal.
    pub(crate) fn drop_unnamed(&mut self) {
        self.drop_statement("");
        self.drop_portal("");
    }

    /// The transaction has ended, and with it every portal. (Cursors `WITH HOLD` are made by SQL and not known here.)
    pub(crate) fn end_transaction(&mut self) {
        self.portals_missing = None;
        self.drop_portals();
    }

    fn drop_portals(&mut self) {
        if !self.portals.is_empty() {
            let bytes = self.portals.iter().map(|(name, portal)| name.len().saturating_add(portal.retained_bytes()));
            self.bytes = self.bytes.saturating_sub(bytes.sum());
            self.portals.clear();
            self.portals.shrink_to(1);
        }
    }

    /// `DEALLOCATE ALL`, `DISCARD ALL`: no statement exists now.
    pub(crate) fn drop_all_statements(&mut self) {
        let portals: usize =
            self.portals.iter().map(|(name, portal)| name.len().saturating_add(portal.retained_bytes())).sum();
        self.statements = HashMap::new();
        self.bytes = portals;
        self.statements_missing = None;
        self.unnamed_settled = true;
        self.stale = false;
    }

    /// Nothing is known for certain any more.
    pub(crate) fn forget(&mut self, reason: UnknownText) {
        *self = Self::new(Some(reason));
    }

    /// The names that `touched` defines are not certain any more; other absent names may exist.
    pub(crate) fn forget_touched(&mut self, touched: &Self, reason: UnknownText) {
        for name in touched.statements.keys() {
            self.drop_statement(name);
        }
        // The transaction may have ended.
        self.forget_portals(reason);
        self.statements_missing = self.statements_missing.or(Some(reason));
        self.unnamed_settled = false;
    }

    /// What a command tag says about names that SQL manages. Which name a `DEALLOCATE` meant is not known; its entry
    /// is harmless until a `PREPARE` gives the name a new meaning.
    pub(crate) fn apply_tag(&mut self, tag: &str) {
        match tag {
            "DISCARD ALL" => {
                self.drop_all_statements();
                self.end_transaction();
            }
            "DEALLOCATE ALL" => self.drop_all_statements(),
            "DEALLOCATE" => self.stale = true,
            "PREPARE" if self.stale => self.forget_statements(),
            "COMMIT" | "PREPARE TRANSACTION" => self.end_transaction(),
            "CLOSE CURSOR" | "CLOSE CURSOR ALL" => self.drop_portals(),
            _ => {}
        }
    }

    /// No portal is known for certain any more.
    pub(crate) fn forget_portals(&mut self, reason: UnknownText) {
        self.drop_portals();
        self.portals_missing = Some(reason);
    }

    fn forget_statements(&mut self) {
        let missing = self.statements_missing.or(Some(UnknownText::None));
        self.drop_all_statements();
        self.statements_missing = missing;
    }

    pub(crate) fn retained_bytes(&self) -> usize {
        let entry = size_of::<(Arc<str>, Arc<Prepared>)>().saturating_add(1);
        let statements = self.statements.capacity().saturating_mul(entry);
        let portal = size_of::<(Arc<str>, Portal)>().saturating_add(1);
        self.bytes.saturating_add(statements).saturating_add(self.portals.capacity().saturating_mul(portal))
    }
}
