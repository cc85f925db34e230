//! The core as far as holds go: what waits is seen by the test, which decides.

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use guard::{Announcement, Answer, Denied, Judge, Question};
use model::Known;
use model::access::GrantId;
use model::id::DatabaseId;
use model::principal::UnknownPrincipal;
use model::verdict::{Mode, PolicyEpoch};
use policy::{PolicyFile, PolicySet, UtcOffset};
use proxy::{Governor, Held, Holds, Hops, Identification, Identified, Identities, Waiting, Word, Worker};
use tokio::sync::mpsc;

use super::wait;

pub const GRANT: GrantId = GrantId::new(7);
/// DELETEs wait.
const POLICIES: &str = r#"
@id("all")
@reason("everything is allowed")
permit (principal, action, resource);

@id("deletes-wait")
@reason("somebody looks at what is deleted")
forbid (principal, action == Action::"RunUnattended", resource)
when { context.verb == Verb::"Delete" };
"#;

/// Everything that waits, or has.
#[derive(Clone, Default)]
pub struct Desk(Arc<Mutex<Vec<Place>>>);

struct Place {
    question: Question,
    words: mpsc::Sender<Word>,
    is_wanted: Arc<Mutex<bool>>,
}

impl Desk {
    /// Has the sessions of a worker governed; for its thread.
    pub fn set(self, worker: &Worker<impl Hops>) {
        let file = PolicyFile { name: "test.cedar".into(), text: POLICIES.into() };
        let policies = PolicySet::compile(&[file], PolicyEpoch(1)).unwrap();
        let governor = Governor {
            judge: Rc::new(Judge::new(policies, Rc::default())),
            mode: Mode::Enforce,
            environment: "test".into(),
            utc_offset: UtcOffset::default(),
            identities: Rc::new(Nobody),
            holds: Rc::new(self),
        };
        worker.set_governor(DatabaseId(0), governor);
    }

    /// Waits until so many statements have come; returns the last.
    pub fn question(&self, number: usize) -> Question {
        wait::until("a statement that waits", || self.0.lock().unwrap().len() >= number);
        self.0.lock().unwrap()[number - 1].question.clone()
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Decides about the last one.
    pub fn decide(&self, answer: Answer) {
        let places = self.0.lock().unwrap();
        let _gone = places.last().unwrap().words.try_send(Word::Answered(answer));
    }

    pub fn approve(&self) {
        self.decide(Answer::Approved(GRANT));
    }

    /// Waits until nobody wants the last one any more.
    pub fn is_withdrawn(&self) {
        wait::until("its withdrawal", || !*self.0.lock().unwrap().last().unwrap().is_wanted.lock().unwrap());
    }

    /// The core is gone: nobody answers any more.
    pub fn lose(&self) {
        let mut places = self.0.lock().unwrap();
        places.last_mut().unwrap().words = mpsc::channel(1).0;
    }
}

impl Holds for Desk {
    fn hold(&self, held: Held) -> Box<dyn Waiting> {
        let (words, receiver) = mpsc::channel(2);
        let said = Announcement { grant: GRANT, approvers: "bob@example.com".into(), until: "soon".into() };
        words.try_send(Word::Asked(said)).unwrap();
        let is_wanted = Arc::new(Mutex::new(true));
        self.0.lock().unwrap().push(Place { question: *held.question, words, is_wanted: Arc::clone(&is_wanted) });
        Box::new(Waits { receiver, is_wanted })
    }

    fn cancel(&self, _database: DatabaseId, key: &[u8]) {
        for place in &*self.0.lock().unwrap() {
            if place.question.cancel_key.as_deref() == Some(key) {
                let _over = place.words.try_send(Word::Answered(Answer::Denied(Some(GRANT), Denied::Cancelled)));
            }
        }
    }
}

struct Waits {
    receiver: mpsc::Receiver<Word>,
    is_wanted: Arc<Mutex<bool>>,
}

impl Waiting for Waits {
    fn poll_word(&mut self, cx: &mut Context<'_>) -> Poll<Word> {
        let gone = || Word::Answered(Answer::Denied(None, Denied::Unavailable("the core is gone".into())));
        self.receiver.poll_recv(cx).map(|word| word.unwrap_or_else(gone))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        *self.is_wanted.lock().unwrap() = false;
    }
}

struct Nobody;

impl Identities for Nobody {
    fn identify(&self, _asked: Identification) -> std::pin::Pin<Box<dyn Future<Output = Identified>>> {
        let principal = Known::Unknown(UnknownPrincipal::NoProof);
        Box::pin(async { Identified { principal, process: None, refusal: None, role: None } })
    }
}
