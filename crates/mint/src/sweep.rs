//! Which roles nobody needs any more.

use model::id::{BootId, HostId};
use model::time::WallTime;

use crate::name::RoleName;
use crate::note::Note;

/// How long a role of another host is left alone after its end: its own agent may only be late, or its clock slow.
const FOREIGN_GRACE_NANOS: u64 = 600_000_000_000;

/// A role as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its comment.
    pub comment: Option<String>,
    /// Whether it may log in: one that may not was being taken away.
    pub can_login: bool,
    /// Sessions that it has.
    pub sessions: u64,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Somebody looks after it: this agent, or another whose time has not come.
    Kept,
    /// Nobody of this process knows it, and its connection is alive: it is looked after from now on.
    Adopted(RoleName, Note),
    /// Nobody needs it: it goes.
    Orphan(RoleName, Note),
    /// It has a name like ours and no comment of ours: somebody else made it, and it stays.
    Foreign,
}

/// Who sweeps.
#[derive(Clone, Copy, Debug)]
pub struct Sweeper {
    /// This host.
    pub host: HostId,
    /// This boot.
    pub boot: BootId,
    /// Now.
    pub now: WallTime,
}

impl Sweeper {
    /// What becomes of a role. `is_known`: this process looks after it. `is_alive`: its client's connection is open, as
    /// far as is known.
    #[must_use]
    pub fn fate(&self, found: &Found, is_known: impl Fn(&RoleName) -> bool, is_alive: impl Fn(&Note) -> bool) -> Fate {
        let Some(name) = RoleName::parse(&found.name) else { return Fate::Foreign };
        let Some(note) = found.comment.as_deref().and_then(Note::parse) else { return Fate::Foreign };
        if is_known(&name) {
            return Fate::Kept;
        }
        if note.host != self.host {
            let is_over = self.now.0 >= note.until.0.saturating_add(FOREIGN_GRACE_NANOS);
            return if is_over { Fate::Orphan(name, note) } else { Fate::Kept };
        }
        let may_live = found.can_login && found.sessions > 0 && note.boot == self.boot && self.now < note.until;
        if may_live && is_alive(&note) { Fate::Adopted(name, note) } else { Fate::Orphan(name, note) }
    }
}
