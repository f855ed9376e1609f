//! How the ticks of a live scan went: how many, how long they took, what failed.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;

/// How many durations are remembered.
const REMEMBERED: usize = 1000;

/// Counts and timings of a live scan's ticks.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    /// All ticks.
    pub ticks: u64,
    /// Those that scanned.
    pub scans: u64,
    /// Those before which nothing had been written.
    pub unchanged: u64,
    /// Those that failed.
    pub errors: u64,
    /// Of these, those that found the database held by another process at every attempt.
    pub locked: u64,
    /// When the last failure was, and its text.
    pub last_error: Option<(Timestamp, String)>,
    /// The longest scan.
    pub longest: Duration,
    durations: VecDeque<Duration>,
}

impl Statistics {
    /// Takes in how long a scan took, from looking for the newest bar to its last row.
    pub fn took(&mut self, duration: Duration) {
        self.scans += 1;
        self.longest = self.longest.max(duration);
        if self.durations.len() == REMEMBERED {
            self.durations.pop_front();
        }
        self.durations.push_back(duration);
    }

    /// The durations of the latest scans, at most a thousand, oldest first.
    pub fn durations(&self) -> impl DoubleEndedIterator<Item = Duration> + ExactSizeIterator {
        self.durations.iter().copied()
    }

    /// The duration that this many percent of the latest scans did not exceed, by the nearest rank; `None` before the first one.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.durations().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_the_nearest_rank() {
        let mut statistics = Statistics::default();
        assert_eq!(statistics.percentile(50), None, "nothing is known before the first scan");
        // The worked example of the nearest-rank method: of 15, 20, 35, 40, 50 the 30th percentile is 20, the 40th 20, the 50th 35.
        for milliseconds in [35, 20, 15, 50, 40] {
            statistics.took(Duration::from_millis(milliseconds));
        }
        let of = |percent| statistics.percentile(percent).map(|duration| duration.as_millis());
        assert_eq!([of(5), of(30), of(40), of(50), of(100)], [Some(15), Some(20), Some(20), Some(35), Some(50)]);
    }

    #[test]
    fn memory_does_not_grow_with_time() {
        let mut statistics = Statistics::default();
        for milliseconds in 0..3000 {
            statistics.took(Duration::from_millis(milliseconds));
        }
        assert_eq!(statistics.durations().len(), REMEMBERED);
        assert_eq!(statistics.durations().next(), Some(Duration::from_millis(2000)), "the oldest go first");
        assert_eq!((statistics.scans, statistics.longest), (3000, Duration::from_millis(2999)));
    }
}
