//! The boot clock, read once for each chunk. It is read from memory, without a system call.

use model::time::BootTime;
use nix::time::{ClockId, clock_gettime};

/// Now.
pub(crate) fn now() -> BootTime {
    // The clock exists since Linux 2.6.39: there is no reason to fail.
    let Ok(now) = clock_gettime(ClockId::CLOCK_BOOTTIME) else { return BootTime(0) };
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec()).unwrap_or(0);
    BootTime(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
