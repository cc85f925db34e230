//! When the fail mode let connections pass.

use model::time::BootTime;

/// Spans of an open door that are remembered: the core has told of older ones.
const OPEN_SPANS_MAX: usize = 32;
/// A connection that the kernel let pass is accepted by the server within this time.
const ACCEPT_NANOS: u64 = 200_000_000;

/// Spans of time in which it did.
#[derive(Debug, Default)]
pub(super) struct Passing {
    /// Begin, and end where it is over.
    pub(super) spans: Vec<(BootTime, Option<BootTime>)>,
    /// Connections that had passed at the last look, and when that was.
    passed: u64,
    looked: BootTime,
}

impl Passing {
    /// Nothing of the steering that is in place now has been seen yet.
    pub(super) fn restart(&mut self, now: BootTime) {
        (self.passed, self.looked) = (0, now);
    }

    pub(super) fn add(&mut self, from: BootTime, to: Option<BootTime>) {
        if self.spans.len() == OPEN_SPANS_MAX {
            self.spans.remove(0);
        }
        self.spans.push((from, to));
    }

    /// `is_passing`: connections pass at this moment. Between two looks the counter tells.
    pub(super) fn look(&mut self, now: BootTime, is_passing: bool, passed: u64) {
        let has_passed = passed > std::mem::replace(&mut self.passed, passed);
        let before = std::mem::replace(&mut self.looked, now);
        let end = (!is_passing).then_some(BootTime(now.0.saturating_add(ACCEPT_NANOS)));
        match self.spans.last_mut() {
            Some((_, to)) if to.is_none() => *to = end,
            _ if is_passing || has_passed => self.add(before, end),
            _ => {}
        }
    }
}
