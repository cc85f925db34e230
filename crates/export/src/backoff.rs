//! Pauses between attempts: doubled each time, bounded, and random, so that receivers are not hit by all at once.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// The first pause is at most this long.
const FIRST: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Backoff {
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(max: Duration) -> Self {
        Self { max, failures: 0 }
    }

    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure; at least what the receiver asked for, as far as the bound allows.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        // A source of randomness that the standard library has; nothing depends on its quality.
        self.next_with(asked, RandomState::new().hash_one(self.failures))
    }

    fn next_with(&mut self, asked: Option<Duration>, random: u64) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(20)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        // Half is certain, half is random.
        let share = f64::from((random >> 32) as u32) / f64::from(u32::MAX);
        let pause = ceiling.mul_f64(0.5 + share / 2.0);
        pause.max(asked.unwrap_or_default()).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_no_further() {
        let max = Duration::from_secs(60);
        for random in [0, u64::MAX / 3, u64::MAX] {
            let mut backoff = Backoff::new(max);
            let pauses: Vec<Duration> = (0..100).map(|_| backoff.next_with(None, random)).collect();
            assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST);
            assert!(pauses.windows(2).all(|pair| pair[1] >= pair[0]));
            assert!(pauses[99] >= max / 2 && pauses[99] <= max);
            backoff.reset();
            assert!(backoff.next_with(None, random) <= FIRST);
        }
    }

    #[test]
    fn a_receiver_may_ask_for_patience_but_not_for_ever() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        assert_eq!(backoff.next_with(Some(Duration::from_secs(7)), 0), Duration::from_secs(7));
        assert_eq!(backoff.next_with(Some(Duration::from_secs(86_400)), 0), Duration::from_secs(60));
    }
}
