//! The newest events of one partition, in memory.
//!
//! They are kept in runs that readers share: a reader takes a reference to a run, and what is
//! appended meanwhile begins another one. Nothing is copied, and nobody waits.

use std::collections::VecDeque;
use std::sync::Arc;

use iothub_hub::Event;

use super::EventRun;

/// A sequence of events without gaps that ends at the newest; the oldest give way.
#[derive(Debug, Default)]
pub(super) struct Recent {
    runs: VecDeque<Run>,
    /// The oldest that counts. What is before it in its run goes with the run.
    first: u64,
    next: u64,
    bytes: u64,
    budget: u64,
}

/// Events that follow one another.
#[derive(Debug)]
struct Run {
    first: u64,
    events: Arc<Vec<Event>>,
    bytes: u64,
}

/// What an event costs beside its body and properties.
const OVERHEAD: u64 = std::mem::size_of::<Event>() as u64;
/// A run is not continued when it has so many events, so that what is too old is let go soon.
const RUN_EVENTS: usize = 256;
/// The same for bytes.
const RUN_BYTES: u64 = 64 * 1024;

impl Recent {
    /// Keeps about `budget` bytes; the next event will have sequence number `next`.
    pub(super) fn new(budget: u64, next: u64) -> Self {
        Self {
            first: next,
            next,
            budget,
            ..Self::default()
        }
    }

    pub(super) fn append(&mut self, events: Vec<Event>) {
        let mut left = events.len();
        for event in events {
            if event.sequence != self.next {
                *self = Self::new(self.budget, event.sequence);
            }
            self.next += 1;
            let cost = cost(&event);
            self.bytes += cost;
            let last = self.runs.back_mut().filter(|run| run.is_open());
            match last.and_then(|run| Some((Arc::get_mut(&mut run.events)?, &mut run.bytes))) {
                Some((events, bytes)) => {
                    events.push(event);
                    *bytes += cost;
                }
                // It is full, or somebody reads it.
                None => {
                    let mut events = Vec::with_capacity(left.min(RUN_EVENTS));
                    let first = event.sequence;
                    events.push(event);
                    self.runs.push_back(Run {
                        first,
                        events: Arc::new(events),
                        bytes: cost,
                    });
                }
            }
            left -= 1;
        }
        self.drop_old();
    }

    /// The oldest sequence number that is here, or the next one.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Some events from `from` on, at most `max`.
    pub(super) fn read(&self, from: u64, max: usize) -> EventRun {
        let from = from.max(self.first);
        let after = self.runs.partition_point(|run| run.first <= from);
        let Some(run) = after.checked_sub(1).map(|at| &self.runs[at]) else {
            return EventRun::default();
        };
        let length = run.events.len();
        let start = usize::try_from(from - run.first).map_or(length, |start| start.min(length));
        let end = start.saturating_add(max).min(length);
        EventRun::of(run.events.clone(), start..end)
    }

    fn drop_old(&mut self) {
        while self.bytes > self.budget
            && let Some(run) = self.runs.front()
        {
            let place = (self.first - run.first) as usize;
            if let Some(event) = run.events.get(place) {
                self.bytes -= cost(event);
                self.first += 1;
            }
            if place + 1 >= run.events.len() {
                self.runs.pop_front();
            }
        }
    }
}

impl Run {
    /// Whether it may grow.
    fn is_open(&self) -> bool {
        self.events.len() < RUN_EVENTS && self.bytes < RUN_BYTES
    }
}

fn cost(event: &Event) -> u64 {
    let message = &event.message;
    (message.body.len() + message.properties.encoded_len()) as u64 + OVERHEAD
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::samples::events;

    fn sequences(recent: &Recent, from: u64, max: usize) -> Vec<u64> {
        recent
            .read(from, max)
            .iter()
            .map(|it| it.sequence)
            .collect()
    }

    #[test]
    fn what_is_being_read_is_left_alone() {
        let mut recent = Recent::new(u64::MAX, 0);
        recent.append(events(0, 0, 3));
        let held = recent.read(1, 10);

        recent.append(events(0, 3, 2));

        assert_eq!(held.len(), 2);
        assert_eq!(sequences(&recent, 0, 10), [0, 1, 2]);
        assert_eq!(sequences(&recent, 3, 10), [3, 4]);
        drop(held);
        recent.append(events(0, 5, 1));
        assert_eq!(sequences(&recent, 3, 10), [3, 4, 5]);
        assert!(recent.read(6, 10).is_empty());
        assert!(recent.read(u64::MAX, 10).is_empty());
    }

    proptest! {
        /// Against a plain list from which the oldest are taken.
        #[test]
        fn it_agrees_with_a_list(
            steps in prop::collection::vec((0_u64..400, 0_u64..3, any::<bool>()), 1..20),
            budget in 0_u64..60_000,
        ) {
            let mut recent = Recent::new(budget, 0);
            let (mut all, mut held) = (VecDeque::new(), Vec::new());
            let mut next = 0;
            for (count, gap, hold) in steps {
                if count > 0 {
                    next += gap;
                    if gap > 0 {
                        all.clear();
                    }
                }
                let appended = events(0, next, count);
                next += count;
                all.extend(appended.clone());
                recent.append(appended);
                while all.iter().map(cost).sum::<u64>() > budget {
                    all.pop_front();
                }
                let first = all.front().map_or(next, |event: &Event| event.sequence);
                prop_assert_eq!(recent.first(), first);
                let mut read = Vec::new();
                let mut from = 0;
                loop {
                    let run = recent.read(from, 100);
                    let Some(last) = run.last() else { break };
                    from = last.sequence + 1;
                    read.extend_from_slice(&run);
                    if hold {
                        held.push(run);
                    }
                }
                prop_assert_eq!(&read, all.make_contiguous());
            }
        }
    }
}
