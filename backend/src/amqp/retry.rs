//! When to try again: at once, then after pauses that double.

use std::time::Duration;

use iothub_protocol::Clock;

/// How those who wait for messages go about a connection that is lost. They never give up; a
/// connection that cannot be made at first is an error at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The pause after the second failure in a row; later ones double. The first has none.
    pub first_delay: Duration,
    /// No pause is longer.
    pub longest_delay: Duration,
}

impl Default for RetryPolicy {
    /// From 100 ms to 30 s.
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(30),
        }
    }
}

/// Failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Failures(u32);

impl Failures {
    /// Counts one more and waits before the next attempt.
    pub(crate) async fn pause(&mut self, policy: &RetryPolicy, clock: &dyn Clock) {
        let delay = self.next_delay(policy);
        if delay.is_zero() {
            // Where time stands still and pauses have no length, others are to get their turn.
            tokio::task::yield_now().await;
        } else {
            clock.sleep_until(clock.now() + delay).await;
        }
    }

    fn next_delay(&mut self, policy: &RetryPolicy) -> Duration {
        self.0 = self.0.saturating_add(1);
        let Some(doublings) = self.0.checked_sub(2) else {
            return Duration::ZERO;
        };
        let delay = policy.first_delay.saturating_mul(1 << doublings.min(20));
        delay.min(policy.longest_delay)
    }

    /// It works again: the next failure is a first one.
    pub(crate) fn reset(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = RetryPolicy {
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_millis(350),
        };
        let mut failures = Failures::default();

        let delays: Vec<_> = (0..5)
            .map(|_| failures.next_delay(&policy).as_millis())
            .collect();
        failures.reset();

        assert_eq!(delays, [0, 100, 200, 350, 350]);
        assert_eq!(failures.next_delay(&policy), Duration::ZERO);
    }
}
