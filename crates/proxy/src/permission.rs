//! What a client's bytes need to go to the server. `Upstream::forward` takes a [`Permission`], and there is no other
//! way to it; each of the four ways to a permission is in this file.

use recorder::Recorded;

use guard::Cleared;

use crate::settings::WhenUnrecorded;
use crate::stats::Stats;

/// Bytes of a client may go to the server: once.
#[derive(Debug)]
#[must_use = "a permission is there to be handed to whoever forwards"]
pub(crate) struct Permission(());

impl Permission {
    /// They are recorded.
    pub(crate) fn recorded(proof: Recorded) -> Self {
        let _used_up = proof;
        Self(())
    }

    /// They are not recorded, which is allowed.
    pub(crate) fn unrecorded(exemption: Unrecorded) -> Self {
        let _used_up = exemption;
        Self(())
    }

    /// They are the guard's own: nothing that a client said is in them.
    pub(crate) fn own(clearance: &Cleared) -> Self {
        let _looked_at = clearance;
        Self(())
    }

    /// They are ciphertext.
    pub(crate) fn unread(ciphertext: &Unread) -> Self {
        let _looked_at = ciphertext;
        Self(())
    }
}

/// Nothing in the bytes asks for anything that was not decided about: the second thing that they need.
#[derive(Debug)]
#[must_use = "a clearance is there to be handed to whoever forwards"]
pub(crate) enum Clearance {
    /// The database has no policies.
    Ungoverned,
    /// The guard has decided.
    Cleared(Cleared),
}

/// Bytes may be forwarded although they are not recorded. Only a database that is not enforced mints it, counted.
#[derive(Debug)]
#[must_use = "an exemption is counted when it is made"]
pub(crate) struct Unrecorded(());

impl Unrecorded {
    /// `None`: the database is enforced.
    pub(crate) fn exempted(when: WhenUnrecorded, stats: &Stats) -> Option<Self> {
        match when {
            WhenUnrecorded::Continue => {
                stats.unrecorded();
                Some(Self(()))
            }
            WhenUnrecorded::Refuse => None,
        }
    }
}

/// From here on the connection is ciphertext between the client and the server.
#[derive(Debug)]
pub(crate) struct Unread(());

impl Unread {
    /// To be made where the server has agreed to TLS with the client, or the client has begun it; and noted there.
    pub(crate) const fn ciphertext() -> Self {
        Self(())
    }
}
