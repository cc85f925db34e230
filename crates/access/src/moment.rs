//! Now, and until when, on two clocks.
//!
//! The time of day can be set, the time since boot cannot. A deadline is over when either clock says so: one that is set
//! forward ends access early, one that is set back changes nothing. After a boot only the time of day is left; a desk
//! that wakes up earlier than it was last seen lets no access live on ([`Desk::restore`](crate::Desk::restore)).

use model::id::BootId;
use model::time::{BootTime, WallTime};

/// Now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time of day.
    pub wall: WallTime,
    /// Time since boot.
    pub boot: BootTime,
    /// Since which boot.
    pub boot_id: BootId,
}

/// Until when, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// By the time of day.
    pub wall: WallTime,
    /// By the time since boot.
    pub boot: BootTime,
    /// Since which boot; in another one only the time of day counts.
    pub boot_id: BootId,
}

impl Moment {
    /// So many nanoseconds from now.
    #[must_use]
    pub const fn after(self, nanos: u64) -> Deadline {
        Deadline {
            wall: WallTime(self.wall.0.saturating_add(nanos)),
            boot: BootTime(self.boot.0.saturating_add(nanos)),
            boot_id: self.boot_id,
        }
    }
}

impl Deadline {
    /// Either clock says that it is over.
    #[must_use]
    pub fn is_over(self, now: Moment) -> bool {
        self.left(now) == 0
    }

    /// Nanoseconds that are left, by the clock that says less.
    #[must_use]
    pub fn left(self, now: Moment) -> u64 {
        let wall = self.wall.0.saturating_sub(now.wall.0);
        if self.boot_id == now.boot_id { wall.min(self.boot.0.saturating_sub(now.boot.0)) } else { wall }
    }

    /// The same, counted by the clock of this boot.
    #[must_use]
    pub fn in_this_boot(self, now: Moment) -> Self {
        let boot = BootTime(now.boot.0.saturating_add(self.left(now)));
        Self { wall: self.wall, boot, boot_id: now.boot_id }
    }
}
