//! The thread that carries what the hub tells onto the bus, while somebody watches.

use std::io;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use iothub_protocol::Clock;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::bus::{self, BusError, Link};
use super::channel::{Channel, Parcel};
use super::feed::{Feed, Session};
use super::telling::Teller;
use crate::handle::Observation;

/// Observations that are taken at a time.
const BATCH: usize = 64;

/// While the queue never empties, it is asked each so many batches what was dropped.
const LOSS_EVERY: usize = 64;

/// Starts the thread. The receiver completes when it has ended.
///
/// It is a thread because sending to the router blocks while the router is busy.
pub(super) fn start(feed: Arc<Feed>, stop: CancellationToken) -> io::Result<oneshot::Receiver<()>> {
    let (ended, end) = oneshot::channel();
    let runtime = Handle::current();
    let mut publisher = Publisher {
        feed,
        numbers: [0; Channel::ALL.len()],
        batch: Vec::with_capacity(BATCH),
        since_loss: 0,
    };
    thread::Builder::new()
        .name("observer-feed".into())
        .spawn(move || {
            runtime.block_on(publisher.run(&stop));
            // Nobody waits any more when the runtime is going down.
            let _ = ended.send(());
        })?;
    Ok(end)
}

struct Publisher {
    feed: Arc<Feed>,
    /// How many parcels were sent, by [`Channel::index`].
    numbers: [u64; Channel::ALL.len()],
    /// What has been taken and not published yet.
    batch: Vec<Observation>,
    /// How many times was published since it was last asked what was dropped.
    since_loss: usize,
}

/// Whether to go on.
type GoOn = bool;

impl Publisher {
    async fn run(&mut self, stop: &CancellationToken) {
        loop {
            if let Some(mut session) = self.feed.take_session() {
                self.batch.clear();
                self.publish_all(&mut session, stop).await;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.feed.begun.notified() => {}
            }
        }
    }

    /// Publishes what the session tells until it is over, through one link after the other.
    async fn publish_all(&mut self, session: &mut Session, stop: &CancellationToken) {
        loop {
            match self.publish_through_link(session, stop).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "observer bus");
                    if !matches!(error, BusError::Dead) {
                        // There is no other router whose link could be had at once.
                        self.feed.count_dropped(self.batch.len() as u64);
                        self.batch.clear();
                    }
                }
            }
            // A link that fails before there was anything to tell would fail again at once.
            if self.batch.is_empty() && !self.receive(session, stop).await {
                return;
            }
        }
    }

    async fn publish_through_link(
        &mut self,
        session: &mut Session,
        stop: &CancellationToken,
    ) -> Result<(), BusError> {
        // Waits for room in the router, which nobody but this thread does on it.
        let mut link = bus::attach(&[])?;
        loop {
            self.publish(&mut link, session)?;
            tokio::select! {
                biased;
                // Nothing ever comes out of this link but the news of the router's death.
                lost = link.next() => {
                    lost?;
                }
                go_on = self.receive(session, stop) => {
                    if !go_on {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Waits for more of what the hub tells. Safe to drop half-way.
    async fn receive(&mut self, session: &mut Session, stop: &CancellationToken) -> GoOn {
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = session.over.cancelled() => false,
            received = session.observations.recv_many(&mut self.batch, BATCH) => received > 0,
        }
    }

    fn publish(&mut self, link: &mut Link, session: &mut Session) -> Result<(), BusError> {
        let feed = &self.feed;
        let mut messages = Vec::new();
        let mut teller = Teller {
            topics: &feed.topics,
            now: feed.handle.clock().now(),
            watched: feed.watched(),
            out: &mut messages,
        };
        let is_drained = self.batch.len() < BATCH;
        for observation in self.batch.drain(..) {
            teller.tell(&observation);
        }
        self.since_loss += 1;
        if is_drained || self.since_loss >= LOSS_EVERY {
            self.since_loss = 0;
            let dropped = feed.handle.dropped_observations();
            let more = dropped - session.dropped;
            session.dropped = dropped;
            if more > 0 {
                tracing::debug!(more, "the observer bus missed something");
                teller.tell_loss(more, feed.count_dropped(more));
            }
        }
        let parcels: Vec<(Channel, Bytes)> = messages
            .into_iter()
            .filter_map(|(channel, message)| {
                let number = &mut self.numbers[channel.index()];
                *number += 1;
                Some((channel, Parcel::pack(feed.number, *number, &message)?))
            })
            .collect();
        match parcels.is_empty() {
            true => Ok(()),
            false => link.publish(parcels),
        }
    }
}
