//! The newest events of one partition, in memory.

use std::collections::VecDeque;

use iothub_hub::Event;

/// A run of events without gaps that ends at the newest; the oldest give way.
#[derive(Debug, Default)]
pub(super) struct Recent {
    events: VecDeque<Event>,
    bytes: u64,
    next: u64,
    budget: u64,
}

/// What an event costs beside its body and properties.
const OVERHEAD: u64 = std::mem::size_of::<Event>() as u64;

impl Recent {
    /// Keeps about `budget` bytes; the next event will have sequence number `next`.
    pub(super) fn new(budget: u64, next: u64) -> Self {
        Self {
            next,
            budget,
            ..Self::default()
        }
    }

    pub(super) fn append(&mut self, events: Vec<Event>) {
        for event in events {
            if event.sequence != self.next {
                self.events.clear();
                self.bytes = 0;
            }
            self.next = event.sequence + 1;
            self.bytes += cost(&event);
            self.events.push_back(event);
        }
        while self.bytes > self.budget
            && let Some(oldest) = self.events.pop_front()
        {
            self.bytes -= cost(&oldest);
        }
    }

    /// The oldest sequence number that is here, or the next one.
    pub(super) fn first(&self) -> u64 {
        self.events
            .front()
            .map_or(self.next, |event| event.sequence)
    }

    pub(super) fn read(&self, from: u64, max: usize) -> Vec<Event> {
        let skip = usize::try_from(from.saturating_sub(self.first())).unwrap_or(usize::MAX);
        let skip = skip.min(self.events.len());
        self.events.range(skip..).take(max).cloned().collect()
    }
}

fn cost(event: &Event) -> u64 {
    let message = &event.message;
    (message.body.len() + message.properties.as_encoded().len()) as u64 + OVERHEAD
}
