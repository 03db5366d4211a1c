//! Real time: a load generator measures how long things take on the machine.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the clock of the load generator"
)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use iothub_protocol::Timestamp;

/// The time now, for measuring.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time now, for the expiry of tokens.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_unix_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Waits for a time span.
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits for a point in time.
pub(crate) async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline.into()).await;
}

/// Waits with the thread.
pub(crate) fn block(duration: Duration) {
    std::thread::sleep(duration);
}
