//! Durations by the millions in a fixed space.

use std::time::Duration;

/// Counts durations in buckets that are 1.6 % wide.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

/// Buckets per power of two, as a power of two.
const SUB_BITS: u32 = 6;
const BUCKETS: usize = (65 - SUB_BITS as usize) << SUB_BITS;

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }

    /// Counts `count` times the same duration.
    pub(crate) fn record(&mut self, duration: Duration, count: u64) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += count;
        self.total += count;
    }

    /// What `quantile` (0 to 1) of the durations do not exceed; `None` without durations.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<Duration> {
        if self.total == 0 {
            return None;
        }
        let wanted = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(Duration::from_nanos(upper_bound(index)))
    }
}

fn bucket(nanos: u64) -> usize {
    let exponent = nanos.checked_ilog2().unwrap_or(0);
    let shift = exponent.saturating_sub(SUB_BITS);
    // The leading one of the shifted number is itself the first bucket of its power of two.
    ((shift as usize) << SUB_BITS) + (nanos >> shift) as usize
}

/// The largest number of nanoseconds that falls into a bucket.
fn upper_bound(index: usize) -> u64 {
    let shift = (index >> SUB_BITS).saturating_sub(1);
    let first = (index - (shift << SUB_BITS)) as u64;
    ((first + 1) << shift).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_a_bucket_that_is_at_most_two_percent_wide() {
        for nanos in [
            0,
            1,
            63,
            64,
            65,
            127,
            128,
            129,
            1000,
            123_456,
            1 << 40,
            u64::MAX,
        ] {
            let bound = upper_bound(bucket(nanos));
            assert!(bound >= nanos, "{nanos} in a bucket up to {bound}");
            assert!(
                bound - nanos <= nanos / 60,
                "{nanos} in a bucket up to {bound}"
            );
        }
    }

    #[test]
    fn quantiles_of_a_uniform_distribution() {
        let mut histogram = Histogram::new();
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros), 1);
        }

        let median = histogram.quantile(0.5).unwrap().as_secs_f64() * 1e6;
        let last = histogram.quantile(1.0).unwrap().as_secs_f64() * 1e6;

        assert!((500.0..=508.0).contains(&median), "{median}");
        assert!((1000.0..=1016.0).contains(&last), "{last}");
    }
}
