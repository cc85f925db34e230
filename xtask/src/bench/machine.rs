//! CPU time of the whole machine, from `/proc/stat`.

use std::time::Duration;

use anyhow::{Context, Result};

/// Ticks a second of `/proc/stat` (`USER_HZ`, fixed on every architecture that runs the agent).
const TICKS_PER_SECOND: u64 = 100;

/// CPU time that all processors together were not idle since boot.
pub(super) fn busy() -> Result<Duration> {
    parse(&std::fs::read_to_string("/proc/stat")?)
}

/// The first line: user nice system idle iowait irq softirq steal guest guest_nice; guest is part of user.
fn parse(stat: &str) -> Result<Duration> {
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("no cpu line in /proc/stat")?;
    let fields: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let field = |index: usize| fields.get(index).copied().unwrap_or_default();
    let busy: u64 = [0, 1, 2, 5, 6].into_iter().map(field).sum();
    Ok(Duration::from_millis(busy * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_waiting_and_stolen_time_do_not_count() {
        let busy = parse("cpu  100 10 50 9999 700 5 35 400 0 0\ncpu0 1 2 3\n").expect("a cpu line");
        assert_eq!(busy, Duration::from_secs(2));
    }
}
