//! The timeline itself: where things are written down, and who is told.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iothub_protocol::{Clock, Error, Timestamp};
use tokio::sync::Notify;

use super::entry::{Entry, What};
use super::lane::{Lane, LaneKind};
use crate::activity::Record;
use crate::clock::HubClock;

/// What happened, newest last; the oldest leave when a bound is reached.
#[derive(Debug)]
pub struct Timeline {
    clock: Arc<HubClock>,
    /// Guards the entries; held for an addition, or for as long as it takes to hand out a few
    /// hundred references.
    entries: Mutex<Entries>,
    /// How many ask for what is not made otherwise, by [`Interest`].
    asking: [AtomicUsize; Interest::ALL.len()],
    /// Names the next connection.
    next_connection: AtomicU64,
    /// Rings when entries were added.
    grown: Notify,
}

#[derive(Debug)]
pub(super) struct Entries {
    /// The place of the newest entry.
    pub(super) last: u64,
    /// By [`LaneKind`].
    pub(super) lanes: [Lane; 3],
    /// Whether everything is made, though nobody reads it.
    recording: bool,
}

/// Characters of a refusal's detail: strangers, too, have a say in it.
const MOST_DETAIL: usize = 1000;

/// What is made only while somebody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Operations that succeed.
    Operations,
    /// Events that are stored.
    Stored,
    /// Bytes on the wire.
    Wire,
}

impl Interest {
    pub(super) const ALL: [Self; 3] = [Self::Operations, Self::Stored, Self::Wire];
}

impl Timeline {
    /// An empty one, whose entries have `clock`'s time.
    pub fn new(clock: Arc<HubClock>) -> Self {
        Self {
            clock,
            entries: Mutex::new(Entries {
                last: 0,
                lanes: LaneKind::ALL.map(LaneKind::lane),
                recording: false,
            }),
            asking: Default::default(),
            next_connection: AtomicU64::new(1),
            grown: Notify::new(),
        }
    }

    /// Whether somebody asks for what is not made otherwise.
    pub fn is_asked_for(&self, interest: Interest) -> bool {
        self.asking[interest as usize].load(Ordering::Relaxed) > 0
    }

    /// Has everything made, or no more than is asked for: what goes over the wire can then be looked
    /// at afterwards.
    pub fn record(&self, on: bool) {
        let mut entries = self.lock();
        if std::mem::replace(&mut entries.recording, on) != on {
            for interest in Interest::ALL {
                match on {
                    true => self.ask_for(interest),
                    false => self.ask_no_more(interest),
                }
            }
        }
    }

    /// Whether everything is made, though nobody reads it.
    pub fn is_recording(&self) -> bool {
        self.lock().recording
    }

    /// Names a connection.
    pub(super) fn next_connection(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes down what happens now.
    pub(crate) fn push(&self, what: What) {
        self.push_all(self.clock.now(), [what]);
    }

    /// Writes down what happened at `at`.
    pub(crate) fn push_all(&self, at: Timestamp, all: impl IntoIterator<Item = What>) {
        let mut entries = self.lock();
        for what in all {
            entries.last += 1;
            let (lane, weight) = (LaneKind::of(&what), what.weight());
            let seq = entries.last;
            let entry = Arc::new(Entry { seq, at, what });
            entries.lanes[lane as usize].push(entry, weight);
        }
        drop(entries);
        self.grown.notify_waiters();
    }

    /// Writes down how an operation ended: when it was refused, or when somebody asks for all.
    pub(crate) fn ended(&self, record: &Record<'_>) {
        if record.refusal.is_some() || self.is_asked_for(Interest::Operations) {
            let what = What::Operation {
                operation: record.kind,
                client: record.client.cloned(),
                items: record.items,
                elapsed: record.elapsed,
                refusal: record.refusal.map(in_brief),
            };
            self.push_all(record.at(), [what]);
        }
    }

    /// The place of the newest entry; 0 when there is none.
    pub fn last(&self) -> u64 {
        self.lock().last
    }

    /// Completes when there are entries after the place `seq`. Safe to drop half-way.
    pub(super) async fn grown_beyond(&self, seq: u64) {
        loop {
            let mut grown = pin!(self.grown.notified());
            // Before the look, so that nothing falls between.
            grown.as_mut().enable();
            if self.last() > seq {
                return;
            }
            grown.await;
        }
    }

    pub(super) fn ask_for(&self, interest: Interest) {
        self.asking[interest as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ask_no_more(&self, interest: Interest) {
        self.asking[interest as usize].fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_brief(refusal: &Error) -> Error {
    Error {
        detail: match refusal.detail.char_indices().nth(MOST_DETAIL) {
            Some((end, _)) => format!("{}…", &refusal.detail[..end]),
            None => refusal.detail.clone(),
        },
        ..refusal.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use iothub_protocol::ErrorCode;

    use super::*;
    use crate::activity::OperationKind;
    use crate::timeline::{From, Reader, Wish};

    #[test]
    fn a_stranger_with_a_long_name_drives_nobody_out() {
        let clock = Arc::new(HubClock::system());
        let timeline = Arc::new(Timeline::new(clock.clone()));
        let long = Error::new(ErrorCode::IotHubUnauthorizedAccess, "ü".repeat(60_000));

        for _ in 0..500 {
            timeline.ended(&Record {
                clock: &clock,
                kind: OperationKind::Connect,
                client: None,
                items: 1,
                elapsed: Duration::ZERO,
                refusal: Some(&long),
            });
        }

        let wish = Wish::kinds("refusal").unwrap();
        let mut reader = Reader::new(timeline, wish, From::After(0));
        let told = reader.take(512).entries;
        assert_eq!(told.len(), 500);
    }
}
