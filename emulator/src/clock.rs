//! The emulator's clock: runs with the system's, can be set off from it, and can be stopped.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use iothub_protocol::{Clock, Timestamp};
use tokio::sync::watch;

/// A clock that can be frozen and moved forward. Nothing else in the process asks the time.
#[derive(Debug)]
pub struct HubClock {
    /// Ticks ahead of the system clock, while running.
    offset: AtomicI64,
    /// The time at which it stands, or [`RUNNING`].
    frozen_at: AtomicI64,
    /// Bumped whenever the time jumps, to wake sleepers.
    jumps: watch::Sender<u64>,
}

/// The marker of a clock that is not frozen; no clock stands at that time.
const RUNNING: i64 = i64::MIN;

impl HubClock {
    /// Runs with the system's clock.
    pub fn system() -> Self {
        Self {
            offset: AtomicI64::new(0),
            frozen_at: AtomicI64::new(RUNNING),
            jumps: watch::Sender::new(0),
        }
    }

    /// Stands at `start` until it is advanced.
    pub fn frozen(start: Timestamp) -> Self {
        let clock = Self::system();
        clock.frozen_at.store(start.ticks(), Ordering::SeqCst);
        clock
    }

    /// Whether it stands still.
    pub fn is_frozen(&self) -> bool {
        self.frozen_at.load(Ordering::SeqCst) != RUNNING
    }

    /// Stops it where it is.
    pub fn freeze(&self) {
        if !self.is_frozen() {
            self.frozen_at.store(self.now().ticks(), Ordering::SeqCst);
            self.jump();
        }
    }

    /// Lets it run on from where it stands.
    pub fn resume(&self) {
        let at = self.frozen_at.load(Ordering::SeqCst);
        if at != RUNNING {
            self.offset
                .store(at - system_now().ticks(), Ordering::SeqCst);
            self.frozen_at.store(RUNNING, Ordering::SeqCst);
            self.jump();
        }
    }

    /// Moves it forward to `time`; never back.
    pub fn advance_to(&self, time: Timestamp) {
        let ahead = time.ticks() - self.now().ticks();
        if ahead <= 0 {
            return;
        }
        if self.is_frozen() {
            self.frozen_at.store(time.ticks(), Ordering::SeqCst);
        } else {
            self.offset.fetch_add(ahead, Ordering::SeqCst);
        }
        self.jump();
    }

    fn jump(&self) {
        self.jumps.send_modify(|count| *count += 1);
    }

    /// How long `deadline` is away on the system's clock; `None` while time stands still.
    fn real_wait(&self, deadline: Timestamp) -> Option<Duration> {
        (!self.is_frozen()).then(|| deadline.since(self.now()))
    }
}

impl Clock for HubClock {
    fn now(&self) -> Timestamp {
        match self.frozen_at.load(Ordering::SeqCst) {
            RUNNING => {
                Timestamp::from_ticks(system_now().ticks() + self.offset.load(Ordering::Relaxed))
            }
            at => Timestamp::from_ticks(at),
        }
    }

    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let mut jumps = self.jumps.subscribe();
            while self.now() < deadline {
                let wait = self.real_wait(deadline);
                tokio::select! {
                    () = real_sleep(wait.unwrap_or_default()), if wait.is_some() => {}
                    changed = jumps.changed() => {
                        changed.expect("the sender lives in the clock that is being waited on");
                    }
                }
            }
        })
    }
}

/// Measures how long something takes. It never goes back and cannot be stopped, whatever the hub's
/// clock does.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Measures from now on.
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is where the time comes from"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How long ago it was started.
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is where the time comes from"
    )]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// A moment of the system's time, whatever the hub's clock does: long enough for those who wait for
/// the hub to get it.
pub(crate) async fn pause() {
    real_sleep(Duration::from_millis(1)).await;
}

/// The world's time, whatever the hub's clock does: for those who tell the world.
pub(crate) fn world_now() -> Timestamp {
    system_now()
}

/// So long by the system's time, whatever the hub's clock does: what a stream to an onlooker rests
/// between two pieces.
pub(crate) async fn rest(duration: Duration) {
    real_sleep(duration).await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "this file is where the time comes from"
)]
fn system_now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::UNIX_EPOCH + since_epoch
}

#[expect(
    clippy::disallowed_methods,
    reason = "this file is where waiting comes from"
)]
async fn real_sleep(duration: Duration) {
    // At least a millisecond, so that rounding cannot turn waiting into spinning.
    tokio::time::sleep(duration.max(Duration::from_millis(1))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frozen_clock_wakes_sleepers_only_when_advanced() {
        let start = Timestamp::from_unix_seconds(1_000);
        let clock = HubClock::frozen(start);
        let deadline = start + Duration::from_secs(3600);
        let mut sleep = clock.sleep_until(deadline);

        tokio::select! {
            biased;
            () = &mut sleep => panic!("time has not passed"),
            () = tokio::task::yield_now() => {}
        }
        clock.advance_to(deadline);
        sleep.await;

        assert_eq!(clock.now(), deadline);
    }

    #[test]
    fn a_resumed_clock_goes_on_from_where_it_stood() {
        let start = Timestamp::from_unix_seconds(1_000);
        let clock = HubClock::frozen(start);

        clock.resume();

        assert!(clock.now() >= start && clock.now() < start + Duration::from_secs(60));
        assert!(!clock.is_frozen());
    }
}
