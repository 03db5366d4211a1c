//! A bucket of tokens with a queue: how a rate is held to without refusing a burst.
//!
//! The real hub measures in minutes, lets a burst through, then makes requests wait so that they
//! go on at the limit's rate, and refuses those that would have to wait too long ("traffic
//! shaping" in Microsoft's `iot-hub-devguide-quotas-throttling`).

use std::time::Duration;

use iothub_protocol::{Error, ErrorCode, Timestamp};

use super::{Throttle, ThrottleMeter};

/// What becomes of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It goes on.
    Pass,
    /// It goes on then.
    Wait(Timestamp),
    /// It does not.
    Refuse(Error),
}

/// How long the queue is, in time. Microsoft does not say; its own example, a third bulk request
/// of fifty within a minute at 100 a minute, is refused, which would have to wait for half a one.
const BACKLOG: Duration = Duration::from_secs(10);
/// Levels are counted in parts of a token, so that a tick's worth of the rate is a whole number.
const TOKEN: i128 = 60 * 10_000_000;

#[derive(Clone)]
pub(super) struct Bucket {
    per_minute: Option<u64>,
    /// Below zero by what waits. Full with a minute's worth.
    level: i128,
    at: Timestamp,
    delayed: u64,
    refused: u64,
}

impl Bucket {
    pub(super) fn new(per_minute: Option<u64>) -> Self {
        Self {
            per_minute,
            level: i128::from(per_minute.unwrap_or_default()) * TOKEN,
            at: Timestamp::UNIX_EPOCH,
            delayed: 0,
            refused: 0,
        }
    }

    pub(super) fn admit(&mut self, now: Timestamp, count: u64) -> Decision {
        let Some(per_minute) = self.per_minute else {
            self.refused += 1;
            let code = ErrorCode::OperationNotAvailableInCurrentTier;
            return Decision::Refuse(Error::new(code, code.default_message()));
        };
        self.refill(now);
        let level = self.level - i128::from(count) * TOKEN;
        if level >= 0 {
            self.level = level;
            return Decision::Pass;
        }
        let wait = wait(-level, per_minute);
        if wait > BACKLOG {
            self.refused += 1;
            let code = ErrorCode::ThrottlingException;
            let detail = format!("more than {per_minute} operations of this kind in a minute");
            return Decision::Refuse(Error::new(code, detail));
        }
        self.level = level;
        self.delayed += 1;
        Decision::Wait(now + wait)
    }

    /// Takes a token, or says when there is one.
    pub(super) fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        let Some(per_minute) = self.per_minute else {
            return Ok(());
        };
        self.refill(now);
        if self.level >= TOKEN {
            self.level -= TOKEN;
            return Ok(());
        }
        Err(now + wait(TOKEN - self.level, per_minute))
    }

    pub(super) fn meter(&mut self, now: Timestamp, throttle: Throttle) -> ThrottleMeter {
        self.refill(now);
        let tokens = |parts: i128| u64::try_from(parts).unwrap_or_default();
        ThrottleMeter {
            throttle,
            per_minute: self.per_minute,
            available: tokens(self.level / TOKEN),
            waiting: tokens((-self.level + TOKEN - 1) / TOKEN),
            delayed: self.delayed,
            refused: self.refused,
        }
    }

    fn refill(&mut self, now: Timestamp) {
        let per_minute = i128::from(self.per_minute.unwrap_or_default());
        let elapsed = i128::from(now.ticks()) - i128::from(self.at.ticks());
        if elapsed > 0 {
            self.level = (self.level + elapsed * per_minute).min(per_minute * TOKEN);
            self.at = now;
        }
    }
}

/// How long it takes until so much has flowed in.
fn wait(parts: i128, per_minute: u64) -> Duration {
    let per_minute = i128::from(per_minute.max(1));
    let ticks = (parts + per_minute - 1) / per_minute;
    Duration::from_nanos(u64::try_from(ticks * 100).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T0: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_minutes_worth_passes_at_once_then_the_rate_is_held_to_then_requests_are_refused() {
        let mut bucket = Bucket::new(Some(60));

        assert_eq!(bucket.admit(T0, 60), Decision::Pass);
        for second in 1..=10 {
            assert_eq!(bucket.admit(T0, 1), Decision::Wait(T0 + secs(second)));
        }
        assert!(matches!(bucket.admit(T0, 1), Decision::Refuse(_)));
        assert_eq!(bucket.admit(T0 + secs(1), 1), Decision::Wait(T0 + secs(11)));
        assert_eq!(bucket.admit(T0 + secs(13), 1), Decision::Pass);

        let meter = bucket.meter(T0 + secs(13), Throttle::Registry);
        assert_eq!((meter.delayed, meter.refused, meter.available), (11, 1, 1));
    }

    #[test]
    fn microsofts_example_third_bulk_request_of_fifty_is_refused() {
        let mut bucket = Bucket::new(Some(100));

        assert_eq!(bucket.admit(T0, 50), Decision::Pass);
        assert_eq!(bucket.admit(T0, 50), Decision::Pass);
        let Decision::Refuse(error) = bucket.admit(T0 + secs(1), 50) else {
            panic!("the third goes on");
        };
        assert_eq!(error.code, ErrorCode::ThrottlingException);
    }

    #[test]
    fn what_a_tier_does_not_have_is_refused() {
        let mut bucket = Bucket::new(None);

        let Decision::Refuse(error) = bucket.admit(T0, 1) else {
            panic!("it goes on");
        };
        assert_eq!(error.code, ErrorCode::OperationNotAvailableInCurrentTier);
    }

    #[test]
    fn what_is_taken_does_not_wait() {
        let mut bucket = Bucket::new(Some(600));

        assert_eq!(bucket.admit(T0, 599), Decision::Pass);
        assert_eq!(bucket.take(T0), Ok(()));
        let next = T0 + Duration::from_millis(100);
        assert_eq!(bucket.take(T0), Err(next));
        assert_eq!(bucket.take(next), Ok(()));
    }

    proptest! {
        /// Whatever is asked and when: within any stretch of time no more goes on than a minute's
        /// worth and what the stretch allows, and nobody waits longer than the backlog.
        #[test]
        fn the_rate_is_held_to(
            per_minute in 1_u64..10_000,
            requests in proptest::collection::vec((0_u64..5_000, 1_u64..50), 1..200),
        ) {
            let mut bucket = Bucket::new(Some(per_minute));
            let mut now = T0;
            let mut started: Vec<(Timestamp, u64)> = Vec::new();
            for (millis, count) in requests {
                now = now + Duration::from_millis(millis);
                match bucket.admit(now, count) {
                    Decision::Pass => started.push((now, count)),
                    Decision::Wait(until) => {
                        prop_assert!(until > now && until <= now + BACKLOG);
                        started.push((until, count));
                    }
                    Decision::Refuse(_) => {}
                }
            }
            started.sort();
            let mut sum = 0;
            for (at, count) in started {
                sum += count;
                let stretch = at.since(T0).as_nanos();
                let allowed = u128::from(per_minute)
                    + u128::from(per_minute) * stretch / 60_000_000_000 + 1;
                prop_assert!(u128::from(sum) <= allowed, "{sum} of {allowed} at {at}");
            }
        }
    }
}
