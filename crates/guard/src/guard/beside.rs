//! What other sessions change in the catalogue while this one asks and is answered.

use std::sync::Arc;

use model::facts::Facts;
use model::request::Request;
use model::time::{BootTime, WallTime};

use super::Guard;
use crate::cursors::Cursors;
use crate::following::CATALOGUE_PATIENCE_NANOS;
use crate::judge::{Judged, Ruling};

/// Whether the facts of something that was asked are still right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Staleness {
    /// They may become wrong before the server has looked at it. The snapshot that they are from was read then.
    Since(Option<BootTime>),
    /// They may have.
    Stale,
    /// They cannot: the server has settled what it means, or it hides nothing.
    Never,
}

impl Guard {
    /// What a request would do; whether changes of others are taken into account. For those from whom nothing is hidden they
    /// are not.
    pub(super) fn facts(&mut self, kind: u8, request: &Request, now: WallTime) -> (Arc<Facts>, bool) {
        let database = &Arc::clone(&self.around.session.database);
        let facts = self.bench.facts(request, self.desk.following.state(), 0, database);
        if !self.masks() || (kind == b'E' && self.is_begun(request)) {
            return (facts, false);
        }
        // What was asked before is looked at with what is heard now.
        self.look_beside();
        let Some(altered) = self.place.altered(self.bench.read_at(database)) else { return (facts, false) };
        let judged = self.bench.judge(Arc::clone(&facts), &self.around, now);
        if matches!(judged.ruling, Ruling::Refused) {
            // It may be understood with the next snapshot.
            let is_concerned = altered.concerns(&facts, &self.bench.catalogue(database));
            return (facts, is_concerned);
        }
        if !judged.plans.hides {
            return (facts, false);
        }
        let state = altered.applied_to(self.desk.following.state());
        (self.bench.facts(request, &state, self.looked_beside, database), true)
    }

    /// Whether a message may wait for a snapshot that has what others have changed.
    pub(super) fn may_wait(&self, asked: BootTime, now: BootTime) -> bool {
        !self.desk.cycles.is_open()
            && !self.desk.cycles.has_waiting()
            && now.nanos_since(asked) < CATALOGUE_PATIENCE_NANOS
    }

    /// Whether an Execute goes on with a portal of which the server has given rows: until it ends nobody can change what it
    /// reads.
    fn is_begun(&self, request: &Request) -> bool {
        request.portal.as_deref().is_some_and(|portal| self.bench.names.is_suspended(portal))
    }

    /// How the facts of something that goes to the server may become wrong.
    pub(super) fn staleness(&self, request: &Request, judged: &Judged) -> Staleness {
        let only_fetches = !judged.facts.statements.is_empty() && judged.facts.statements.iter().all(Cursors::run_with);
        match self.masks() && judged.plans.hides && !only_fetches && !self.is_begun(request) {
            true => Staleness::Since(self.bench.read_at(&self.around.session.database)),
            false => Staleness::Never,
        }
    }

    /// Before something of the server is looked at: what others have changed since it was asked may have changed what it
    /// shows.
    pub(super) fn look_beside(&mut self) {
        let Some(epoch) = self.place.listen() else { return };
        if std::mem::replace(&mut self.looked_beside, epoch) == epoch {
            return;
        }
        let catalogue = self.bench.catalogue(&self.around.session.database);
        let mut is_any = false;
        for asked in &mut self.asked {
            if let Staleness::Since(read_at) = asked.stale
                && self.place.altered(read_at).is_some_and(|altered| altered.concerns(&asked.facts, &catalogue))
            {
                asked.stale = Staleness::Stale;
                is_any = true;
            }
        }
        if is_any {
            self.desk.cycles.doubt();
        }
    }
}
