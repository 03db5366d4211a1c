//! The one ordered queue of things due.

use std::collections::BTreeMap;

use iothub_protocol::Timestamp;

use crate::methods::CallId;
use crate::sessions::SessionId;
use crate::{c2d, configurations, feedback, file_notifications, jobs, uploads};

/// What is to be done when its time comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// No client came to take the call.
    MethodConnect(CallId),
    /// The client did not answer the call.
    MethodResponse(CallId),
    /// The token that the session was opened with is no longer good.
    SessionExpiry(SessionId),
    /// Something about a cloud-to-device message.
    C2d(c2d::Due),
    /// Something about configurations.
    Configurations(configurations::Due),
    /// Something about feedback.
    Feedback(feedback::Due),
    /// Something about a job.
    Jobs(jobs::Due),
    /// Something about a file upload.
    Uploads(uploads::Due),
    /// Something about a file-upload notification.
    FileNotifications(file_notifications::Due),
}

/// Names an entry, to cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DeadlineId(Timestamp, u64);

/// Things due, earliest first; among equals, in the order they were set.
#[derive(Clone, Default)]
pub(crate) struct Deadlines {
    entries: BTreeMap<DeadlineId, Due>,
    count: u64,
}

impl DeadlineId {
    /// When it is due.
    pub(crate) fn at(self) -> Timestamp {
        self.0
    }
}

impl Deadlines {
    /// Everything that is due some time, soonest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Timestamp, &Due)> {
        self.entries.iter().map(|(id, due)| (id.0, due))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn set(&mut self, at: Timestamp, due: Due) -> DeadlineId {
        self.count += 1;
        let id = DeadlineId(at, self.count);
        self.entries.insert(id, due);
        id
    }

    pub(crate) fn cancel(&mut self, id: DeadlineId) {
        self.entries.remove(&id);
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.entries.first_key_value().map(|(id, _)| id.0)
    }

    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Due> {
        let entry = self.entries.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn things_fall_due_in_order_and_not_before_their_time() {
        let mut deadlines = Deadlines::default();
        let t0 = Timestamp::UNIX_EPOCH;
        let call = |n| Due::MethodResponse(CallId(n));
        deadlines.set(t0 + Duration::from_secs(2), call(2));
        deadlines.set(t0 + Duration::from_secs(1), call(1));
        let cancelled = deadlines.set(t0 + Duration::from_secs(1), call(9));
        deadlines.set(t0 + Duration::from_secs(1), call(3));

        deadlines.cancel(cancelled);

        assert_eq!(deadlines.pop_due(t0), None);
        let late = t0 + Duration::from_secs(5);
        let popped: Vec<_> = std::iter::from_fn(|| deadlines.pop_due(late)).collect();
        assert_eq!(popped, [call(1), call(3), call(2)]);
    }
}
