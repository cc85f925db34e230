//! What somebody has used of a bound in the minute that runs, counted for all workers together.
//!
//! Each worker counts its own in a table that all of them read. A place of a minute that is over is taken again, so nothing has
//! to be cleared.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use nix::sys::mman::ProtFlags;

use crate::bulletin::{self, COUNTS_AT, COUNTS_WORDS};
use crate::memory::{Map, OpenError};

/// Places of a table. Each has two words: whose, and the minute above how much.
const PLACES: usize = COUNTS_WORDS / 2;
/// How far from the place that its number says somebody is looked for.
const PROBES: usize = 64;
/// Whose count those without a place share. They are more than a table is for.
const CROWD: u64 = u64::MAX;

/// The counts of one worker, and those of the others to look at.
#[derive(Debug)]
pub struct Counts {
    own: Own,
    others: Vec<Map>,
}

#[derive(Debug)]
enum Own {
    Shared(Map),
    Alone(Box<[AtomicU64]>),
}

impl Counts {
    /// In a bulletin that was passed to be written, beside others that were passed to be read.
    ///
    /// # Errors
    /// When one is no bulletin, or cannot be mapped.
    pub fn open<'a>(own: &OwnedFd, others: impl IntoIterator<Item = &'a OwnedFd>) -> Result<Self, OpenError> {
        let own = Own::Shared(bulletin::map(own, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?);
        let others = others.into_iter().map(|other| bulletin::map(other, ProtFlags::PROT_READ));
        Ok(Self { own, others: others.collect::<Result<_, _>>()? })
    }

    /// Of a process that has no others beside it.
    #[must_use]
    pub fn alone() -> Self {
        let own = (0..COUNTS_WORDS).map(|_| AtomicU64::new(0)).collect();
        Self { own: Own::Alone(own), others: Vec::new() }
    }

    /// Counts so much more for somebody (a number that all workers make alike), if it is within `max` with what all of them have
    /// counted in this minute. Two that take the last of it at the same moment may both get nothing; never both.
    pub fn take(&mut self, who: u64, amount: u64, max: u64, minute: u32) -> bool {
        // 0 is nobody.
        let who = who.max(1);
        let own = self.own.table();
        let (who, place) = claim(own, who, minute).map_or((CROWD, &own[..2]), |place| (who, place));
        let before = used(place, minute);
        store(place, minute, before.saturating_add(amount));
        // It stands there before the others are looked at: of two workers at least one sees the other.
        fence(Ordering::SeqCst);
        let others = self.others.iter().map(|map| look_up(table(map), who, minute));
        let all = others.fold(before.saturating_add(amount), u64::saturating_add);
        if all > max {
            store(place, minute, before);
        }
        all <= max
    }
}

impl Own {
    fn table(&self) -> &[AtomicU64] {
        match self {
            Self::Shared(map) => table(map),
            Self::Alone(words) => words,
        }
    }
}

fn table(map: &Map) -> &[AtomicU64] {
    &map.words()[COUNTS_AT..COUNTS_AT + COUNTS_WORDS]
}

/// The places where somebody may be, in order. The first of the table is that of the crowd.
fn places(table: &[AtomicU64], who: u64) -> impl Iterator<Item = &[AtomicU64]> {
    let first = usize::try_from(who % (PLACES as u64 - 1)).unwrap_or_default();
    (first..first + PROBES).map(|number| 1 + number % (PLACES - 1)).map(|number| &table[2 * number..2 * number + 2])
}

/// The place of somebody, taken if there was none. `None`: all are others' in this minute.
fn claim(table: &[AtomicU64], who: u64, minute: u32) -> Option<&[AtomicU64]> {
    let mut free = None;
    for place in places(table, who) {
        let whose = place[0].load(Ordering::Relaxed);
        if whose == who {
            return Some(place);
        }
        if whose == 0 || minute_of(place) != minute {
            free = free.or(Some(place));
        }
        if whose == 0 {
            break;
        }
    }
    let place = free?;
    // Nobody is to find the count of the one before under this name.
    store(place, minute, 0);
    place[0].store(who, Ordering::Release);
    Some(place)
}

/// What somebody has used according to a table.
fn look_up(table: &[AtomicU64], who: u64, minute: u32) -> u64 {
    if who == CROWD {
        return used(&table[..2], minute);
    }
    let whose = |place: &&[AtomicU64]| place[0].load(Ordering::Acquire);
    let found = places(table, who).take_while(|place| whose(place) != 0).find(|place| whose(place) == who);
    found.map_or(0, |place| used(place, minute))
}

fn minute_of(place: &[AtomicU64]) -> u32 {
    (place[1].load(Ordering::Relaxed) >> 32) as u32
}

fn used(place: &[AtomicU64], minute: u32) -> u64 {
    let word = place[1].load(Ordering::Acquire);
    if word >> 32 == u64::from(minute) { word & u64::from(u32::MAX) } else { 0 }
}

fn store(place: &[AtomicU64], minute: u32, used: u64) {
    place[1].store(u64::from(minute) << 32 | used.min(u32::MAX.into()), Ordering::Release);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

    use super::*;
    use crate::Bulletin;

    const WHO: u64 = 0x1234_5678_9abc_def0;

    /// The counts of two workers, and their bulletins.
    fn two() -> ([Counts; 2], [Bulletin; 2]) {
        let bulletins = [Bulletin::create().unwrap(), Bulletin::create().unwrap()];
        let counts = [0, 1].map(|own| again(&bulletins, own));
        (counts, bulletins)
    }

    fn again(bulletins: &[Bulletin; 2], own: usize) -> Counts {
        let writer = bulletins[own].writer().try_clone_to_owned().unwrap();
        Counts::open(&writer, [&bulletins[1 - own].reader().unwrap()]).unwrap()
    }

    #[test]
    fn workers_count_together() {
        let ([mut one, mut other], bulletins) = two();
        for _ in 0..2 {
            assert!(one.take(WHO, 1, 5, 7));
            assert!(other.take(WHO, 1, 5, 7));
        }
        assert!(!one.take(WHO, 2, 5, 7), "a refusal counts for nothing");
        assert!(one.take(WHO, 1, 5, 7));
        assert!(!other.take(WHO, 1, 5, 7));
        assert!(other.take(WHO + 1, 5, 5, 7), "somebody else");
        // A worker that starts again knows what the one before has counted.
        let mut one = again(&bulletins, 0);
        assert!(!one.take(WHO, 1, 5, 7));
        assert!(one.take(WHO, 5, 5, 8), "another minute");
        assert!(!other.take(WHO, 1, 5, 8));
    }

    #[test]
    fn who_is_pushed_aside_by_numbers_alike_is_found() {
        let ([mut one, mut other], _bulletins) = two();
        let alike = |number: u64| 5 + number * (PLACES as u64 - 1);
        for number in 0..PROBES as u64 {
            assert!(one.take(alike(number), 1, 1, 7));
            assert!(!other.take(alike(number), 1, 1, 7));
        }
        // No place is left: those share one.
        let full = PROBES as u64;
        assert!(one.take(alike(full), 1, 1, 7));
        assert!(!one.take(alike(full + 1), 1, 1, 7));
        // In the next minute all places are free again.
        assert!((0..PROBES as u64).all(|number| one.take(alike(full + number), 1, 1, 8)));
    }

    #[test]
    fn however_many_take_at_once_none_gets_beyond_the_bound() {
        let (counts, _bulletins) = two();
        let threads = counts.map(|mut counts| {
            std::thread::spawn(move || (0..20_000).filter(|_| counts.take(WHO, 1, 10_000, 7)).count())
        });
        let taken: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(taken <= 10_000, "{taken}");
        assert!(taken > 9_000, "{taken}");
    }

    #[test]
    fn bounds_beyond_what_is_counted_are_none() {
        let mut counts = Counts::alone();
        assert!(counts.take(0, u64::MAX, u64::MAX, 7));
        assert!(counts.take(0, 1, u64::MAX, 7));
        assert!(!counts.take(0, 1, u64::from(u32::MAX), 7));
    }
}
