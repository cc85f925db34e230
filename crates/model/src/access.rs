//! Access for a time: what was asked for, by whom, what was decided, and how it ended.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::principal::{Actor, Principal};
use crate::time::WallTime;
use crate::words::words;

/// Number of a grant, 40 random bits: short enough to be typed, and no mistake in typing hits another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(u64);

/// Letters of a [`GrantId`], five bits each: none that is taken for another (0 and o, 1 and l, u and v).
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Letters of one id.
const ID_LETTERS: u32 = 8;

impl GrantId {
    /// Of 40 random bits; what is above them is left out.
    #[must_use]
    pub const fn new(random: u64) -> Self {
        Self(random & ((1 << (5 * ID_LETTERS)) - 1))
    }

    /// The 40 bits.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// What [`Display`](fmt::Display) writes: `g-7k3f9q2d`; capital letters are taken as well. `None`: it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let letters = text.strip_prefix("g-").filter(|letters| letters.len() == ID_LETTERS as usize)?;
        let place = |letter: u8| LETTERS.iter().position(|known| *known == letter);
        let number = letters.bytes().try_fold(0, |number, letter| Some(number << 5 | place(letter)? as u64))?;
        Some(Self(number))
    }
}

/// `g-` and 8 letters.
impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("g-")?;
        (0..ID_LETTERS).rev().try_for_each(|place| {
            let letter = LETTERS.get((self.0 >> (5 * place) & 31) as usize).copied().unwrap_or_default();
            write!(f, "{}", letter as char)
        })
    }
}

/// Whose a grant is: the actor with its whole chain of delegation. *Agent X acting for person Y* is another holder than
/// agent X, or than person Y.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// Who does it.
    pub actor: Actor,
    /// On whose behalf, nearest first.
    pub acting_for: Vec<Actor>,
}

impl Holder {
    /// Whether what this one holds is somebody's own to give back: they hold it, or it is held for them.
    #[must_use]
    pub fn answers_to(&self, who: &Self) -> bool {
        self == who || (who.acting_for.is_empty() && self.acting_for.contains(&who.actor))
    }
}

impl From<&Principal> for Holder {
    fn from(principal: &Principal) -> Self {
        Self { actor: principal.actor.clone(), acting_for: principal.acting_for.clone() }
    }
}

/// What a grant covers. Nothing else, whatever roles the database knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Name of the `[[database]]` in the configuration.
    pub database: Arc<str>,
    /// SQL database; `None`: each of that server.
    pub sql_database: Option<Arc<str>>,
    /// Actions and groups of actions, as policies call them: `Delete`, `Read`. Never empty.
    pub actions: BTreeSet<Arc<str>>,
    /// `schema.name`, `schema.*` for everything in a schema, `*` for everything. Never empty.
    pub relations: BTreeSet<Arc<str>>,
}

/// SHA-256 over a statement's exact bytes and its parameters: what may run once, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatementDigest(pub [u8; 32]);

/// Access for a time, as it was asked for. It does not change; its [`GrantState`] does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Its number.
    pub id: GrantId,
    /// Who asked, and has it once it is active.
    pub holder: Holder,
    /// What it covers.
    pub scope: Scope,
    /// What for, in the words of whoever asked.
    pub purpose: Arc<str>,
    /// Ticket of another system.
    pub ticket: Option<Arc<str>>,
    /// For how long, in nanoseconds from when it becomes active.
    pub duration: u64,
    /// Only this statement, and only once.
    pub once: Option<StatementDigest>,
    /// It became active without anybody's approval; somebody reviews it afterwards.
    pub break_glass: bool,
    /// It goes on with what this one covers.
    pub renews: Option<GrantId>,
    /// The policy that lets it be asked for (`@id`).
    pub rule: Arc<str>,
    /// When it was asked for.
    pub requested: WallTime,
}

words! {
    /// How a grant stands.
    GrantState {
        /// Nobody has decided yet.
        Requested = "requested",
        /// It permits.
        Active = "active",
        /// Somebody said no, or nobody said yes in time.
        Denied = "denied",
        /// Its time is over.
        Expired = "expired",
        /// Somebody has taken it back.
        Revoked = "revoked",
        /// The one statement that it was for has run.
        Used = "used",
        /// Whoever asked for it does not want it any more.
        Withdrawn = "withdrawn",
    }
}

impl GrantState {
    /// Nothing more becomes of it.
    #[must_use]
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Requested | Self::Active)
    }
}

words! {
    /// What became of a grant.
    AccessChange {
        /// It was asked for.
        Requested = "requested",
        /// Somebody has approved it; perhaps others must as well.
        Approved = "approved",
        /// It is active from now on.
        Activated = "activated",
        /// Somebody has denied it, or nobody has decided in time.
        Denied = "denied",
        /// Nobody has decided for so long that others are asked, too.
        Escalated = "escalated",
        /// Its time is over.
        Expired = "expired",
        /// Somebody has taken it back.
        Revoked = "revoked",
        /// Its statement was let through.
        Used = "used",
        /// Whoever asked for it has taken that back, or has gone.
        Withdrawn = "withdrawn",
        /// Somebody has looked at what a broken glass was for.
        Reviewed = "reviewed",
        /// Nobody has, in time: an alert.
        ReviewOverdue = "review_overdue",
    }
}

/// By whom something became of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangedBy {
    /// Somebody who has shown a token.
    Holder(Holder),
    /// An operator at the control socket, by `SO_PEERCRED`: taking access back needs no token.
    Operator {
        /// Its uid.
        uid: u32,
    },
    /// Time.
    Clock,
    /// Policies: what they ask for is met.
    Policy,
}

/// Something became of a grant: a record, written before it takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessEvent {
    /// Which.
    pub grant: Arc<Grant>,
    /// What.
    pub change: AccessChange,
    /// How it stands then.
    pub state: GrantState,
    /// By whom.
    pub by: ChangedBy,
    /// Why, in their words; empty: they did not say.
    pub reason: Arc<str>,
    /// Approvals that it has then, and that it needs.
    pub approvals: (u8, u8),
    /// When it ends, if it is active then.
    pub not_after: Option<WallTime>,
}
