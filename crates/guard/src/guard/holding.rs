//! The session's side of a statement that waits until somebody has decided about it.

use model::access::Holder;
use model::time::BootTime;
use model::wire::{Input, Side};

use super::Guard;
use crate::hold::{Announcement, Answer, Parked, Question, Stage};
use crate::message;

impl Guard {
    /// Whether a statement waits, and nothing behind it can be looked at.
    pub(super) fn waits(&self) -> bool {
        self.parked.is_some() && !self.is_answered()
    }

    /// A statement waits for somebody's decision, or for what came before it.
    #[must_use]
    pub const fn is_holding(&self) -> bool {
        self.parked.is_some()
    }

    /// A statement that waited can go on: [`Guard::client`] is to be called.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        // Where the batch has failed the server would skip it: there is nothing to be decided any more.
        let is_over = |parked: &Parked| parked.answer().is_some() || self.desk.dropping;
        self.parked.as_ref().is_some_and(is_over)
    }

    /// What somebody is to be asked now, once.
    pub fn take_question(&mut self) -> Option<Box<Question>> {
        // The decoder has heard what waits, too.
        if self.is_answered() || self.connection.unanswered() > 1 {
            return None;
        }
        let parked = self.parked.as_mut().filter(|parked| parked.stage == Stage::Settling)?;
        parked.stage = Stage::Asked;
        let question = parked.question()?;
        Some(Box::new(Question {
            holder: self.around.principal.known().map(Holder::from),
            in_transaction: self.around.session.in_transaction,
            search_path: self.desk.following.state().search_path.known().cloned(),
            cancel_key: self.desk.cancel.key.clone(),
            ..question
        }))
    }

    /// Tells the client what its statement waits for; `again`: it was told before.
    pub fn announce(&mut self, said: &Announcement, again: bool) {
        let Some((parked, hold)) = self.parked.as_ref().and_then(|parked| Some((parked, parked.hold()?))) else {
            return;
        };
        let notice = message::waits(hold, &parked.digest_text(), said, again);
        self.desk.notices.extend_from_slice(&notice);
    }

    /// Somebody has decided: what waited goes on with the next call of [`Guard::client`].
    pub fn answer(&mut self, answer: Answer) {
        if let Some(parked) = &mut self.parked {
            parked.stage = Stage::Answered(answer);
        }
    }

    /// What a client whose statement waits is to be told, unless the server is in the middle of a message.
    pub fn speak(&mut self, at: BootTime) -> Vec<u8> {
        if self.parked.is_none() || self.desk.notices.is_empty() || !self.server.is_between() {
            return Vec::new();
        }
        let notices = std::mem::take(&mut self.desk.notices);
        self.feed(Side::Server, at, &[Input::Bytes(&notices)]);
        notices
    }
}
