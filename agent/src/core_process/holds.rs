//! Statements that wait for an approval: from the worker that holds one to the desk where requests are decided, and back.
//!
//! The desk writes down what it changes before it takes effect; only then is a worker told. Nothing here outlives the
//! core: a worker that loses its line refuses what it holds.

mod view;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use access::{Ask, can_be_named};
use journal::time::Timestamp;
use model::access::{AccessChange, AccessEvent, ChangedBy, GrantId, Holder, Scope};
use model::id::SocketCookie;
use model::principal::Principal;
use model::session::Session;
use model::time::WallTime;
use store::form::access::HolderForm;
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};
use tracing::warn;

pub(super) use self::view::HeldView;
use super::catalogues::Catalogues;
use super::desk::{Asked, Desk};
use super::hold_look::Look;
use super::pipeline::Pipeline;
use super::rings::Rings;
use crate::clock;
use crate::hold_link::{DenialWord, HoldAsk, HoldWord, ShownStatement};
use crate::identity_link::FromCore;
use crate::link::Link;

/// Statements that wait at once, in all sessions of the host.
const HOLDS_MAX: usize = 1024;
/// How long it may take until it is known who acts on a session (a worker waits a second longer), and how often it is
/// looked.
const PATIENCE: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(2);
const SECOND: u64 = 1_000_000_000;
/// How long a statement waits.
const WAIT: u64 = 15 * 60 * SECOND;
/// The same in an open transaction: what it has locked stays locked meanwhile.
const WAIT_IN_TRANSACTION: u64 = 2 * 60 * SECOND;
/// How long an approval holds: the statement goes on at once.
const APPROVED: u64 = 60 * SECOND;
/// Who can approve, for the client.
const APPROVERS: &str = "whoever the policies let approve it";
/// What a request says where nobody has said what for.
const NO_PURPOSE: &str = "one statement that must not run unattended";

type Line = Rc<AsyncFd<Link>>;

/// Everything that waits.
pub(super) struct Holds {
    pipeline: Rc<RefCell<Pipeline>>,
    catalogues: Rc<Catalogues>,
    desk: Rc<Desk>,
    /// Wakes whoever reads the rings.
    rings: Rc<Rings>,
    /// Those that are about to be asked for, by line and number.
    coming: RefCell<HashSet<(*const AsyncFd<Link>, u64)>>,
    live: RefCell<BTreeMap<GrantId, Live>>,
}

/// One statement that waits.
struct Live {
    line: Weak<AsyncFd<Link>>,
    /// Its number in its worker.
    hold: u64,
    cancel: Option<[u8; 32]>,
}

impl Holds {
    /// Must run inside of a `LocalSet`.
    pub(super) fn start(
        pipeline: Rc<RefCell<Pipeline>>,
        catalogues: Rc<Catalogues>,
        desk: Rc<Desk>,
        rings: Rc<Rings>,
    ) -> Rc<Self> {
        desk.withdraw_all_statements();
        let holds =
            Rc::new(Self { pipeline, catalogues, desk, rings, coming: RefCell::default(), live: RefCell::default() });
        let this = Rc::clone(&holds);
        spawn_local(async move {
            loop {
                let event = this.desk.next_change().await;
                this.changed(&event);
            }
        });
        holds
    }

    /// A worker holds a statement; `shown`: what people see of it. Must run inside of a `LocalSet`.
    pub(super) fn hold(self: &Rc<Self>, line: &Line, ask: HoldAsk, shown: Vec<u8>) {
        let (this, line) = (Rc::clone(self), Rc::clone(line));
        let place = (Rc::as_ptr(&line), ask.hold);
        self.coming.borrow_mut().insert(place);
        spawn_local(async move {
            this.introduced(&ask).await;
            if !this.coming.borrow_mut().remove(&place) {
                return;
            }
            let word = match this.ask(&line, &ask, &shown) {
                Ok(word) => word,
                Err(why) => HoldWord::Denied { grant: None, why: DenialWord::Unavailable(why) },
            };
            tell(&line, ask.hold, word);
        });
    }

    /// Who acts on a session is told on another way, which may take a moment longer; before that it may have been known as
    /// somebody else, or as nobody.
    async fn introduced(&self, ask: &HoldAsk) {
        let deadline = Instant::now() + PATIENCE;
        let is_known = || {
            let pipeline = self.pipeline.borrow();
            pipeline
                .sessions
                .get_mediated(SocketCookie(ask.connection))
                .is_some_and(|session| acts(ask, session).is_some())
        };
        while ask.holder.is_some() && !is_known() && Instant::now() < deadline {
            self.rings.wake();
            sleep(LOOK).await;
        }
    }

    fn ask(&self, line: &Line, ask: &HoldAsk, shown: &[u8]) -> Result<HoldWord, String> {
        if self.live.borrow().len() >= HOLDS_MAX {
            return Err(format!("{HOLDS_MAX} statements wait for an approval already"));
        }
        let shown: ShownStatement =
            serde_json::from_slice(shown).map_err(|_broken| "it did not arrive whole".to_owned())?;
        let (principal, request, view) = {
            let pipeline = self.pipeline.borrow();
            let session = pipeline.sessions.get_mediated(SocketCookie(ask.connection));
            let session = session.ok_or("its session is not known")?;
            let principal = acts(ask, session).ok_or("it needs an approval, and it is not known who asks")?;
            let request = request(ask, &shown, session, principal);
            (Arc::clone(principal), request, Rc::new(HeldView::new(ask, shown, session)))
        };
        let wait = patience(ask, &principal);
        match self.desk.hold(&principal, &ask.rule, wait, request, Rc::clone(&view))? {
            Asked::Approved(grant) => Ok(HoldWord::Approved { grant: grant.to_string() }),
            Asked::Waits(grant) => {
                spawn_local(look(Rc::clone(&self.catalogues), ask.database, view));
                let live = Live { line: Rc::downgrade(line), hold: ask.hold, cancel: ask.cancel };
                self.live.borrow_mut().insert(grant, live);
                let until = WallTime(clock::wall().0.saturating_add(wait));
                Ok(HoldWord::Asked {
                    grant: grant.to_string(),
                    approvers: APPROVERS.to_owned(),
                    until: Timestamp(until).to_string(),
                    seconds: wait / SECOND,
                })
            }
        }
    }

    /// A session does not want its statement any more, or has ended.
    pub(super) fn over(&self, line: &Line, hold: u64) {
        self.coming.borrow_mut().remove(&(Rc::as_ptr(line), hold));
        let why = "the client has gone, or the statement cannot run any more";
        self.withdraw(why, |live| (live.hold == hold && live.is_of(line)).then_some(None));
    }

    /// A client cancels what waits under this name.
    pub(super) fn cancel(&self, name: [u8; 32]) {
        self.withdraw("the client has cancelled it", |live| {
            (live.cancel == Some(name)).then_some(Some(DenialWord::Cancelled))
        });
    }

    /// A worker has ended, and everything that it held with it.
    pub(super) fn lose(&self, line: &Line) {
        self.coming.borrow_mut().retain(|(known, _)| *known != Rc::as_ptr(line));
        self.withdraw("the worker that held it has ended", |live| live.is_of(line).then_some(None));
    }

    /// Withdraws what `which` picks, and says the word that it has for the worker.
    fn withdraw(&self, why: &str, which: impl Fn(&Live) -> Option<Option<DenialWord>>) {
        let picked: Vec<_> = self.live.borrow().iter().filter_map(|(id, live)| Some((*id, which(live)?))).collect();
        for (grant, word) in picked {
            let live = self.live.borrow_mut().remove(&grant);
            self.desk.withdraw_statement(grant, why);
            if let (Some(live), Some(why)) = (live, word) {
                live.tell(HoldWord::Denied { grant: Some(grant.to_string()), why });
            }
        }
    }

    /// Something became of a request, and is on record.
    fn changed(&self, event: &AccessEvent) {
        let grant = event.grant.id;
        // What was decided in another way is out already.
        if !self.live.borrow().contains_key(&grant) {
            return;
        }
        let word = match event.change {
            AccessChange::Activated => match self.desk.consume(grant) {
                Ok(()) => HoldWord::Approved { grant: grant.to_string() },
                Err(why) => {
                    warn!(%grant, "an approved statement cannot go on: {why}");
                    denied(grant, DenialWord::Unavailable("its approval could not be recorded".to_owned()))
                }
            },
            AccessChange::Denied => denied(grant, denial(event)),
            AccessChange::Revoked | AccessChange::Expired | AccessChange::Withdrawn => {
                denied(grant, DenialWord::Refused("the request was taken back".to_owned()))
            }
            _ => return,
        };
        let live = self.live.borrow_mut().remove(&grant);
        if let Some(live) = live {
            live.tell(word);
        }
    }
}

impl Live {
    fn is_of(&self, line: &Line) -> bool {
        Weak::as_ptr(&self.line) == Rc::as_ptr(line)
    }

    /// A worker that has gone holds nothing.
    fn tell(&self, word: HoldWord) {
        if let Some(line) = self.line.upgrade() {
            tell(&line, self.hold, word);
        }
    }
}

fn tell(line: &Line, hold: u64, word: HoldWord) {
    if let Err(problem) = line.get_ref().try_send(&FromCore::Hold { hold, word }, &[], &[]) {
        // It waits on, and is refused when its time is over.
        warn!("a worker could not be told what was decided: {problem:#}");
    }
}

/// Asks the server about a statement that waits.
async fn look(catalogues: Rc<Catalogues>, database: u16, view: Rc<HeldView>) {
    let seen = if catalogues.has_login(database) {
        match catalogues.login(database).await {
            Ok(login) => view.ask(login).await,
            Err(problem) => Look::unknown(&format!("{problem:#}")),
        }
    } else {
        Look::unknown("Warder has no login here; see: warder setup postgres")
    };
    *view.look.borrow_mut() = Some(seen);
}

fn denied(grant: GrantId, why: DenialWord) -> HoldWord {
    HoldWord::Denied { grant: Some(grant.to_string()), why }
}

fn denial(event: &AccessEvent) -> DenialWord {
    let who = match &event.by {
        ChangedBy::Clock => return DenialWord::TimedOut,
        ChangedBy::Holder(holder) => holder.actor.id.to_string(),
        ChangedBy::Operator { uid } => format!("the operator with uid {uid}"),
        ChangedBy::Policy => "a policy".to_owned(),
    };
    let because = if event.reason.is_empty() { String::new() } else { format!(": {}", event.reason) };
    DenialWord::Refused(format!("{who} has denied it{because}"))
}

/// Who acts on the session, where that is on record and the session's worker says the same.
fn acts<'a>(ask: &HoldAsk, session: &'a Session) -> Option<&'a Arc<Principal>> {
    let principal = session.principal.known()?;
    (ask.holder.as_ref()? == &HolderForm::from(&Holder::from(&**principal))).then_some(principal)
}

/// How long it waits: not longer than whoever asks is known.
fn patience(ask: &HoldAsk, principal: &Principal) -> u64 {
    let wait = if ask.in_transaction { WAIT_IN_TRANSACTION } else { WAIT };
    let known = principal.expires.map(|end| end.0.saturating_sub(clock::wall().0));
    known.map_or(wait, |known| wait.min(known))
}

fn request(ask: &HoldAsk, shown: &ShownStatement, session: &Session, principal: &Principal) -> Ask {
    let mut actions: BTreeSet<Arc<str>> = shown.effects.iter().map(|effect| effect.action.as_str().into()).collect();
    if !shown.opaque.is_empty() || actions.is_empty() {
        actions.insert("Opaque".into());
    }
    let relations = shown.effects.iter().filter(|effect| effect.kind == "relation");
    let mut relations: BTreeSet<Arc<str>> =
        relations.filter_map(|effect| effect.name.as_deref().map(Arc::from)).collect();
    // A statement with more, or with names that are no line, is shown whole all the same.
    if !can_be_named(&relations) || shown.effects_more > 0 {
        relations = BTreeSet::from(["*".into()]);
    }
    Ask {
        holder: Holder::from(principal),
        scope: Scope {
            database: Arc::clone(&session.database_name),
            sql_database: Some(ask.sql_database.as_str().into()),
            actions,
            relations,
        },
        purpose: principal.purpose.clone().unwrap_or_else(|| NO_PURPOSE.into()),
        ticket: None,
        duration: APPROVED,
        once: Some(ask.digest()),
        break_glass: false,
        renews: None,
    }
}
