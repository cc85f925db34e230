//! One access: a role, the session that it is for, and what was seen of its end.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use mint::name::RoleName;
use mint::note;
use mint::statements::Defaults;
use model::access::Holder;
use model::credential::{AccessEnd, Confirmation, Credential, CredentialStep};
use model::id::{SessionId, SocketCookie};
use model::mediation::End;
use model::principal::Principal;
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

/// It.
pub(in crate::core_process) struct Access {
    pub(in crate::core_process) role: RoleName,
    pub(in crate::core_process) connection: SocketCookie,
    pub(in crate::core_process) group: Arc<str>,
    pub(in crate::core_process) principal: Option<Arc<Principal>>,
    /// For whom, for people and for the comment: the principal, and those for whom it acts.
    pub(super) named: String,
    pub(in crate::core_process) until: WallTime,
    pub(super) mint: Rc<Mint>,
    pub(super) defaults: Defaults,
    /// The same by a clock that nobody sets: setting the other one back makes no access longer.
    pub(super) deadline: BootTime,
    /// Why it is over when it is.
    pub(super) over: AccessEnd,
    /// To the worker, where this process has spoken with it about this.
    pub(super) line: Weak<AsyncFd<Link>>,
    pub(super) stage: Cell<Stage>,
    pub(super) seen: watch::Sender<Seen>,
    pub(super) orders: watch::Sender<Option<Order>>,
    /// The server was told that it ends: that outlives this process.
    pub(super) is_cut: watch::Sender<bool>,
}

impl Access {
    pub(super) fn new(
        role: RoleName,
        connection: SocketCookie,
        mint: Rc<Mint>,
        until: WallTime,
        over: AccessEnd,
    ) -> Self {
        let (now, wall) = (clock::boot(), clock::wall());
        Self {
            role,
            connection,
            group: Arc::default(),
            principal: None,
            named: String::new(),
            until,
            mint,
            defaults: Defaults::default(),
            deadline: BootTime(now.0.saturating_add(until.0.saturating_sub(wall.0))),
            over,
            line: Weak::new(),
            stage: Cell::new(Stage::Reserved(now)),
            seen: watch::Sender::default(),
            orders: watch::Sender::default(),
            is_cut: watch::Sender::default(),
        }
    }

    pub(super) fn is_over(&self, now: BootTime, wall: WallTime) -> bool {
        now >= self.deadline || wall >= self.until
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

    /// Whether it has this name, or was made for a principal with it, or for one who acts for that.
    pub(in crate::core_process) fn is_of(&self, whose: &str) -> bool {
        self.role.as_str() == whose || self.named.split(ACTS_FOR).any(|name| name == whose)
    }

    /// Whether it was made for this holder, at this database of the configuration.
    pub(super) fn is_held_by(&self, holder: &Holder, database: &str) -> bool {
        let is_theirs = match &self.principal {
            Some(principal) => Holder::from(&**principal) == *holder,
            // One that was adopted is known by the comment of its role only.
            None => self.named == note::cut(&named(holder)),
        };
        is_theirs && *self.mint.name == *database
    }

    pub(in crate::core_process) fn view(&self) -> AccessView {
        AccessView {
            role: self.role.to_string(),
            group: self.group.to_string(),
            database: self.mint.name.to_string(),
            principal: self.named.clone(),
            until: Timestamp(self.until),
            connection: self.connection.0,
        }
    }

    /// A record about it.
    pub(super) fn credential(&self, step: CredentialStep) -> Credential {
        let role = Arc::from(self.role.as_str());
        Credential {
            principal: self.principal.clone(),
            session: self.seen.borrow().server.map(|(session, ..)| session),
            ..Credential::new(step, role, Arc::clone(&self.group), Arc::clone(&self.mint.name))
        }
    }
}
