//! A clock that a test moves.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use iothub_protocol::{Clock, Timestamp};
use tokio::sync::watch;

/// Stands still until it is moved.
pub(crate) struct ManualClock(watch::Sender<Timestamp>);

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Timestamp::from_unix_seconds(
            1_800_000_000,
        )))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = *now + by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let mut time = self.0.subscribe();
            let _ = time.wait_for(|now| *now >= deadline).await;
        })
    }
}
