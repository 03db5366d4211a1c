//! What falls due: the alarm, and time that is moved forward.

use std::time::Duration;

use iothub_hub::Hub;
use iothub_protocol::{Clock, Timestamp};

use super::HubHandle;

impl HubHandle {
    /// Moves the time forward. Deadlines on the way fall due in order, and each one settles,
    /// deliveries written, before the next.
    pub async fn advance(&self, by: Duration) {
        let clock = self.clock().clone();
        let target = clock.now() + by;
        while let Some(next) = self
            .inspect(Hub::next_deadline)
            .filter(|&next| next <= target)
        {
            clock.advance_to(next);
            if !self.fire_due() {
                break;
            }
            self.settle().await;
        }
        clock.advance_to(target);
        self.settle().await;
    }

    /// Waits until every delivery has been taken, for a bounded number of turns: a peer that does
    /// not read cannot hold the time.
    async fn settle(&self) {
        const TURNS: usize = 64;
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            let settled = self
                .lock()
                .mailboxes
                .values()
                .all(|mailbox| mailbox.is_empty());
            if settled {
                break;
            }
        }
    }

    /// Sleeps from deadline to deadline; one task per hub runs this until it is cancelled.
    pub async fn run_alarm(&self) {
        let mut next = self.inner.alarm.subscribe();
        loop {
            let deadline = *next.borrow_and_update();
            tokio::select! {
                () = self.sleep_until(deadline), if deadline.is_some() => {
                    if !self.fire_due() {
                        return;
                    }
                    // What is done in parts leaves room for others in between.
                    if self.inspect(Hub::next_deadline).is_some_and(|next| next <= self.clock().now()) {
                        crate::clock::pause().await;
                    }
                }
                changed = next.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn sleep_until(&self, deadline: Option<Timestamp>) {
        if let Some(deadline) = deadline {
            self.inner.clock.sleep_until(deadline).await;
        }
    }

    /// Does what is due; `false` when the hub has stopped.
    fn fire_due(&self) -> bool {
        let result = self.apply(|core, cx| {
            core.hub.fire_due(cx);
            Ok(())
        });
        if let Err(error) = &result {
            tracing::debug!(%error, "deadlines do not fire any more");
        }
        result.is_ok()
    }
}
