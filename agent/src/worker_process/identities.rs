//! Who acts on a connection, and with which role: asked of the core, which knows the processes and the keys of issuers,
//! makes the roles, and says when an access has ended.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use identity::secret::Secret;
use model::Known;
use model::credential::AccessEnd;
use model::id::SocketCookie;
use model::principal::UnknownPrincipal;
use model::time::BootTime;
use proxy::{Identification, Identified, SessionEnd};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::catalogues::Catalogues;
use super::grants::Grants;
use super::holds::{Holds, Live};
use super::readable;
use crate::identity_link::{self, FromCore, IdentityAnswer, IdentityAsk, ProofKind, WorkerSays};
use crate::link::Link;

/// Longest that an answer is waited for. The core itself waits for the kernel witness at most half of it.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same where a proof is to be verified: the core may have to ask an issuer for its keys.
const PROOF_PATIENCE: Duration = Duration::from_secs(15);
/// How long the making of a role is waited for: the core may have to connect to the server first.
const MINT_PATIENCE: Duration = Duration::from_secs(30);
/// Questions that the core has at once. All others wait here, in turn, for as long as a client may take to start up: else
/// the patience of each would end while the core answers the hundreds in front of it.
const QUESTIONS_MAX: usize = 64;
/// Roles that it makes at once: it makes one after the other.
const ROLES_MAX: usize = 16;

/// The worker's line to the core.
pub(super) struct Identities(Rc<Inner>);

/// The line to the core, on which workers ask.
pub(super) struct Line(AsyncFd<Link>);

impl Line {
    /// Whether it could be said.
    pub(super) fn say(&self, what: &WorkerSays, record: &[u8]) -> bool {
        self.0.get_ref().try_send(what, record, &[]).is_ok()
    }

    /// Whether it could be said in time: many may speak at once.
    async fn say_within(&self, patience: Duration, what: &WorkerSays, record: &[u8]) -> bool {
        self.0.get_ref().send_within(patience, what, record).await.is_ok()
    }
}

struct Inner {
    line: Rc<Line>,
    live: Rc<Live>,
    /// Number of the next question.
    question: Cell<u64>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<IdentityAnswer>>>,
    /// Of those who ask who acts, and of those who ask for a role.
    questions: Semaphore,
    roles: Semaphore,
    /// Who waits for the password of a role.
    minting: RefCell<HashMap<u64, oneshot::Sender<Option<Secret>>>>,
    catalogues: Rc<Catalogues>,
    grants: Rc<Grants>,
    /// Ends a session.
    end: OnceCell<End>,
}

/// Ends the session of a connection.
type End = Box<dyn Fn(SocketCookie, SessionEnd, AccessEnd)>;

impl Identities {
    /// Takes answers from now on; must run inside of a `LocalSet`.
    pub(super) fn start(link: Link, catalogues: Rc<Catalogues>, grants: Rc<Grants>) -> Result<Rc<Self>> {
        let link = readable(link).context("the line to the core cannot be polled")?;
        let inner = Rc::new(Inner {
            line: Rc::new(Line(link)),
            live: Rc::default(),
            question: Cell::new(0),
            waiting: RefCell::default(),
            questions: Semaphore::new(QUESTIONS_MAX),
            roles: Semaphore::new(ROLES_MAX),
            minting: RefCell::default(),
            catalogues,
            grants,
            end: OnceCell::new(),
        });
        spawn_local(take_answers(Rc::clone(&inner)));
        Ok(Rc::new(Self(inner)))
    }

    /// Whoever has statements decided about, on the same line.
    pub(super) fn holds(&self) -> Rc<Holds> {
        Rc::new(Holds::new(Rc::clone(&self.0.line), Rc::clone(&self.0.live)))
    }
}

impl Identities {
    /// This is called when the access of a session has ended.
    pub(super) fn on_end(&self, end: impl Fn(SocketCookie, SessionEnd, AccessEnd) + 'static) {
        // There is one worker in this process: nobody calls it twice.
        let _ = self.0.end.set(Box::new(end));
    }
}

impl proxy::Mint for Identities {
    fn mint(&self, connection: SocketCookie) -> Pin<Box<dyn Future<Output = Option<Secret>>>> {
        Box::pin(mint(Rc::clone(&self.0), connection.0))
    }
}

impl proxy::Identities for Identities {
    fn identify(&self, asked: Identification) -> Pin<Box<dyn Future<Output = Identified>>> {
        Box::pin(identify(Rc::clone(&self.0), asked))
    }
}

async fn identify(inner: Rc<Inner>, asked: Identification) -> Identified {
    let unavailable = Identified {
        principal: Known::Unknown(UnknownPrincipal::Unavailable),
        process: None,
        refusal: None,
        role: None,
    };
    let Ok(_turn) = inner.questions.acquire().await else { return unavailable };
    let question = inner.question.get();
    inner.question.set(question.wrapping_add(1));
    let connection = asked.connection.0;
    let (sender, receiver) = oneshot::channel();
    inner.waiting.borrow_mut().insert(question, sender);
    let (database, user, sql_database) = (asked.database.0, asked.user, asked.sql_database);
    let (proof, record) = asked.proof.as_ref().map(ProofKind::of).unzip();
    let patience = if proof.is_some() { PROOF_PATIENCE } else { PATIENCE };
    let ask = WorkerSays::Identity(IdentityAsk { question, connection, database, user, sql_database, proof });
    let answer = match inner.line.say_within(patience, &ask, record.unwrap_or_default()).await {
        true => timeout(patience, receiver).await.ok().and_then(Result::ok),
        false => None,
    };
    inner.waiting.borrow_mut().remove(&question);
    answer.map_or(unavailable, |answer| Identified {
        principal: answer.principal(),
        refusal: answer.refusal(),
        role: answer.role.clone(),
        process: answer.process(),
    })
}

/// Has the core make a role; `None`: it cannot, or does not answer.
async fn mint(inner: Rc<Inner>, connection: u64) -> Option<Secret> {
    let _turn = inner.roles.acquire().await.ok()?;
    let (sender, receiver) = oneshot::channel();
    inner.minting.borrow_mut().insert(connection, sender);
    let password = match inner.line.say_within(MINT_PATIENCE, &WorkerSays::Mint { connection }, &[]).await {
        true => timeout(MINT_PATIENCE, receiver).await.ok().and_then(Result::ok).flatten(),
        false => None,
    };
    inner.minting.borrow_mut().remove(&connection);
    password
}

/// Hands answers to those who wait, for as long as somebody may answer.
async fn take_answers(inner: Rc<Inner>) {
    let link = &inner.line.0;
    while let Ok(mut guard) = link.readable().await {
        if !link.get_ref().is_readable() {
            guard.clear_ready();
            continue;
        }
        let Ok(Some(packet)) = link.get_ref().receive::<FromCore>() else { break };
        match packet.message {
            FromCore::Identity(answer) => {
                let waiting = inner.waiting.borrow_mut().remove(&answer.question);
                if let Some(waiting) = waiting {
                    // A client that has gone away takes nothing.
                    let _ = waiting.send(*answer);
                }
            }
            FromCore::Started => inner.live.lose(),
            FromCore::Hold { hold, word } => inner.live.hear(hold, word),
            FromCore::Minted { connection, is_made } => {
                let password = Secret::new(packet.record);
                let waiting = inner.minting.borrow_mut().remove(&connection);
                if let Some(waiting) = waiting {
                    let _ = waiting.send(is_made.then_some(password));
                }
            }
            FromCore::End { connection, when, why } => inner.end(connection, when, &why),
            FromCore::Catalogue { database, sql_database, read_at } => {
                let place = (database, sql_database.into());
                inner.catalogues.hear(place, BootTime(read_at), packet.descriptors.into_iter().next());
            }
            FromCore::Grants { database, whole } => inner.grants.know(database, whole, packet.descriptors),
        }
    }
    inner.waiting.borrow_mut().clear();
    inner.minting.borrow_mut().clear();
    inner.live.lose();
    inner.grants.clear();
}

impl Inner {
    fn end(&self, connection: u64, when: identity_link::SessionEnd, why: &str) {
        let when = match when {
            identity_link::SessionEnd::BetweenStatements => SessionEnd::BetweenStatements,
            identity_link::SessionEnd::Now => SessionEnd::Now,
        };
        let why = AccessEnd::ALL.iter().copied().find(|reason| reason.word() == why);
        if let Some(end) = self.end.get() {
            end(SocketCookie(connection), when, why.unwrap_or(AccessEnd::Revoked));
        }
    }
}
