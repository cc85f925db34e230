//! Statements that wait for somebody's approval: whoever is asked about them, and what becomes of them meanwhile.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use guard::{Announcement, Answer, Denied, Guard, Question};
use model::id::{DatabaseId, SocketCookie};
use tokio::time::{Instant, Sleep, sleep_until};

/// How often a client is told that its statement still waits. Less than what idle connections are given by most
/// firewalls, and than what people wait without a word.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Whoever has statements decided about that must not run unattended.
pub trait Holds {
    /// Asks about a statement. Whoever drops what is returned does not want it any more.
    fn hold(&self, held: Held) -> Box<dyn Waiting>;
    /// A client wants the statement of another connection cancelled: process and key of its CancelRequest.
    fn cancel(&self, database: DatabaseId, key: &[u8]);
}

/// A statement that waits.
#[derive(Debug)]
pub struct Held {
    /// The accepted socket.
    pub connection: SocketCookie,
    /// The database.
    pub database: DatabaseId,
    /// SQL database of the session.
    pub sql_database: Arc<str>,
    /// What is to be decided.
    pub question: Box<Question>,
}

/// What is heard about a statement that waits. Nothing comes behind an answer.
pub trait Waiting {
    /// The next word.
    fn poll_word(&mut self, cx: &mut Context<'_>) -> Poll<Word>;
}

/// One word about a statement that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Somebody was asked.
    Asked(Announcement),
    /// Somebody has decided.
    Answered(Answer),
}

/// The statement of one session that waits.
#[derive(Default)]
pub(crate) struct Holding(Option<Box<Live>>);

struct Live {
    waiting: Box<dyn Waiting>,
    /// What the client was told, and when it is told again.
    announced: Option<(Announcement, Pin<Box<Sleep>>)>,
}

impl Holding {
    /// Somebody was asked who has not answered.
    pub(crate) const fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Looks after the statement that waits in this session, if one does. `ask`: how somebody is asked about it.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        guard: &mut Guard,
        ask: &dyn Fn(Box<Question>) -> Box<dyn Waiting>,
    ) {
        if !guard.is_holding() {
            // It has run, or cannot run any more: nobody needs to decide.
            self.0 = None;
            return;
        }
        if let Some(question) = guard.take_question() {
            self.0 = Some(Box::new(Live { waiting: ask(question), announced: None }));
        }
        let Some(live) = &mut self.0 else { return };
        while let Poll::Ready(word) = live.waiting.poll_word(cx) {
            match word {
                Word::Asked(said) => {
                    guard.announce(&said, false);
                    live.announced = Some((said, Box::pin(sleep_until(Instant::now() + KEEPALIVE))));
                }
                Word::Answered(answer) => {
                    guard.answer(answer);
                    self.0 = None;
                    cx.waker().wake_by_ref();
                    return;
                }
            }
        }
        live.keep_alive(cx, guard);
    }
}

impl Live {
    fn keep_alive(&mut self, cx: &mut Context<'_>, guard: &mut Guard) {
        let Some((said, timer)) = &mut self.announced else { return };
        while timer.as_mut().poll(cx).is_ready() {
            guard.announce(said, true);
            timer.set(sleep_until(Instant::now() + KEEPALIVE));
        }
    }
}

/// Where nobody can be asked.
#[derive(Debug)]
pub struct Nobody;

impl Holds for Nobody {
    fn hold(&self, _held: Held) -> Box<dyn Waiting> {
        Box::new(Self)
    }

    fn cancel(&self, _database: DatabaseId, _key: &[u8]) {}
}

impl Waiting for Nobody {
    fn poll_word(&mut self, _cx: &mut Context<'_>) -> Poll<Word> {
        let why = Denied::Unavailable("it needs an approval, and nobody can be asked here".into());
        Poll::Ready(Word::Answered(Answer::Denied(None, why)))
    }
}
