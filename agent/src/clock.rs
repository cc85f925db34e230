//! The one place that looks at clocks. Everything else is told the time.

use model::time::{BootTime, ClockOffset, WallTime};
use nix::time::{ClockId, clock_gettime};

fn nanos(clock: ClockId) -> u64 {
    let now = clock_gettime(clock).expect("both clocks exist since Linux 2.6.39");
    let seconds = u64::try_from(now.tv_sec()).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or_default()
}

/// Time since boot.
pub(crate) fn boot() -> BootTime {
    BootTime(nanos(ClockId::CLOCK_BOOTTIME))
}

/// Time of day.
pub(crate) fn wall() -> WallTime {
    WallTime(nanos(ClockId::CLOCK_REALTIME))
}

/// Where the boot clock stands on the wall clock now.
pub(crate) fn offset() -> ClockOffset {
    ClockOffset { nanos: nanos(ClockId::CLOCK_REALTIME).saturating_sub(nanos(ClockId::CLOCK_BOOTTIME)) }
}
