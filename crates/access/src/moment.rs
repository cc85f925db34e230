//! Now, and until when, on two clocks.
//!
//! The time of day can be set, the time since boot cannot. A deadline is over when either clock says so: one that is
//! set forward ends access early, one that is set back changes nothing. After a boot only the time of day is left: so
//! the desk moves deadlines along when that clock is set back ([`Deadline::anchored`]), and one that wakes up earlier
//! than it was last seen lets no access live on ([`Desk::restore`](crate::Desk::restore)).

use model::id::BootId;
use model::time::{BootTime, WallTime};

/// How far the clocks may drift apart, in nanoseconds, before a deadline is written anew.
pub const SLACK: u64 = 1_000_000_000;

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

    /// The same, where the time of day was set back: after the next boot it would be the only clock, and prolong what
    /// has a deadline. `None`: the clocks agree, but for [`SLACK`].
    #[must_use]
    pub fn anchored(self, now: Moment) -> Option<Self> {
        let left = self.left(now);
        let by_wall = self.wall.0.saturating_sub(now.wall.0);
        (by_wall.saturating_sub(left) > SLACK).then_some(Self { wall: now.after(left).wall, ..self })
    }

    /// The same, counted by the clock of this boot.
    #[must_use]
    pub fn in_this_boot(self, now: Moment) -> Self {
        let boot = BootTime(now.boot.0.saturating_add(self.left(now)));
        Self { wall: self.wall, boot, boot_id: now.boot_id }
    }
}
