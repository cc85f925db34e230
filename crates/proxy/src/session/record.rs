//! What is on record before anything goes to the server.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use model::id::SocketCookie;
use model::mediation::{MediationEvent, Refusal};
use model::session::Encryption;
use model::wire::Input;
use recorder::Pending;
use tokio::time::sleep;

use super::Opening;
use crate::book::{self, Judgement, Patience, WAIT_MAX};
use crate::client::stopped;
use crate::clock;
use crate::common::Common;
use crate::hop::Hops;
use crate::permission::{Permission, Unread};
use crate::stop::Stop;

impl<H: Hops> Opening<H> {
    /// Records an opening packet.
    pub(super) fn record_opening(&self, inputs: &[Input<'_>]) -> Result<Recording, Stop> {
        recording(self.reading.opening(&self.common.book, &self.common.stats, clock::now(), inputs))
    }

    /// Waits until a record is where it must be.
    pub(super) async fn await_permission(&self, recording: Recording) -> Result<Permission, Stop> {
        let pending = match recording {
            Recording::Enough(permission) => return Ok(permission),
            Recording::Pending(pending) => pending,
        };
        let mut deadline = pin!(sleep(WAIT_MAX));
        let mut ask = |cx: &mut Context<'_>| {
            let patience = match deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Patience::Exhausted,
                Poll::Pending => Patience::Left,
            };
            let Common { book, stats, .. } = &*self.common;
            match book.ask(&self.reading, stats, pending, patience, cx.waker()) {
                book::Recording::Permitted(permission) => Poll::Ready(Ok(permission)),
                book::Recording::Refused(reason) => Poll::Ready(Err(opening_not_recorded(reason))),
                book::Recording::Waits(_) => Poll::Pending,
            }
        };
        poll_fn(|cx| self.entry.poll_until(cx, &mut ask)).await.map_err(stopped)?
    }

    pub(super) fn note_connected(&self, upstream: SocketCookie) {
        let (connection, at) = (self.entry.cookie, clock::now());
        self.common.introduce(&self.entry, MediationEvent::Connected { connection, upstream, at });
    }

    pub(super) fn note_answer(&self, byte: u8) {
        self.reading.answer(&self.common.book, &self.common.stats, clock::now(), byte);
    }

    pub(super) fn note_encrypted(&self, encryption: Encryption, relayed: bool) {
        let connection = self.entry.cookie;
        self.common.introduce(&self.entry, MediationEvent::Encrypted { connection, encryption, relayed });
    }

    /// From here on client and server talk in ciphertext.
    pub(super) fn note_unread(&self) -> Unread {
        self.note_encrypted(Encryption::Tls, true);
        Unread::ciphertext()
    }
}

/// A record under way.
pub(super) enum Recording {
    Pending(Pending),
    Enough(Permission),
}

/// What has to be waited for.
pub(super) fn recording(judgement: Judgement) -> Result<Recording, Stop> {
    match judgement {
        Judgement::Recorded(pending) => Ok(Recording::Pending(pending)),
        Judgement::Exempted(exemption) => Ok(Recording::Enough(Permission::unrecorded(exemption))),
        Judgement::Refused(reason) => Err(opening_not_recorded(reason)),
    }
}

/// A connection to an enforced database that is not on record.
fn opening_not_recorded(reason: Refusal) -> Stop {
    Stop::refused(reason, "58030", "the connection could not be recorded, so it was refused")
}
