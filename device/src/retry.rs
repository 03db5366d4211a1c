//! When to try again: pauses that double, each with a random part, so that a thousand devices do
//! not come back at once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// How a client goes about a connection that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The pause after the first failure; later ones double.
    pub first_delay: Duration,
    /// No pause is longer.
    pub longest_delay: Duration,
    /// How often to try before the client was ever connected; afterwards it never gives up.
    pub first_connection_attempts: u32,
    /// Makes the random part of the pauses the same in each run. `None`: a different one.
    pub seed: Option<u64>,
}

impl Default for RetryPolicy {
    /// From 100 ms to 30 s; five attempts, in about two seconds, to connect at first.
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(30),
            first_connection_attempts: 5,
            seed: None,
        }
    }
}

/// The pauses of one client.
#[derive(Debug)]
pub(crate) struct Schedule {
    policy: RetryPolicy,
    failures: u32,
    random: Random,
}

impl Schedule {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        // A new hasher is seeded by the operating system.
        let seed = policy
            .seed
            .unwrap_or_else(|| RandomState::new().build_hasher().finish());
        Self {
            policy,
            failures: 0,
            random: Random(seed),
        }
    }

    /// How long to wait now that an attempt failed; `None` when there is to be no other.
    pub(crate) fn next_delay(&mut self, was_ever_connected: bool) -> Option<Duration> {
        self.failures += 1;
        if !was_ever_connected && self.failures >= self.policy.first_connection_attempts {
            return None;
        }
        let doubled = self
            .policy
            .first_delay
            .saturating_mul(1 << (self.failures - 1).min(20));
        let longest = doubled.min(self.policy.longest_delay);
        Some(longest.mul_f64(0.5 + 0.5 * self.random.fraction()))
    }

    /// The connection proved good: the next failure is a first one again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// SplitMix64: small, and good enough to spread pauses.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// At least 0, less than 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: u64) -> Schedule {
        Schedule::new(RetryPolicy {
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(8),
            first_connection_attempts: 3,
            seed: Some(seed),
        })
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_keep_at_least_half() {
        let mut schedule = schedule(1);

        for expected in [1, 2, 4, 8, 8, 8].map(Duration::from_secs) {
            let delay = schedule.next_delay(true).unwrap();
            assert!(
                delay >= expected / 2 && delay <= expected,
                "{delay:?} of {expected:?}"
            );
        }
    }

    #[test]
    fn same_seed_gives_the_same_pauses_and_another_seed_others() {
        let pauses = |seed| {
            let mut schedule = schedule(seed);
            std::array::from_fn::<_, 4, _>(|_| schedule.next_delay(true))
        };

        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
    }

    #[test]
    fn first_connection_is_given_up_after_its_attempts() {
        let mut schedule = schedule(1);

        let pauses: Vec<_> = (0..3)
            .map(|_| schedule.next_delay(false).is_some())
            .collect();

        assert_eq!(pauses, [true, true, false]);
    }

    #[test]
    fn connection_that_proved_good_starts_over() {
        let mut schedule = schedule(1);
        for _ in 0..5 {
            schedule.next_delay(true);
        }

        schedule.reset();

        assert!(schedule.next_delay(true).unwrap() <= Duration::from_secs(1));
    }

    #[test]
    fn long_outage_does_not_overflow() {
        let mut schedule = schedule(1);

        assert!((0..10_000).all(|_| schedule.next_delay(true).is_some()));
    }
}
