//! Two clocks that must not be confused.

/// Nanoseconds since the host booted, suspended time included (`CLOCK_BOOTTIME`,
/// `bpf_ktime_get_boot_ns`). Every kernel event carries this clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub u64);

impl BootTime {
    /// Nanoseconds from `earlier` to `self`; zero if the two are out of order.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Nanoseconds since 1970-01-01T00:00:00Z (`CLOCK_REALTIME`). Records carry this clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

/// Where the boot clock stands on the wall clock. Sampled by the agent, passed to pure crates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockOffset {
    /// `CLOCK_REALTIME - CLOCK_BOOTTIME` in nanoseconds.
    pub nanos: u64,
}

impl ClockOffset {
    /// The wall-clock time of a boot-clock time under this offset.
    #[must_use]
    pub const fn wall(self, at: BootTime) -> WallTime {
        WallTime(self.nanos.saturating_add(at.0))
    }
}
