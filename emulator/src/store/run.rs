//! Events that follow one another, shared with the store they are read from.

use std::ops::{Deref, Range};
use std::sync::Arc;

use iothub_hub::Event;

/// A run of events without gaps. Reading costs a reference, whatever the number of events; as long
/// as it lives, the store keeps no less than a run of its own size alive.
#[derive(Clone, Debug, Default)]
pub struct EventRun {
    events: Arc<Vec<Event>>,
    range: Range<usize>,
}

impl EventRun {
    /// The events in this range, which must be within.
    pub(super) fn of(events: Arc<Vec<Event>>, range: Range<usize>) -> Self {
        debug_assert!(range.end <= events.len());
        Self { events, range }
    }
}

impl Deref for EventRun {
    type Target = [Event];

    fn deref(&self) -> &[Event] {
        &self.events[self.range.clone()]
    }
}

impl From<Vec<Event>> for EventRun {
    fn from(events: Vec<Event>) -> Self {
        let range = 0..events.len();
        Self::of(Arc::new(events), range)
    }
}
