//! Statements that wait for an approval: the core is asked about them and says what becomes of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use guard::{Answer, Denied};
use model::id::DatabaseId;
use proxy::{Held, Waiting, Word};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use super::identities::Line;
use crate::hold_link::{HoldAsk, HoldWord, cancel_name};
use crate::identity_link::WorkerSays;

/// Statements of one worker that wait at once: each keeps its session, and a place on the desk.
const HOLDS_MAX: usize = 256;
/// Words of the core that a hold can have: that somebody was asked, and the answer.
const WORDS_MAX: usize = 2;
/// Bytes of a statement with its values that fit a packet, and that somebody could look through.
const SHOWN_BYTES_MAX: usize = 48 << 10;
/// How long the core may take to say that somebody was asked.
const ASK_PATIENCE: Duration = Duration::from_secs(5);
/// How much longer than the core has said the worker waits for its answer.
const SLACK: Duration = Duration::from_secs(5);

const CORE_IS_GONE: &str = "Warder cannot ask anybody at the moment (its core was restarted or does not answer)";

/// Everything that waits in this worker.
#[derive(Default)]
pub(super) struct Live {
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, mpsc::Sender<HoldWord>>>,
}

impl Live {
    /// The core has said something about a hold. A word about one that is over is nobody's.
    pub(super) fn hear(&self, hold: u64, word: HoldWord) {
        if let Some(sender) = self.waiting.borrow().get(&hold) {
            // There is room for each word that a hold can have.
            let _ = sender.try_send(word);
        }
    }

    /// The core is gone: nothing that waits can be approved any more.
    pub(super) fn lose(&self) {
        self.waiting.borrow_mut().clear();
    }
}

/// The worker's side of holds.
pub(super) struct Holds {
    line: Rc<Line>,
    live: Rc<Live>,
}

impl Holds {
    pub(super) const fn new(line: Rc<Line>, live: Rc<Live>) -> Self {
        Self { line, live }
    }

    /// Asks the core; `Err`: why it cannot be asked.
    fn ask(&self, held: &Held) -> Result<Place, String> {
        if self.live.waiting.borrow().len() >= HOLDS_MAX {
            return Err(format!("{HOLDS_MAX} statements wait for an approval already"));
        }
        let number = self.live.next.get();
        self.live.next.set(number.wrapping_add(1));
        let (ask, shown) = HoldAsk::new(number, held);
        let shown = serde_json::to_vec(&shown).map_err(|_broken| "it cannot be shown".to_owned())?;
        if shown.len() > SHOWN_BYTES_MAX {
            return Err("it needs an approval, and it is too long to be looked at: split it".to_owned());
        }
        let (sender, receiver) = mpsc::channel(WORDS_MAX);
        self.live.waiting.borrow_mut().insert(number, sender);
        let place = Place {
            number,
            live: Rc::clone(&self.live),
            line: Rc::clone(&self.line),
            receiver,
            patience: Box::pin(sleep(ASK_PATIENCE)),
        };
        match self.line.say(&WorkerSays::Hold(Box::new(ask)), &shown) {
            true => Ok(place),
            false => Err(CORE_IS_GONE.to_owned()),
        }
    }
}

impl proxy::Holds for Holds {
    fn hold(&self, held: Held) -> Box<dyn Waiting> {
        match self.ask(&held) {
            Ok(place) => Box::new(place),
            Err(why) => Box::new(Refused(why)),
        }
    }

    fn cancel(&self, database: DatabaseId, key: &[u8]) {
        // Whoever does not hear of it, waits on: as a server does that misses a cancel request.
        let _heard = self.line.say(&WorkerSays::Cancel(cancel_name(database, key)), &[]);
    }
}

/// One statement's place among those that wait. Dropped, it is not wanted any more.
struct Place {
    number: u64,
    live: Rc<Live>,
    line: Rc<Line>,
    receiver: mpsc::Receiver<HoldWord>,
    /// How long the next word may take.
    patience: Pin<Box<Sleep>>,
}

impl Waiting for Place {
    fn poll_word(&mut self, cx: &mut Context<'_>) -> Poll<Word> {
        match self.receiver.poll_recv(cx) {
            Poll::Ready(Some(word)) => {
                if let HoldWord::Asked { seconds, .. } = word {
                    self.patience = Box::pin(sleep(Duration::from_secs(seconds).saturating_add(SLACK)));
                }
                Poll::Ready(word.into_word().unwrap_or_else(|| unavailable(CORE_IS_GONE)))
            }
            Poll::Ready(None) => Poll::Ready(unavailable(CORE_IS_GONE)),
            Poll::Pending => self.patience.as_mut().poll(cx).map(|()| unavailable(CORE_IS_GONE)),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.live.waiting.borrow_mut().remove(&self.number);
        // A core that does not hear of this asks for nothing: without this session nothing runs.
        let _heard = self.line.say(&WorkerSays::HoldOver(self.number), &[]);
    }
}

/// A statement about which nobody can be asked.
struct Refused(String);

impl Waiting for Refused {
    fn poll_word(&mut self, _cx: &mut Context<'_>) -> Poll<Word> {
        Poll::Ready(unavailable(&self.0))
    }
}

fn unavailable(why: &str) -> Word {
    Word::Answered(Answer::Denied(None, Denied::Unavailable(why.into())))
}
