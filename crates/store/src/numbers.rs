//! A set of record numbers, as ranges: a journal has millions, and what an index knows of them comes in blocks.

use std::ops::RangeInclusive;

/// Record numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Ascending, and never one directly after another.
    ranges: Vec<RangeInclusive<u64>>,
}

impl Numbers {
    /// Adds those from `first` to `last`. Ranges are added in ascending order; one that is not is left out.
    pub fn push(&mut self, first: u64, last: u64) {
        let end = self.ranges.last().map(|range| *range.end());
        match end {
            _ if last < first => {}
            Some(end) if first <= end => {}
            Some(end) if first == end + 1 => {
                if let Some(range) = self.ranges.last_mut() {
                    *range = *range.start()..=last;
                }
            }
            _ => self.ranges.push(first..=last),
        }
    }

    /// Whether it is the empty set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether all from `first` to `last` are in it.
    #[must_use]
    pub fn have_all(&self, first: u64, last: u64) -> bool {
        let at = self.ranges.partition_point(|range| *range.end() < first);
        self.ranges.get(at).is_some_and(|range| range.contains(&first) && range.contains(&last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_one_range() {
        let mut numbers = Numbers::default();
        assert!(numbers.is_empty() && !numbers.have_all(1, 1));
        for (first, last) in [(1, 9), (10, 19), (30, 39), (35, 50), (60, 59)] {
            numbers.push(first, last);
        }
        for (first, last, all) in [
            (1, 19, true),
            (5, 15, true),
            (19, 19, true),
            (0, 1, false),
            (19, 20, false),
            (10, 30, false),
            (30, 39, true),
            (40, 40, false),
        ] {
            assert_eq!(numbers.have_all(first, last), all, "{first} to {last}");
        }
    }
}
