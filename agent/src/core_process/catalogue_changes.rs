//! Which catalogues have changed, as far as the sessions through the proxy have changed them.

use std::collections::HashSet;
use std::sync::Arc;

use model::facts::{Object, StateChange, StatementFacts};
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
    /// Those that may be other ones than those of this name that were read: made, dropped, renamed.
    replaced: HashSet<(DatabaseId, Arc<str>)>,
}

/// What should be read again.
pub(super) struct Unread {
    /// It has changed.
    pub(super) changed: HashSet<(DatabaseId, Arc<str>)>,
    /// It may be another SQL database.
    pub(super) replaced: HashSet<(DatabaseId, Arc<str>)>,
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
        let changes_catalogue = changes().any(StateChange::is_of_catalogue);
        let ends = changes().any(|change| *change == StateChange::End);
        let is_seen_by_others = changes_catalogue || ends && self.changing.remove(id);
        if !is_seen_by_others {
            return;
        }
        if changes_catalogue && self.changing.len() < CHANGING_MAX {
            self.changing.insert(*id);
        }
        let Some(session) = sessions.get(id.cookie) else { return };
        let replaced = judgement.facts.statements.iter().flat_map(sql_databases);
        self.replaced.extend(replaced.map(|name| (session.database, name)));
        let login = &session.login;
        if let Some(name) = login.database.as_ref().or(login.user.as_ref()) {
            self.changed.insert((session.database, Arc::from(name.as_str())));
        }
    }

    /// What should be read again.
    pub(super) fn take(&mut self) -> Unread {
        Unread { changed: std::mem::take(&mut self.changed), replaced: std::mem::take(&mut self.replaced) }
    }
}

/// SQL databases that a statement makes, drops or changes.
fn sql_databases(facts: &StatementFacts) -> impl Iterator<Item = Arc<str>> {
    facts.effects.iter().filter_map(|effect| match &effect.object {
        Object::Other { kind, name: Some(name) } if **kind == *"DATABASE" => Some(Arc::clone(&name.name)),
        _ => None,
    })
}
