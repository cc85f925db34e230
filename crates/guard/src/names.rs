//! What SQL's names stand for: prepared statements and cursors. On the server they are one name space with the names of
//! the protocol: a Parse or Close of a statement takes a prepared one's place, a Bind or Close of a portal a cursor's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::facts::{Action, Effect, Facts, OpaqueReason, StateChange, StatementFacts};
use model::lineage::{Lineage, Output};
use model::request::Request;
use model::statement::{Outcome, Statement, StatementKind, Text, Transaction};
use model::verdict::Obligations;

use crate::cursors::Cursors;
use crate::given::Given;

/// Names of each kind that are kept.
const NAMES_MAX: usize = 256;
/// Longest text that is kept to be read again.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// The server cuts longer names (`NAMEDATALEN` - 1), and compares them as bytes.
const NAME_BYTES_MAX: usize = 63;

/// A statement that SQL has prepared.
#[derive(Clone)]
struct Prepared {
    facts: Arc<StatementFacts>,
    /// The text with its PREPARE; `None`: too long to be kept.
    text: Option<Arc<str>>,
    /// Which statement of the text.
    place: usize,
}

/// All names of one session.
#[derive(Default)]
pub(crate) struct Names {
    prepared: HashMap<Arc<str>, Prepared>,
    /// Of the catalogue by which they were read, and of what others have changed there.
    epoch: (u64, u64),
    /// What messages have bound to portals that SQL has prepared.
    bound: HashMap<Arc<str>, Arc<StatementFacts>>,
    /// Portals that have given rows, and have more.
    suspended: HashSet<Arc<str>>,
    pub(crate) cursors: Cursors,
    pub(crate) given: Given,
}

impl Names {
    /// Whether SQL has prepared anything.
    pub(crate) fn has_prepared(&self) -> bool {
        !self.prepared.is_empty()
    }

    /// Follows a change of a statement that has succeeded, at this place of its text.
    pub(crate) fn follow(&mut self, change: &StateChange, statement: &Statement, place: usize) {
        match change {
            StateChange::Prepared { name, facts } if self.prepared.len() < NAMES_MAX => {
                let text = match &statement.text {
                    Text::Whole(text) if text.len() <= TEXT_BYTES_MAX => Some(Arc::clone(text)),
                    _ => None,
                };
                self.prepared.insert(Arc::clone(name), Prepared { facts: Arc::clone(facts), text, place });
            }
            StateChange::Prepared { name, .. } | StateChange::Deallocated { name: Some(name) } => {
                self.prepared.remove(name);
            }
            StateChange::Deallocated { name: None } | StateChange::DiscardAll => self.prepared.clear(),
            _ => {}
        }
    }

    /// Follows a message that has ended: cursors, and the end of portals. `bounds` are those of the message.
    pub(crate) fn settle(&mut self, statement: &Statement, facts: &Facts, bounds: Obligations) {
        self.cursors.settle(statement, facts, bounds);
        for (facts, outcome) in facts.statements.iter().zip(&statement.outcomes) {
            if let (Some(name), Outcome::Completed { .. }) = (Cursors::declared_by(facts), outcome) {
                self.given.begin(name);
            }
        }
        if let (Some(portal), true) = (&statement.portal, self.suspended.len() < NAMES_MAX)
            && statement.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Suspended { .. }))
        {
            self.suspended.insert(Arc::clone(portal));
        }
        if statement.transaction_after == Some(Transaction::Idle) {
            self.given.keep(&self.cursors);
            self.suspended.clear();
        }
        let ends_portals = |outcome: &Outcome| match outcome {
            Outcome::Completed { tag, .. } => {
                ["CLOSE", "COMMIT", "ROLLBACK", "DISCARD"].iter().any(|word| tag.starts_with(word))
            }
            _ => false,
        };
        if statement.transaction_after == Some(Transaction::Idle) || statement.outcomes.iter().any(ends_portals) {
            self.bound.clear();
        }
    }

    /// The catalogue is another one: what was prepared is read again. A view may show other columns now.
    pub(crate) fn renew(&mut self, epoch: (u64, u64), read: impl Fn(&str) -> Arc<Facts>) {
        if std::mem::replace(&mut self.epoch, epoch) == epoch {
            return;
        }
        self.prepared.retain(|name, prepared| {
            let facts = prepared.text.as_deref().and_then(|text| prepared_in(&read(text), prepared.place, name));
            facts.map(|facts| prepared.facts = facts).is_some()
        });
    }

    /// The texts that SQL prepared may mean something else now: nobody knows any more what they do.
    pub(crate) fn forget_prepared(&mut self) {
        self.prepared.clear();
        self.bound.clear();
    }

    /// Whether a portal of this name has given rows, and has more.
    pub(crate) fn is_suspended(&self, portal: &str) -> bool {
        self.suspended.contains(portal)
    }

    /// Names may stand for anything.
    pub(crate) fn forget_all(&mut self) {
        self.suspended.clear();
        self.forget_prepared();
        self.cursors.forget_all();
    }

    /// A Parse or Close with this name goes to the server.
    pub(crate) fn statement_replaced(&mut self, name: &str) {
        if is_exact(name) {
            self.prepared.remove(name);
        } else {
            self.forget_prepared();
        }
    }

    /// A Bind or Close of a portal with this name goes to the server.
    pub(crate) fn portal_replaced(&mut self, name: &str) {
        self.bound.remove(name);
        self.suspended.remove(name);
        self.given.begin(name);
        if is_exact(name) {
            self.cursors.forget(name);
        } else {
            self.cursors.forget_all();
        }
    }

    /// This Close goes to the server.
    pub(crate) fn closed(&mut self, message: &[u8]) {
        let (kind, rest) = message.get(5..).and_then(<[u8]>::split_first).unwrap_or((&0, &[]));
        let name = rest.split(|byte| *byte == 0).next().map(std::str::from_utf8);
        match (kind, name) {
            (b'S', Some(Ok(name))) => self.statement_replaced(name),
            (b'P', Some(Ok(name))) => self.portal_replaced(name),
            _ => self.forget_all(),
        }
    }

    /// A Bind goes to the server, of a statement that no Parse has made.
    pub(crate) fn bind(&mut self, request: &Request, facts: &Facts) {
        if let (Text::Unknown(_), Some(portal), [facts]) = (&request.text, &request.portal, &facts.statements[..])
            && self.bound.len() < NAMES_MAX
        {
            self.bound.insert(Arc::clone(portal), Arc::new(facts.clone()));
        }
    }

    /// A statement or portal that no Parse has made: SQL may have. What a portal runs was settled by its Bind.
    pub(crate) fn of_request(&self, request: &Request) -> Option<Arc<Facts>> {
        let facts = if request.kind == StatementKind::Execute {
            self.bound.get(request.portal.as_ref()?)?
        } else {
            &self.prepared.get(request.prepared.as_deref()?)?.facts
        };
        Some(Arc::new(Facts { statements: vec![StatementFacts::clone(facts)], opaque: None }))
    }

    /// What statements do that only name others: `EXECUTE name` does what was prepared, FETCH gets rows of a cursor.
    pub(crate) fn resolve(&self, facts: Arc<Facts>) -> Arc<Facts> {
        if !facts.statements.iter().any(|statement| executes(statement) || Cursors::run_with(statement)) {
            return facts;
        }
        let mut here: HashMap<_, _> =
            self.prepared.iter().map(|(name, prepared)| (Arc::clone(name), Arc::clone(&prepared.facts))).collect();
        let mut cursors = self.cursors.clone();
        let mut whole = Facts::clone(&facts);
        for statement in &mut whole.statements {
            cursors.complete(statement);
            cursors.follow(statement, Obligations::default());
            for change in statement.changes.clone() {
                match change {
                    StateChange::Prepared { name, facts } => drop(here.insert(name, facts)),
                    StateChange::Deallocated { name: Some(name) } => drop(here.remove(&name)),
                    StateChange::Executes { name } => match here.get(&name) {
                        Some(prepared) => merge(statement, prepared),
                        None => {
                            statement.lineage = None;
                            statement.opaque.push(OpaqueReason::UnknownName);
                        }
                    },
                    StateChange::Begin => {}
                    // What was prepared may mean something else behind it.
                    _ => here.clear(),
                }
            }
        }
        Arc::new(whole)
    }
}

/// Whether a name of the protocol is the same in SQL, letter by letter.
fn is_exact(name: &str) -> bool {
    name.is_ascii() && name.len() < NAME_BYTES_MAX
}

/// What a statement of a text prepares under a name.
fn prepared_in(facts: &Facts, place: usize, wanted: &str) -> Option<Arc<StatementFacts>> {
    facts.statements.get(place)?.changes.iter().find_map(|change| match change {
        StateChange::Prepared { name, facts } if **name == *wanted => Some(Arc::clone(facts)),
        _ => None,
    })
}

fn executes(statement: &StatementFacts) -> bool {
    statement.changes.iter().any(|change| matches!(change, StateChange::Executes { .. }))
}

/// One statement does what another one does, too.
fn merge(statement: &mut StatementFacts, other: &StatementFacts) {
    // An EXPLAIN that runs nothing: a plan looks at relations, and may call functions.
    let is_planned =
        &*statement.command == "EXPLAIN" && !statement.effects.iter().any(|effect| effect.action == Action::Execute);
    let happens = |effect: &&Effect| !is_planned || matches!(effect.action, Action::Select | Action::Call);
    for effect in other.effects.iter().filter(happens) {
        if !statement.effects.contains(effect) {
            statement.effects.push(effect.clone());
        }
    }
    statement.opaque.extend_from_slice(&other.opaque);
    statement.lineage = executed(statement.lineage.as_ref(), other.lineage.as_ref());
    if !is_planned {
        statement.changes.extend_from_slice(&other.changes);
    }
}

/// What EXECUTE does: what was prepared. `None`: nobody knows.
fn executed(own: Option<&Arc<Lineage>>, prepared: Option<&Arc<Lineage>>) -> Option<Arc<Lineage>> {
    let (own, mut whole) = (own?, Lineage::clone(prepared?));
    if !matches!(own.output, Output::Prepared(_)) {
        whole.output = own.output.clone();
    }
    // What its arguments do happens as well.
    whole.stored.extend_from_slice(&own.stored);
    whole.calls.extend(own.calls.iter().cloned());
    whole.unknown = whole.unknown.or(own.unknown);
    Some(Arc::new(whole))
}
