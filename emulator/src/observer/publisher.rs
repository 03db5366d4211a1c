//! The thread that carries what the hub tells onto the bus.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use iothub_hub::Notice;
use iothub_protocol::{ClientId, Clock};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::bus::{self, BusError, Link};
use super::feed::{Feed, Message};
use crate::handle::{HubHandle, Observation};

/// Observations that may wait. What comes when it is full is dropped and counted by the handle.
const QUEUE: usize = 4096;
/// Observations that are taken at a time.
const BATCH: usize = 64;

/// Starts the thread. The receiver completes when it has ended.
///
/// It is a thread because sending to the router blocks while the router is busy.
pub(super) fn start(
    handle: HubHandle,
    feed: Arc<Feed>,
    stop: CancellationToken,
) -> io::Result<oneshot::Receiver<()>> {
    let observations = handle.observe(QUEUE);
    let (ended, end) = oneshot::channel();
    let runtime = Handle::current();
    let mut publisher = Publisher {
        handle,
        feed,
        observations,
        retained: HashMap::new(),
        connected: HashSet::new(),
        heard: false,
        dropped: 0,
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
    handle: HubHandle,
    feed: Arc<Feed>,
    observations: mpsc::Receiver<Observation>,
    /// The last state of each topic that is retained, to be told again to another router.
    retained: HashMap<Bytes, Bytes>,
    connected: HashSet<ClientId>,
    /// Whether something has come since the current link began.
    heard: bool,
    /// How many observations had been dropped when state was last compared with the hub.
    dropped: u64,
}

impl Publisher {
    async fn run(&mut self, stop: &CancellationToken) {
        self.dropped = self.handle.dropped_observations();
        let mut told = self.compare_connections();
        self.remember(&mut told);
        loop {
            self.heard = false;
            match self.run_link(stop).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "observer bus");
                }
            }
            // A link that fails before there was anything new to tell would fail again at once.
            if !self.heard && !self.receive(stop, &mut told).await {
                return;
            }
        }
    }

    /// Publishes through one link until the end, or until the link fails.
    async fn run_link(&mut self, stop: &CancellationToken) -> Result<(), BusError> {
        let mut link = bus::attach(Vec::new())?;
        link.publish(
            self.retained
                .iter()
                .map(|(topic, payload)| (self.feed.inward(topic), payload.clone(), true)),
        )?;
        let mut messages = Vec::new();
        loop {
            tokio::select! {
                biased;
                // Nothing ever comes out of this link but the news of the router's death.
                lost = link.next() => {
                    lost?;
                }
                more = self.receive(stop, &mut messages) => {
                    if !more {
                        return self.withdraw(&mut link);
                    }
                    self.publish(&mut link, &mut messages)?;
                }
            }
        }
    }

    fn publish(&self, link: &mut Link, messages: &mut Vec<Message>) -> Result<(), BusError> {
        let feed = &self.feed;
        link.publish(
            messages
                .drain(..)
                .map(|message| (feed.inward(&message.topic), message.payload, message.retain)),
        )
    }

    /// Waits for observations and puts what they become into `messages`; `false`: there are no more
    /// to come. Safe to drop half-way.
    async fn receive(&mut self, stop: &CancellationToken, messages: &mut Vec<Message>) -> bool {
        let mut batch = Vec::with_capacity(BATCH);
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            received = self.observations.recv_many(&mut batch, BATCH) => received,
        };
        messages.clear();
        self.heard = true;
        let now = self.handle.clock().now();
        for observation in &batch {
            match observation {
                Observation::Notice(Notice::Connected(client, _)) => {
                    self.connected.insert(client.clone());
                }
                Observation::Notice(Notice::Disconnected(client, _)) => {
                    self.connected.remove(client);
                }
                Observation::Notice(_) | Observation::Events(_) => {}
            }
            self.feed.tell(observation, now, messages);
        }
        // With the queue drained, what was dropped before has been the only thing missing.
        if received < BATCH {
            let dropped = self.handle.dropped_observations();
            if dropped != self.dropped {
                tracing::warn!(
                    dropped = dropped - self.dropped,
                    "observers missed something"
                );
                self.dropped = dropped;
                messages.extend(self.compare_connections());
            }
        }
        self.remember(messages);
        received > 0
    }

    /// Keeps state, and leaves out what has been told already: a comparison with the hub may be
    /// ahead of the queue.
    fn remember(&mut self, messages: &mut Vec<Message>) {
        messages.retain(|message| {
            let Message {
                topic,
                payload,
                retain,
            } = message;
            !retain
                || self
                    .retained
                    .insert(topic.clone(), payload.clone())
                    .as_ref()
                    != Some(payload)
        });
    }

    /// What has to be told so that observers know who is connected.
    fn compare_connections(&mut self) -> Vec<Message> {
        let actual: HashSet<_> = self.handle.inspect(|hub| {
            hub.connections()
                .into_iter()
                .map(|one| one.client)
                .collect()
        });
        let gone = self.connected.difference(&actual);
        let come = actual.difference(&self.connected);
        let messages = gone
            .map(|client| self.feed.connection(client, Some("disconnected")))
            .chain(come.map(|client| self.feed.connection(client, None)))
            .collect();
        self.connected = actual;
        messages
    }

    /// Takes retained state back: the router outlives this hub.
    fn withdraw(&self, link: &mut Link) -> Result<(), BusError> {
        link.publish(
            self.retained
                .keys()
                .map(|topic| (self.feed.inward(topic), Bytes::new(), true)),
        )
    }
}
