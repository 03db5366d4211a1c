//! Silence: ours, which the peer bears for so long, and the peer's (AMQP 1.0 part 2, 2.4.5).

use std::time::Duration;

use super::{Connection, Stage};
use crate::Timestamp;
use crate::amqp::error::{AmqpError, condition};
use crate::amqp::frame::encode_heartbeat;

/// The shortest time between two signs of life, however impatient the peer is.
const SHORTEST: Duration = Duration::from_millis(50);

/// How long the peer's close may take.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// What is known of the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// The time, as last told.
    now: Timestamp,
    /// When the peer was heard.
    heard: Timestamp,
    /// When something was written, or a little before.
    spoke: Timestamp,
    /// When the wait for the peer's close ends; set by the first tick of that wait.
    pub(super) close_by: Option<Timestamp>,
}

impl Clocks {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            heard: now,
            spoke: now,
            close_by: None,
        }
    }

    /// Something was read.
    pub(super) fn hear(&mut self, now: Timestamp) {
        self.now = now;
        self.heard = now;
    }

    /// Something is being written.
    pub(super) fn speak(&mut self) {
        self.spoke = self.now;
    }
}

impl Connection {
    /// When the next sign of life is due: after half of what the peer bears.
    fn heartbeat_due(&self) -> Option<Timestamp> {
        let limit = self.peer.idle_time_out?;
        let half = Duration::from_millis(u64::from(limit) / 2).max(SHORTEST);
        (self.stage == Stage::Running).then(|| self.clocks.spoke + half)
    }

    /// When a peer that stays silent is given up.
    fn drop_due(&self) -> Option<Timestamp> {
        Some(self.clocks.heard + self.config.idle_timeout?)
    }

    pub(super) fn timeout(&self) -> Option<Timestamp> {
        let close_due = match self.stage {
            Stage::Closed => return None,
            Stage::Closing => Some(self.clocks.close_by.unwrap_or(self.clocks.now)),
            _ => None,
        };
        [self.heartbeat_due(), self.drop_due(), close_due]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn pass(&mut self, now: Timestamp) {
        self.clocks.now = now;
        if self.stage == Stage::Closing
            && now >= *self.clocks.close_by.get_or_insert(now + CLOSE_WAIT)
        {
            return self.finish(None);
        }
        if self.drop_due().is_some_and(|due| now >= due) {
            // The service's words, with the limit that the peer was told.
            let limit = self.config.idle_timeout.unwrap_or_default().as_millis() / 2;
            let text = format!(
                "The connection was inactive for more than the allowed {limit} milliseconds and \
                 is closed by container '{}'.",
                self.config.container_id
            );
            return self.fail(AmqpError::new(condition::CONNECTION_FORCED, text));
        }
        if self.heartbeat_due().is_some_and(|due| now >= due) {
            if self.output.is_empty() {
                encode_heartbeat(self.output.buffer());
            }
            self.clocks.speak();
        }
    }
}
