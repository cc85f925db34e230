//! Which watched connections have ended: by the word of their worker, and by that of the kernel witness.

use std::collections::HashSet;

use model::credential::Confirmation;
use model::id::{SessionId, SocketCookie};
use model::mediation::{End, MediationEvent};
use model::record::What;
use model::time::BootTime;

use crate::clock;

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndSeen {
    /// The worker is done with the connection.
    Client { by: End },
    /// The server's socket is closed; known at this time.
    Server { session: SessionId, how: Confirmation, at: BootTime },
}

/// Fed with everything that is recorded. Bounded by what is watched.
#[derive(Default)]
pub(super) struct AccessEnds {
    watched: HashSet<SocketCookie>,
    seen: Vec<(SocketCookie, EndSeen)>,
}

impl AccessEnds {
    pub(super) fn watch(&mut self, connection: SocketCookie) {
        self.watched.insert(connection);
    }

    pub(super) fn forget(&mut self, connection: SocketCookie) {
        self.watched.remove(&connection);
    }

    /// A record is about to be written.
    pub(super) fn observe(&mut self, what: &What) {
        if let What::SessionClosed { session, missed, .. } = what
            && let Some(mediation) = &session.mediation
            && self.watched.contains(&mediation.accepted)
        {
            let how = if *missed { Confirmation::Iterator } else { Confirmation::Kernel };
            self.seen.push((mediation.accepted, EndSeen::Server { session: session.id, how, at: clock::boot() }));
        }
    }

    /// A worker has said something.
    pub(super) fn hear(&mut self, event: &MediationEvent) {
        if let MediationEvent::Ended { connection, by, .. } = event
            && self.watched.contains(connection)
        {
            self.seen.push((*connection, EndSeen::Client { by: *by }));
        }
    }

    /// What was seen since the last call.
    pub(super) fn take(&mut self) -> Vec<(SocketCookie, EndSeen)> {
        std::mem::take(&mut self.seen)
    }
}
