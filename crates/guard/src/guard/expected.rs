//! What goes to the server, and what will be known once it is answered.

use std::sync::Arc;

use model::facts::{Action, Facts, StateChange, StatementFacts};
use model::request::Request;
use model::time::BootTime;
use model::verdict::Mode;

use super::{Asked, Guard};
use crate::bounds::Bounds;
use crate::cursors::Cursors;
use crate::judge::Judged;

impl Guard {
    /// Something goes to the server: what will be known once it is answered.
    pub(super) fn expect(&mut self, kind: u8, requested: Option<&Request>, judged: &Judged, at: BootTime) {
        let is_named = |name: Option<&Arc<str>>| name.is_none_or(|name| !name.is_empty());
        let cycle = self.desk.cycles.open();
        cycle.query |= kind == b'Q';
        cycle.unsettling |= match kind {
            b'P' => is_named(requested.and_then(|request| request.prepared.as_ref())),
            b'B' => is_named(requested.and_then(|request| request.portal.as_ref())),
            _ => unsettles(&judged.facts, |_| true),
        };
        // A plan is made of a Bind: parts of the statement may run for it.
        cycle.code |= kind != b'P' && runs_code(&judged.facts);
        cycle.planned_code |= kind == b'B' && runs_code(&judged.facts);
        // Drivers put BEGIN and the first statement of a transaction into one batch.
        cycle.unsettling_inside |= kind == b'E' && unsettles(&judged.facts, |change| *change != StateChange::Begin);
        if self.connection.is_lost() {
            self.desk.following.lose(&judged.facts);
            self.bench.names.forget_all();
        }
        cycle.copies += u32::from(kind == b'E' && takes_copy_data(&judged.facts));
        if matches!(kind, b'Q' | b'E') && self.around.session.mode == Mode::Enforce {
            self.expect_bounded(requested, judged, at);
        }
        if matches!(kind, b'Q' | b'E' | b'F') && self.masks() {
            self.expect_results(kind, judged);
        }
        self.replace_name(kind, requested, &judged.facts);
        if let (Some(request), b'Q' | b'E') = (requested, kind) {
            let (facts, bounds) = (Arc::clone(&judged.facts), judged.verdict.obligations);
            let stale = self.staleness(request, judged);
            self.asked.push_back(Asked { kind: request.kind, at, facts, bounds, stale });
        }
    }

    /// What a policy says about how much it may return, and for how long it may run.
    fn expect_bounded(&mut self, requested: Option<&Request>, judged: &Judged, at: BootTime) {
        let Some(bounds) = Bounds::of(&judged.verdict, at) else { return };
        let portal = requested.and_then(|request| request.portal.as_ref());
        let givers: Vec<_> = Cursors::fetched_by(&judged.facts).chain(portal).cloned().collect();
        let given = self.bench.names.given.by(&givers);
        let bounds = bounds.go_on(givers, given);
        match &mut self.desk.cycles.open().bounds {
            Some(known) => known.tighten(bounds),
            none => *none = Some(Box::new(bounds)),
        }
    }

    /// A Parse or Bind takes the place of whatever SQL has under its name.
    fn replace_name(&mut self, kind: u8, requested: Option<&Request>, facts: &Facts) {
        let names = &mut self.bench.names;
        match (kind, requested) {
            (b'P', Some(Request { prepared: Some(name), .. })) => names.statement_replaced(name),
            (b'B', Some(request @ Request { portal: Some(name), .. })) => {
                names.portal_replaced(name);
                names.bind(request, facts);
            }
            (b'P' | b'B', _) => names.forget_all(),
            _ => {}
        }
    }
}

/// Whether statements behind it may mean something else, as far as `counts` a change of the session.
fn unsettles(facts: &Facts, counts: impl Fn(&StateChange) -> bool) -> bool {
    let declares = |statement: &StatementFacts| &*statement.command == "DECLARE CURSOR";
    facts.opaque.is_some()
        || facts.statements.iter().any(|statement| {
            statement.changes.iter().any(&counts) || !statement.opaque.is_empty() || declares(statement)
        })
        || runs_code(facts)
}

/// Whether code runs that may have changed what the names behind it mean, or nobody knows.
fn runs_code(facts: &Facts) -> bool {
    let is_code = |statement: &StatementFacts| statement.runs_code() || !statement.opaque.is_empty();
    facts.opaque.is_some() || facts.statements.iter().any(is_code)
}

/// Whether the client sends the rows behind it.
fn takes_copy_data(facts: &Facts) -> bool {
    facts.statements.iter().flat_map(|statement| &statement.effects).any(|effect| effect.action == Action::CopyIn)
}
