//! What one observer has subscribed to, and what it missed of it.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};

use super::bus::{self, BusError, Link};
use super::channel::{Channel, Message, Parcel};
use super::connection::Delivered;
use super::feed::{Feed, Watch};
use super::filter::Filter;
use super::state;

/// Subscriptions of one observer.
const MOST: usize = 32;

/// The subscriptions of one observer.
pub(super) struct Subscriptions {
    feed: Arc<Feed>,
    /// By the filters' texts.
    all: HashMap<String, Subscription>,
    /// Carry messages from the bus to the inbox; ending by themselves, they bring bad news.
    pumps: JoinSet<BusError>,
    inbox: mpsc::Sender<Delivered>,
    missed: Arc<Missed>,
    /// What the observer was told last.
    told: Losses,
}

/// A filter, and what carries its messages.
struct Subscription {
    filter: Filter,
    /// None when no message can match it.
    pump: Option<AbortHandle>,
}

/// What one observer missed.
#[derive(Default)]
struct Missed {
    /// Messages of which it was too slow to take them.
    messages: AtomicU64,
    /// Clients whose state it was not told, as there were too many.
    untold: AtomicU64,
}

/// Everything that an observer was not told.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Losses {
    dropped: u64,
    missed: u64,
    untold: u64,
}

impl Subscriptions {
    pub(super) fn new(feed: Arc<Feed>, inbox: mpsc::Sender<Delivered>) -> Self {
        let dropped = *feed.dropped().borrow();
        Self {
            feed,
            all: HashMap::new(),
            pumps: JoinSet::new(),
            inbox,
            missed: Arc::default(),
            told: Losses {
                dropped,
                ..Losses::default()
            },
        }
    }

    /// Begins a subscription; in force when this returns, and answers the filter, or why there is
    /// none. One with a filter that is subscribed to already begins anew, so that the state comes
    /// again ([MQTT-3.8.4-3]).
    pub(super) async fn begin(&mut self, text: &str) -> Result<Filter, String> {
        let filter = Filter::parse(text).ok_or("not a filter below hub/")?;
        self.unsubscribe(text);
        if self.all.len() >= MOST {
            return Err(format!("more than {MOST} subscriptions"));
        }
        let channels = filter.channels();
        let mut pump = None;
        if !channels.is_empty() {
            let watch = self.feed.watch(channels.clone());
            let watch = watch.map_err(|error| error.to_string())?;
            let link = spawn_blocking(move || bus::attach(&channels))
                .await
                .map_err(|error| error.to_string())?
                .map_err(|error| error.to_string())?;
            let carrier = Pump {
                link,
                _watch: watch,
                filter: filter.clone(),
                feed: self.feed.clone(),
                inbox: self.inbox.clone(),
                missed: self.missed.clone(),
                next: [None; Channel::ALL.len()],
            };
            pump = Some(self.pumps.spawn(carrier.run()));
        }
        let subscription = Subscription {
            filter: filter.clone(),
            pump,
        };
        self.all.insert(text.to_owned(), subscription);
        Ok(filter)
    }

    pub(super) fn unsubscribe(&mut self, text: &str) {
        if let Some(Subscription {
            pump: Some(pump), ..
        }) = self.all.remove(text)
        {
            pump.abort();
        }
    }

    /// Waits for a subscription to fail. Safe to drop half-way.
    pub(super) async fn failed(&mut self) -> String {
        loop {
            match self.pumps.join_next().await {
                Some(Ok(error)) => return error.to_string(),
                Some(Err(stopped)) if stopped.is_cancelled() => {}
                Some(Err(panicked)) => return panicked.to_string(),
                None => pending().await,
            }
        }
    }

    /// What tells the observer of losses that it has not heard of, if it listens there.
    pub(super) fn losses(&mut self) -> Option<Delivered> {
        let losses = self.count();
        if losses == self.told {
            return None;
        }
        self.told = losses;
        let message = self.message(losses);
        let is_heard = self.all.values().any(|it| hears(&it.filter, &message));
        is_heard.then_some(Delivered {
            message,
            retain: false,
        })
    }

    /// What tells new subscriptions of losses so far, if they listen there.
    pub(super) fn losses_as_state(&mut self, begun: &[Filter]) -> Option<Delivered> {
        let losses = self.count();
        self.told = losses;
        let message = self.message(losses);
        let is_heard = begun.iter().any(|filter| hears(filter, &message));
        is_heard.then_some(Delivered {
            message,
            retain: true,
        })
    }

    pub(super) async fn end(mut self) {
        self.pumps.shutdown().await;
    }

    fn count(&self) -> Losses {
        Losses {
            dropped: *self.feed.dropped().borrow(),
            missed: self.missed.messages.load(Ordering::Relaxed),
            untold: self.missed.untold.load(Ordering::Relaxed),
        }
    }

    fn message(&self, losses: Losses) -> Message {
        let Losses {
            dropped,
            missed,
            untold,
        } = losses;
        let payload = json!({"dropped": dropped, "missed": missed, "untold": untold});
        Message {
            topic: self.feed.topics.losses(),
            payload: payload.to_string().into(),
        }
    }
}

fn hears(filter: &Filter, message: &Message) -> bool {
    std::str::from_utf8(&message.topic).is_ok_and(|topic| filter.matches(topic))
}

/// Carries what matches a filter from the bus to an observer.
struct Pump {
    link: Link,
    _watch: Watch,
    filter: Filter,
    feed: Arc<Feed>,
    inbox: mpsc::Sender<Delivered>,
    missed: Arc<Missed>,
    /// The number that the next parcel has if none is missing, by [`Channel::index`].
    next: [Option<u64>; Channel::ALL.len()],
}

impl Pump {
    /// The state first, then what happens, until the bus fails or nobody takes it any more.
    async fn run(mut self) -> BusError {
        let Feed { handle, topics, .. } = &*self.feed;
        let untold = state::tell(handle, topics, &self.filter, &self.inbox).await;
        self.missed.untold.fetch_add(untold, Ordering::Relaxed);
        loop {
            let (channel, packed) = match self.link.next().await {
                Ok(parcel) => parcel,
                Err(error) => return error,
            };
            let Some(message) = self.open(channel, &packed) else {
                continue;
            };
            let retain = false;
            let delivered = Delivered { message, retain };
            if self.inbox.send(delivered).await.is_err() {
                // The observer has gone, and takes this task with it.
                return BusError::Dead;
            }
        }
    }

    /// The message in a parcel, if it is for this observer.
    fn open(&mut self, channel: Channel, packed: &bytes::Bytes) -> Option<Message> {
        let parcel = Parcel::unpack(packed)?;
        if parcel.hub != self.feed.number {
            return None;
        }
        let next = self.next[channel.index()].replace(parcel.number + 1);
        let missing = next.map_or(0, |next| parcel.number.saturating_sub(next));
        if missing > 0 {
            self.missed.messages.fetch_add(missing, Ordering::Relaxed);
        }
        hears(&self.filter, &parcel.message).then_some(parcel.message)
    }
}
