//! Access through the proxy: what becomes of roles that are made for one session, and why an access ends.

use std::sync::Arc;

use crate::id::SessionId;
use crate::principal::Principal;
use crate::time::WallTime;
use crate::words::words;

words! {
    /// What becomes of an access. One without a role of its own has two steps: `ending` and `ended`.
    CredentialStep {
        /// It is about to be made: recorded before the server hears of it.
        Minting = "minting",
        /// It could not be made; perhaps it was and nobody was told: then a sweep finds it.
        Failed = "failed",
        /// It was decided that the access ends now: recorded before anything is done about it.
        Ending = "ending",
        /// The session has ended, and the role is gone.
        Ended = "ended",
        /// The role could not be taken away; it cannot be logged in with, and is tried again.
        Stuck = "stuck",
        /// A sweep found a role that nobody needs. An alert: somebody did not do his work.
        Orphan = "orphan",
        /// The core was replaced and looks after the role of a session that lives.
        Adopted = "adopted",
    }
}

words! {
    /// Why an access ends.
    AccessEnd {
        /// The session ended by itself.
        Session = "session",
        /// The token has expired.
        TokenExpired = "token_expired",
        /// The longest time that a minted role may live is over.
        Lifetime = "lifetime",
        /// The grant has expired.
        GrantExpired = "grant_expired",
        /// Somebody has revoked it.
        Revoked = "revoked",
        /// The policies do not allow the session any more.
        PolicyChanged = "policy_changed",
        /// Nobody needs the role.
        Orphan = "orphan",
    }
}

words! {
    /// How the kernel witness saw that the server's socket is closed.
    Confirmation {
        /// Live.
        Kernel = "kernel",
        /// By an iterator, after the event was lost.
        Iterator = "iterator",
        /// Not at all, within the time that it is waited for.
        Unseen = "unseen",
        /// There was no session: the role was never logged in with, or nobody knows its session any more.
        NoSession = "no_session",
    }
}

/// A role that was made for one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MintedRole {
    /// Its name.
    pub name: Arc<str>,
    /// The role whose rights it has.
    pub group: Arc<str>,
}

/// One step of an access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Which.
    pub step: CredentialStep,
    /// The session's own role; `None`: it has none, its login at the server is one that others have as well.
    pub role: Option<MintedRole>,
    /// Name of the database in the configuration.
    pub database_name: Arc<str>,
    /// The session, where it is known by now.
    pub session: Option<SessionId>,
    /// For whom; `None`: nobody knows any more (the comment of an orphan says a name).
    pub principal: Option<Arc<Principal>>,
    /// When the access ends at the latest.
    pub until: Option<WallTime>,
    /// Why it ends.
    pub end: Option<AccessEnd>,
    /// That the server's socket is closed.
    pub confirmation: Option<Confirmation>,
    /// Nanoseconds from the decision to the confirmation.
    pub latency: Option<u64>,
    /// For people: what went wrong, who decided.
    pub detail: Option<String>,
}

impl Credential {
    /// A step, nothing else known.
    #[must_use]
    pub const fn new(step: CredentialStep, role: Option<MintedRole>, database_name: Arc<str>) -> Self {
        Self {
            step,
            role,
            database_name,
            session: None,
            principal: None,
            until: None,
            end: None,
            confirmation: None,
            latency: None,
            detail: None,
        }
    }
}
