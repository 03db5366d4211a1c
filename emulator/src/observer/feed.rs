//! One hub's part of the bus: who watches what, and what is told because of it.
//!
//! While nobody watches, the hub is not even observed, and the bus costs nothing.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::channel::Channel;
use super::publisher;
use super::topics::Topics;
use crate::handle::{HubHandle, Observation};

/// Observations that may wait. What comes when it is full is dropped and counted.
const QUEUE: usize = 4096;

/// Numbers the feeds of a process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// One hub's part of the bus.
pub(super) struct Feed {
    pub(super) handle: HubHandle,
    /// Keeps hubs that share the router apart, whatever their names.
    pub(super) number: u64,
    pub(super) topics: Topics,
    stop: CancellationToken,
    /// Subscriptions by what they watch, for who tells to see without a lock.
    counts: [AtomicUsize; Channel::ALL.len()],
    /// Guards the beginning and the end of watching; held for no longer than it takes to begin to
    /// observe the hub.
    watching: Mutex<Watching>,
    /// Told when there is something new in `watching.next`.
    pub(super) begun: Notify,
    /// How many observations never reached the bus.
    dropped: watch::Sender<u64>,
}

#[derive(Default)]
struct Watching {
    count: usize,
    /// What the hub tells from when the first began to watch, until the publisher takes it.
    next: Option<Session>,
    /// Cancelled when the last has ceased to watch.
    over: CancellationToken,
    /// Completes when the publisher, which the first subscription starts, has ended.
    publisher: Option<oneshot::Receiver<()>>,
}

/// A time during which somebody watches.
pub(super) struct Session {
    pub(super) observations: mpsc::Receiver<Observation>,
    /// What the hub had dropped before.
    pub(super) dropped: u64,
    pub(super) over: CancellationToken,
}

/// Counts as a watcher while it lives.
pub(super) struct Watch {
    feed: Arc<Feed>,
    channels: Vec<Channel>,
}

impl Feed {
    pub(super) fn new(handle: HubHandle, hub_name: &str, stop: CancellationToken) -> Self {
        Self {
            handle,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            topics: Topics::new(hub_name),
            stop,
            counts: [const { AtomicUsize::new(0) }; Channel::ALL.len()],
            watching: Mutex::default(),
            begun: Notify::new(),
            dropped: watch::Sender::new(0),
        }
    }

    /// From when it returns, what happens on these channels is told, until the watch is dropped.
    pub(super) fn watch(self: &Arc<Self>, channels: Vec<Channel>) -> io::Result<Watch> {
        let mut watching = self.lock();
        if watching.publisher.is_none() {
            watching.publisher = Some(publisher::start(self.clone(), self.stop.clone())?);
        }
        for channel in &channels {
            self.counts[channel.index()].fetch_add(1, Ordering::SeqCst);
        }
        if watching.count == 0 {
            watching.over = CancellationToken::new();
            watching.next = Some(Session {
                observations: self.handle.observe(QUEUE),
                dropped: self.handle.dropped_observations(),
                over: watching.over.clone(),
            });
            self.begun.notify_one();
        }
        watching.count += 1;
        Ok(Watch {
            feed: self.clone(),
            channels,
        })
    }

    /// The time that has begun, unless it was taken, or is over already.
    pub(super) fn take_session(&self) -> Option<Session> {
        self.lock().next.take()
    }

    /// By [`Channel::index`].
    pub(super) fn watched(&self) -> [bool; Channel::ALL.len()] {
        self.counts
            .each_ref()
            .map(|count| count.load(Ordering::SeqCst) > 0)
    }

    /// Counts observations that never reached the bus; answers the sum.
    pub(super) fn count_dropped(&self, more: u64) -> u64 {
        self.dropped.send_modify(|dropped| *dropped += more);
        *self.dropped.borrow()
    }

    /// How many observations never reached the bus, and when that changes.
    pub(super) fn dropped(&self) -> watch::Receiver<u64> {
        self.dropped.subscribe()
    }

    /// Waits for the end of the publisher, if there ever was one.
    pub(super) async fn ended(&self) {
        let publisher = self.lock().publisher.take();
        if let Some(publisher) = publisher {
            // An error means that its thread has gone down, which is an end too.
            let _ = publisher.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watching> {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for channel in &self.channels {
            self.feed.counts[channel.index()].fetch_sub(1, Ordering::SeqCst);
        }
        let mut watching = self.feed.lock();
        watching.count -= 1;
        if watching.count == 0 {
            watching.over.cancel();
            watching.next = None;
        }
    }
}
