//! Which of several workers takes the next connection.

/// Value of the maps `TURNS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// How many connections were given away; it wraps.
    pub next: u32,
    /// With whom the round begins that is under way.
    pub begin: u32,
    /// How many workers take turns. Steering has that in its rule.
    pub workers: u32,
}
const _: () = assert!(size_of::<Turns>() == 12);

impl Turns {
    /// Whose turn it is among `workers`, and what is left behind. In each round everybody comes once, and the next begins with
    /// whomever `random` says: a client that connects twice for each session must not have all of them at one worker.
    #[inline(always)]
    #[must_use]
    pub const fn take(self, workers: u32, random: u32) -> (u32, Self) {
        let workers = if workers == 0 { 1 } else { workers };
        let begin = if self.next.is_multiple_of(workers) { random % workers } else { self.begin };
        let whose = (self.next % workers + begin % workers) % workers;
        (whose, Self { next: self.next.wrapping_add(1), begin, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_each_round_everybody_comes_once() {
        let mut turns = Turns::default();
        for random in [7, 0, 5, u32::MAX] {
            let mut came = [0; 3];
            for _ in 0..3 {
                let (whose, after) = turns.take(3, random);
                came[whose as usize] += 1;
                turns = after;
            }
            assert_eq!(came, [1; 3]);
        }
        assert_eq!(turns.take(0, 9).0, 0, "nobody is everybody's first");
    }

    #[test]
    fn who_connects_twice_for_each_session_spreads_all_the_same() {
        let mut turns = Turns::default();
        let mut kept = [0; 2];
        for random in [0, 1, 1, 0, 1, 0, 0, 1] {
            let (whose, after) = turns.take(2, random);
            kept[whose as usize] += 1;
            turns = after.take(2, random).1;
        }
        assert_eq!(kept, [4, 4]);
    }
}
