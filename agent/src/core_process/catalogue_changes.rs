//! Which catalogues have changed, as far as the sessions through the proxy have changed them.

use std::collections::HashSet;
use std::sync::Arc;

use model::facts::StateChange;
use model::id::{DatabaseId, SessionId};
use model::record::What;
use model::statement::Statement;
use sessions::Sessions;

/// Sessions of which it is remembered that they have changed something; more than live at once.
const CHANGING_MAX: usize = 65_536;

/// Fed with everything that is recorded.
#[derive(Default)]
pub(super) struct CatalogueChanges {
    /// Sessions that have changed a catalogue, perhaps in a transaction: others see it when that ends.
    changing: HashSet<SessionId>,
    /// Databases and their SQL databases that should be read again.
    changed: HashSet<(DatabaseId, Arc<str>)>,
}

impl CatalogueChanges {
    /// A statement has ended, or a session.
    pub(super) fn observe(&mut self, what: &What, sessions: &Sessions) {
        match what {
            What::Statement { session, statement, .. } => self.statement(session, statement, sessions),
            What::SessionClosed { session, .. } => {
                self.changing.remove(&session.id);
            }
            _ => {}
        }
    }

    fn statement(&mut self, id: &SessionId, statement: &Statement, sessions: &Sessions) {
        let Some(judgement) = &statement.judgement else { return };
        let changes = || judgement.facts.statements.iter().flat_map(|facts| &facts.changes);
        let changes_catalogue =
            changes().any(|change| matches!(change, StateChange::Catalogue | StateChange::Functions));
        let ends = changes().any(|change| *change == StateChange::End);
        let is_seen_by_others = changes_catalogue || ends && self.changing.remove(id);
        if !is_seen_by_others {
            return;
        }
        if changes_catalogue && self.changing.len() < CHANGING_MAX {
            self.changing.insert(*id);
        }
        let Some(session) = sessions.get(id.cookie) else { return };
        let login = &session.login;
        if let Some(name) = login.database.as_ref().or(login.user.as_ref()) {
            self.changed.insert((session.database, Arc::from(name.as_str())));
        }
    }

    /// What should be read again.
    pub(super) fn take(&mut self) -> HashSet<(DatabaseId, Arc<str>)> {
        std::mem::take(&mut self.changed)
    }
}
