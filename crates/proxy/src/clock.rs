//! The clocks, read from memory, without a system call.

use model::time::{BootTime, WallTime};
use nix::time::{ClockId, clock_gettime};

/// Now, by the boot clock.
pub(crate) fn now() -> BootTime {
    BootTime(read(ClockId::CLOCK_BOOTTIME))
}

/// Now, by the wall clock: for policies that speak of hours and days, and for the end of proofs.
pub(crate) fn wall() -> WallTime {
    WallTime(read(ClockId::CLOCK_REALTIME))
}

fn read(clock: ClockId) -> u64 {
    // Both exist since Linux 2.6.39: there is no reason to fail.
    let Ok(now) = clock_gettime(clock) else { return 0 };
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
