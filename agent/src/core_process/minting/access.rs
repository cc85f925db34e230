//! One access: a session through the proxy, its own role if it has one, and what was seen of its end.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use mint::name::RoleName;
use mint::note;
use mint::statements::Defaults;
use model::access::Holder;
use model::credential::{AccessEnd, Confirmation, Credential, CredentialStep, MintedRole};
use model::id::{SessionId, SocketCookie};
use model::mediation::End;
use model::principal::{Actor, Principal};
use model::session::Session;
use model::time::{BootTime, WallTime};
use store::time::Timestamp;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::Mint;
use crate::clock;
use crate::control::AccessView;
use crate::core_process::access_ends::EndSeen;
use crate::link::Link;

/// Between the names of those who act for each other.
const ACTS_FOR: &str = " for ";

/// Who it is, for people: whoever acts, and those for whom it acts.
pub(super) fn named(holder: &Holder) -> String {
    let names: Vec<&str> = std::iter::once(&holder.actor).chain(&holder.acting_for).map(|actor| &*actor.id).collect();
    names.join(ACTS_FOR)
}

/// Whose accesses are meant.
#[derive(Clone, Copy, Debug)]
pub(in crate::core_process) enum Whose<'a> {
    /// That of the role with this name; those of the principal with this name, and of whoever acts for it.
    Named(&'a str),
    /// This holder's, at this database of the configuration.
    Held { holder: &'a Holder, database: &'a str },
}

impl Whose<'_> {
    pub(super) fn is(self, access: &Access) -> bool {
        match (self, &access.principal) {
            (Self::Named(name), _) if access.role.as_ref().is_some_and(|role| role.name.as_str() == name) => true,
            (_, Some(principal)) => self.is_principal(principal, &access.database),
            // One that was adopted is known by the comment of its role only.
            (Self::Named(name), None) => {
                access.named == note::cut(name) || access.named.split(ACTS_FOR).any(|one| one == name)
            }
            (Self::Held { holder, database }, None) => {
                access.named == note::cut(&named(holder)) && *access.database == *database
            }
        }
    }

    pub(super) fn is_principal(self, principal: &Principal, at: &str) -> bool {
        let mut actors = std::iter::once(&principal.actor).chain(&principal.acting_for);
        match self {
            Self::Named(name) => actors.any(|actor: &Actor| *actor.id == *name),
            Self::Held { holder, database } => {
                at == database && holder.actor == principal.actor && holder.acting_for == principal.acting_for
            }
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core_process) enum Stage {
    /// It has a name since then.
    Reserved(BootTime),
    /// Its role is being made, or there, or being taken away.
    Made,
}

/// When a session is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core_process) enum When {
    /// When what runs has ended, within bounds.
    BetweenStatements,
    /// Whatever runs.
    Now,
}

/// The decision that it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core_process) struct Order {
    pub(super) end: AccessEnd,
    pub(super) when: When,
    pub(super) decided: BootTime,
    /// Who has decided, for people.
    pub(super) by: Option<String>,
}

/// What was seen of the end of its session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// The worker is done with it.
    pub(super) client: Option<End>,
    /// The server's socket is closed.
    pub(super) server: Option<(SessionId, Confirmation, BootTime)>,
}

/// A role that was made for one session.
pub(in crate::core_process) struct OwnRole {
    pub(super) name: RoleName,
    pub(super) group: Arc<str>,
    pub(super) mint: Rc<Mint>,
    pub(super) defaults: Defaults,
    pub(super) until: WallTime,
    /// The same by a clock that nobody sets: setting the other one back makes no access longer.
    pub(super) deadline: BootTime,
    /// Why it is over when it is.
    pub(super) over: AccessEnd,
}

impl OwnRole {
    pub(super) fn new(name: RoleName, group: &str, mint: Rc<Mint>, until: WallTime, over: AccessEnd) -> Self {
        let (now, wall) = (clock::boot(), clock::wall());
        let deadline = BootTime(now.0.saturating_add(until.0.saturating_sub(wall.0)));
        Self { name, group: group.into(), mint, defaults: Defaults::default(), until, deadline, over }
    }

    pub(super) fn is_over(&self, now: BootTime, wall: WallTime) -> bool {
        now >= self.deadline || wall >= self.until
    }
}

/// It.
pub(in crate::core_process) struct Access {
    pub(super) connection: SocketCookie,
    /// Name of the database in the configuration.
    pub(super) database: Arc<str>,
    /// `None`: its login at the server is one that others have as well.
    pub(super) role: Option<OwnRole>,
    pub(super) principal: Option<Arc<Principal>>,
    /// For whom, for people and for the comment: the principal, and those for whom it acts.
    pub(super) named: String,
    /// To the worker, where this process has spoken with it about this.
    pub(super) line: Weak<AsyncFd<Link>>,
    pub(super) stage: Cell<Stage>,
    pub(super) seen: watch::Sender<Seen>,
    pub(super) orders: watch::Sender<Option<Order>>,
    /// The server was told that it ends: that outlives this process.
    pub(super) is_cut: watch::Sender<bool>,
}

impl Access {
    /// With a role of its own, whose name is reserved.
    pub(super) fn with_role(connection: SocketCookie, role: OwnRole) -> Self {
        let database = Arc::clone(&role.mint.name);
        Self { role: Some(role), ..Self::new(connection, database, Stage::Reserved(clock::boot())) }
    }

    /// Of a session that lives and has none; `None`: it does not go through the proxy.
    pub(super) fn without_role(session: &Session, principal: &Arc<Principal>) -> Option<Self> {
        let connection = session.mediation.as_ref()?.accepted;
        Some(Self {
            principal: Some(Arc::clone(principal)),
            named: named(&Holder::from(&**principal)),
            ..Self::new(connection, Arc::clone(&session.database_name), Stage::Made)
        })
    }

    fn new(connection: SocketCookie, database: Arc<str>, stage: Stage) -> Self {
        Self {
            connection,
            database,
            role: None,
            principal: None,
            named: String::new(),
            line: Weak::new(),
            stage: Cell::new(stage),
            seen: watch::Sender::default(),
            orders: watch::Sender::default(),
            is_cut: watch::Sender::default(),
        }
    }

    /// The first decision stands, unless a later one is more urgent.
    pub(super) fn order(&self, order: Order) {
        self.orders.send_if_modified(|standing| {
            let is_news =
                standing.as_ref().is_none_or(|standing| standing.when != When::Now && order.when == When::Now);
            if is_news {
                *standing = Some(order);
            }
            is_news
        });
    }

    pub(super) fn saw(&self, end: EndSeen) {
        self.seen.send_modify(|seen| match end {
            EndSeen::Client { by } => seen.client = Some(by),
            EndSeen::Server { session, how, at } => seen.server = Some((session, how, at)),
        });
    }

    pub(in crate::core_process) fn view(&self) -> AccessView {
        let until = match &self.role {
            Some(role) => Some(role.until),
            None => self.principal.as_ref().and_then(|principal| principal.expires),
        };
        AccessView {
            role: self.role.as_ref().map(|role| role.name.to_string()),
            group: self.role.as_ref().map(|role| role.group.to_string()),
            database: self.database.to_string(),
            principal: self.named.clone(),
            until: until.map(Timestamp),
            connection: self.connection.0,
        }
    }

    /// A record about it.
    pub(super) fn credential(&self, step: CredentialStep) -> Credential {
        let own = |role: &OwnRole| MintedRole { name: role.name.as_str().into(), group: Arc::clone(&role.group) };
        Credential {
            principal: self.principal.clone(),
            session: self.seen.borrow().server.map(|(session, ..)| session),
            ..Credential::new(step, self.role.as_ref().map(own), Arc::clone(&self.database))
        }
    }
}
