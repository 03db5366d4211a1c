//! How long operations take: counts of durations between fixed bounds, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The bounds between which durations are counted, in microseconds, each of them inclusive above.
/// Ten a decade, from 1 µs to 100 s; what is longer is counted beyond the last.
pub const BOUNDS: [u64; 81] = bounds();

const STEPS: [u64; 10] = [100, 125, 160, 200, 250, 315, 400, 500, 630, 800];

const fn bounds() -> [u64; 81] {
    let mut bounds = [0; 81];
    let (mut index, mut decade) = (0, 1);
    while index < 81 {
        // Below 10 µs, whole microseconds do not tell all steps apart: they are rounded up.
        bounds[index] = (STEPS[index % 10] * decade).div_ceil(100);
        if index % 10 == 9 {
            decade *= 10;
        }
        index += 1;
    }
    bounds
}

/// Durations so far.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Nanoseconds of all of them.
    sum: AtomicU64,
}

/// Durations as they were read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latencies {
    buckets: [u64; BOUNDS.len() + 1],
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    pub(super) fn record(&self, duration: Duration) {
        // A microsecond that has begun counts: a bound is inclusive.
        let micros = u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|&bound| bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Latencies {
        Latencies {
            buckets: std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

impl Latencies {
    /// None.
    pub const NONE: Self = Self {
        buckets: [0; BOUNDS.len() + 1],
        sum: 0,
    };

    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How many took no longer than this bound, one of [`BOUNDS`] or above all of them.
    pub fn up_to(&self, bound: u64) -> u64 {
        let last = BOUNDS.partition_point(|&below| below <= bound);
        let within = if last == BOUNDS.len() && bound > BOUNDS[last - 1] {
            last + 1
        } else {
            last
        };
        self.buckets[..within].iter().sum()
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// The duration that so many of a hundred did not exceed: within its bounds, as if all between
    /// them were evenly spread. `None`: there are none.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (percent / 100.0 * count as f64).clamp(1.0, count as f64);
        let mut below = 0;
        for (index, &here) in self.buckets.iter().enumerate() {
            if here > 0 && (below + here) as f64 >= rank {
                let floor = index.checked_sub(1).map_or(0, |index| BOUNDS[index]) as f64;
                let top = BOUNDS.get(index).map_or(floor, |&bound| bound as f64);
                let share = (rank - below as f64) / here as f64;
                let micros = floor + share * (top - floor);
                return Some(Duration::from_nanos((micros * 1000.0) as u64));
            }
            below += here;
        }
        None
    }

    /// What came in since `earlier` was read.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            buckets: std::array::from_fn(|index| {
                self.buckets[index].saturating_sub(earlier.buckets[index])
            }),
            sum: self.sum.saturating_sub(earlier.sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(durations: impl IntoIterator<Item = Duration>) -> Latencies {
        let histogram = Histogram::default();
        for duration in durations {
            histogram.record(duration);
        }
        histogram.read()
    }

    #[test]
    fn bounds_rise_and_every_decade_is_one() {
        assert!(BOUNDS.windows(2).all(|pair| pair[0] <= pair[1]));
        for decade in [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 100_000_000] {
            assert!(BOUNDS.contains(&decade), "{decade}");
        }
        assert_eq!(BOUNDS.last(), Some(&100_000_000));
    }

    #[test]
    fn a_duration_counts_at_its_bound_and_not_below() {
        let latencies = of([Duration::from_micros(100), Duration::from_nanos(100_001)]);

        assert_eq!(latencies.up_to(80), 0);
        assert_eq!(latencies.up_to(100), 1);
        assert_eq!(latencies.up_to(125), 2);
        assert_eq!(latencies.up_to(u64::MAX), 2);
    }

    #[test]
    fn what_is_longer_than_the_last_bound_is_counted_beyond_it() {
        let latencies = of([Duration::from_secs(3600)]);

        assert_eq!(latencies.up_to(100_000_000), 0);
        assert_eq!(latencies.count(), 1);
        assert_eq!(latencies.percentile(50.0), Some(Duration::from_secs(100)));
    }

    #[test]
    fn percentiles_are_within_a_step_of_the_truth() {
        let latencies = of((1..=10_000).map(Duration::from_micros));

        for percent in [1.0, 10.0, 50.0, 90.0, 99.0, 100.0] {
            let told = latencies.percentile(percent).unwrap().as_secs_f64() * 1e6;
            let truth = percent * 100.0;
            assert!((told / truth - 1.0).abs() < 0.05, "{percent}: {told}");
        }
        assert_eq!(Latencies::NONE.percentile(50.0), None);
    }

    #[test]
    fn what_came_in_between_two_looks_is_their_difference() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(1));
        let earlier = histogram.read();
        histogram.record(Duration::from_millis(7));

        let since = histogram.read().since(&earlier);

        assert_eq!(since.count(), 1);
        assert_eq!(since.sum(), Duration::from_millis(7));
    }
}
