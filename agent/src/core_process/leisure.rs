//! Whether the host has processors to spare. What can wait (indexing, sealing) does not take them from the database.

use std::time::Duration;

use model::time::BootTime;

/// How long one look covers at least.
const PERIOD_NANOS: u64 = 1_000_000_000;
/// Ticks a second of `/proc/stat` (`USER_HZ`, the same on every architecture that runs the agent).
const TICKS_PER_SECOND: u64 = 100;

/// Compares what the kernel counts as idle from look to look.
#[derive(Debug)]
pub(super) struct Leisure {
    looked: BootTime,
    idle: Option<Duration>,
    has: bool,
}

impl Leisure {
    /// Nothing is known yet, which means leisure.
    pub(super) fn new(now: BootTime) -> Self {
        Self { looked: now, idle: idle_since_boot(), has: true }
    }

    /// Whether half a processor or more had nothing to do in the last second. Always, where the kernel does not say.
    pub(super) fn has(&mut self, now: BootTime) -> bool {
        let passed = now.nanos_since(self.looked);
        if passed >= PERIOD_NANOS {
            let idle = idle_since_boot();
            self.has = is_enough(self.idle, idle, Duration::from_nanos(passed));
            (self.looked, self.idle) = (now, idle);
        }
        self.has
    }
}

fn is_enough(before: Option<Duration>, now: Option<Duration>, passed: Duration) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => now.saturating_sub(before) >= passed / 2,
        _ => true,
    }
}

/// Time that all processors together had nothing to do.
fn idle_since_boot() -> Option<Duration> {
    parse(&std::fs::read_to_string("/proc/stat").ok()?)
}

/// The first line: user nice system idle iowait irq softirq steal guest guest_nice.
fn parse(stat: &str) -> Option<Duration> {
    let ticks: u64 = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().nth(3)?.parse().ok()?;
    Some(Duration::from_millis(ticks.saturating_mul(1000 / TICKS_PER_SECOND)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_idle_time_counts() {
        let stat = "cpu  100 10 50 9999 700 5 35 400 0 0\ncpu0 1 2 3\n";
        assert_eq!(parse(stat), Some(Duration::from_millis(99_990)));
        assert_eq!(parse("intr 1 2 3\n"), None);
    }

    #[test]
    fn half_a_processor_is_enough_and_silence_is_leisure() {
        let (second, ticks) = (Duration::from_secs(1), Duration::from_millis);
        assert!(is_enough(Some(ticks(1000)), Some(ticks(1500)), second));
        assert!(!is_enough(Some(ticks(1000)), Some(ticks(1490)), second));
        assert!(is_enough(None, Some(ticks(1490)), second));
        assert!(is_enough(Some(ticks(1000)), None, second));
    }

    #[test]
    fn this_kernel_says() {
        assert!(idle_since_boot().is_some());
    }
}
