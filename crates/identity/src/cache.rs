//! What is known of an issuer's keys, how old it is, and when to ask again. No clock, no network.

use std::sync::Arc;
use std::time::Duration;

use model::time::WallTime;

use crate::key_set::KeySet;
use crate::seconds::between;
use crate::token_error::TokenError;

/// Shortest time between two questions. Tokens with an invented `kid` must not make the agent flood an issuer.
const PAUSE: Duration = Duration::from_secs(30);

/// How long keys are believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    /// Older keys are asked for again.
    pub(crate) fresh: Duration,
    /// Older keys are not used.
    pub(crate) stale_max: Duration,
}

/// Keys and times.
#[derive(Debug)]
pub(crate) struct Cache {
    ages: Ages,
    known: Option<Kept>,
    asked: Option<WallTime>,
    /// A question is on its way.
    waiting: bool,
    counts: Counts,
}

/// How often an issuer was asked for its keys, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions.
    pub asked: u64,
    /// Questions without an answer that can be used.
    pub failed: u64,
    /// Questions that were not asked because the last one was too short a time ago; each refused a token.
    pub withheld: u64,
}

#[derive(Clone, Debug)]
struct Kept {
    set: Arc<KeySet>,
    since: WallTime,
}

/// What to do for a token.
#[derive(Debug)]
pub(crate) enum Step {
    /// Use these keys.
    Use(Arc<KeySet>),
    /// Use these keys, and ask for newer ones without waiting for them.
    UseAndAsk(Arc<KeySet>),
    /// Ask, or wait for the question that is on its way; the token names a key that is not known.
    Ask,
    /// It is too early to ask, and without that there is no key.
    Refuse(TokenError),
}

impl Cache {
    pub(crate) fn new(ages: Ages) -> Self {
        Self { ages, known: None, asked: None, waiting: false, counts: Counts::default() }
    }

    /// What to do for a token that names the key `id`.
    pub(crate) fn step(&mut self, id: &str, now: WallTime) -> Step {
        match self.keys(id, now) {
            Ok(kept) if self.old(&kept, now) && self.may_ask(now) => Step::UseAndAsk(kept.set),
            Ok(kept) => Step::Use(kept.set),
            Err(_unknown) if self.waiting || self.may_ask(now) => Step::Ask,
            Err(error) => {
                self.counts.withheld = self.counts.withheld.saturating_add(1);
                Step::Refuse(error)
            }
        }
    }

    /// After a question: the keys, whatever came of it.
    pub(crate) fn answer(&self, id: &str, now: WallTime) -> Result<Arc<KeySet>, TokenError> {
        self.keys(id, now).map(|kept| kept.set)
    }

    /// Begins a question, if it is not too early for one.
    pub(crate) fn ask(&mut self, now: WallTime) -> bool {
        if !self.may_ask(now) {
            return false;
        }
        (self.asked, self.waiting) = (Some(now), true);
        self.counts.asked = self.counts.asked.saturating_add(1);
        true
    }

    /// The issuer answered a question of `asked`.
    pub(crate) fn learned(&mut self, set: KeySet, asked: WallTime) {
        self.known = Some(Kept { set: Arc::new(set), since: asked });
        self.waiting = false;
    }

    /// The question brought nothing.
    pub(crate) const fn failed(&mut self) {
        self.counts.failed = self.counts.failed.saturating_add(1);
        self.waiting = false;
    }

    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    fn keys(&self, id: &str, now: WallTime) -> Result<Kept, TokenError> {
        let kept = self.known.as_ref().ok_or(TokenError::KeysUnavailable)?;
        if age(kept.since, now).is_some_and(|age| age > self.ages.stale_max) {
            return Err(TokenError::KeysStale);
        }
        if kept.set.knows(id) { Ok(kept.clone()) } else { Err(TokenError::UnknownKey) }
    }

    fn old(&self, kept: &Kept, now: WallTime) -> bool {
        age(kept.since, now).is_none_or(|age| age >= self.ages.fresh)
    }

    /// A clock that was set back makes no pause longer: what lies in the future was long ago.
    fn may_ask(&self, now: WallTime) -> bool {
        !self.waiting && self.asked.is_none_or(|asked| age(asked, now).is_none_or(|age| age >= PAUSE))
    }
}

/// `None`: `since` is in the future.
fn age(since: WallTime, now: WallTime) -> Option<Duration> {
    (since <= now).then(|| between(since, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(seconds: u64) -> WallTime {
        WallTime(seconds * 1_000_000_000)
    }

    fn set(id: &str) -> KeySet {
        let point = "A".repeat(43);
        let text = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{id}","x":"{point}"}}]}}"#);
        KeySet::parse(text.as_bytes()).unwrap()
    }

    fn cache() -> Cache {
        Cache::new(Ages { fresh: Duration::from_secs(HOUR), stale_max: Duration::from_secs(24 * HOUR) })
    }

    /// A cache that learned the key `a` at `seconds`.
    fn learned(seconds: u64) -> Cache {
        let mut cache = cache();
        assert!(cache.ask(at(seconds)));
        cache.learned(set("a"), at(seconds));
        cache
    }

    /// The step in a word.
    fn step(cache: &mut Cache, id: &str, seconds: u64) -> &'static str {
        match cache.step(id, at(seconds)) {
            Step::Use(_) => "use",
            Step::UseAndAsk(_) => "use and ask",
            Step::Ask => "ask",
            Step::Refuse(error) => error.word(),
        }
    }

    #[test]
    fn the_first_token_asks_and_others_wait_with_it() {
        let mut cache = cache();
        assert_eq!(step(&mut cache, "a", 1000), "ask");
        assert!(cache.ask(at(1000)));
        assert_eq!(step(&mut cache, "a", 1001), "ask", "it waits for the same question");
        assert!(!cache.ask(at(1001)) && !cache.ask(at(9000)), "one question at a time");
        cache.learned(set("a"), at(1000));
        assert_eq!(step(&mut cache, "a", 1001), "use");
        assert_eq!(cache.counts(), Counts { asked: 1, failed: 0, withheld: 0 });
    }

    #[test]
    fn invented_keys_ask_once_in_a_while() {
        let mut cache = learned(1000);
        assert_eq!(step(&mut cache, "b", 1029), "unknown_key");
        assert_eq!(step(&mut cache, "b", 1030), "ask");
        assert!(cache.ask(at(1030)));
        cache.learned(set("a"), at(1030));
        for flood in 0..1000 {
            assert_eq!(step(&mut cache, &format!("k{flood}"), 1031), "unknown_key");
        }
        assert_eq!(cache.counts(), Counts { asked: 2, failed: 0, withheld: 1001 });
        assert_eq!(step(&mut cache, "a", 1031), "use", "who has a right token notices nothing");
    }

    #[test]
    fn keys_get_old_are_asked_for_and_end() {
        let mut cache = learned(0);
        assert_eq!(step(&mut cache, "a", HOUR - 1), "use");
        assert_eq!(step(&mut cache, "a", HOUR), "use and ask");
        assert!(cache.ask(at(HOUR)));
        assert_eq!(step(&mut cache, "a", HOUR), "use", "nobody waits for it");
        cache.failed();
        assert_eq!(step(&mut cache, "a", HOUR + 29), "use");
        assert_eq!(step(&mut cache, "a", HOUR + 30), "use and ask");
        assert_eq!(step(&mut cache, "a", 24 * HOUR), "use and ask");
        assert_eq!(step(&mut cache, "a", 24 * HOUR + 1), "ask");
        assert!(cache.ask(at(24 * HOUR + 1)));
        cache.failed();
        assert_eq!(step(&mut cache, "a", 24 * HOUR + 2), "keys_stale");
        assert_eq!(cache.counts().failed, 2);
    }

    #[test]
    fn a_new_set_replaces_the_old_one() {
        let mut cache = learned(0);
        assert!(cache.ask(at(100)));
        cache.learned(set("b"), at(100));
        assert_eq!(cache.answer("a", at(100)).err(), Some(TokenError::UnknownKey));
        assert!(cache.answer("b", at(100)).is_ok());
    }

    #[test]
    fn an_issuer_that_was_never_reached_is_unavailable() {
        let mut cache = cache();
        assert!(cache.ask(at(10)));
        cache.failed();
        assert_eq!(step(&mut cache, "a", 11), "keys_unavailable");
        assert_eq!(step(&mut cache, "a", 40), "ask");
    }

    #[test]
    fn a_clock_that_is_set_back_blocks_nothing() {
        let mut cache = learned(1_000_000);
        assert_eq!(step(&mut cache, "b", 10), "ask");
        assert_eq!(step(&mut cache, "a", 10), "use and ask");
    }
}
