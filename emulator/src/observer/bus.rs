//! The process's one router, and the links to it.
//!
//! rumqttd's `Router` runs on a thread of its own that nothing can stop, so all hubs of a process
//! share one, and it is started when the first hub asks for it. What it does not forgive decides
//! how links are driven:
//!
//! - A link subscribes once, before anything else, and waits for the answer. From then on it sends
//!   nothing but wake-ups, one for each `Unschedule`, and one Disconnect as its last word. A
//!   wake-up that reached the router after the end of its link would take the router down; it
//!   cannot, because a link that has nothing else on its way ends in order.
//! - A link that is dropped stays in the router for ever. So dropping one here hands it to a
//!   thread that says goodbye: that blocks while the router is busy, which no async task may.
//! - Topics and filters are ASCII, and a handful (`channel`). Nothing is retained.
//! - Whatever fails means that the router is dead. Every link ends then, and whoever wants another
//!   gets it from a new router.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::Bytes;
use futures_util::FutureExt;
use rumqttd::local::{LinkBuilder, LinkError, LinkRx, LinkTx};
use rumqttd::protocol::{
    Disconnect, DisconnectReasonCode, Filter, Packet, Publish, QoS, RetainForwardRule, Subscribe,
};
use rumqttd::{Notification, Router, RouterConfig};
use tokio_util::sync::CancellationToken;

use super::channel::Channel;

/// Links that can be alive at a time, those of all hubs of the process together.
const MAX_LINKS: u16 = 1000;
/// Each channel keeps this many segments of this many bytes: what an observer may lag behind before
/// it misses messages, and the bound of the router's memory.
const SEGMENT_SIZE: usize = 1024 * 1024;
const SEGMENTS: usize = 4;
/// Messages that the router hands to a link at a time.
const BATCH: u64 = 1024;

/// The router that lives, if one was ever wanted. The lock is held while one is started.
static CURRENT: Mutex<Option<Arc<Bus>>> = Mutex::new(None);

/// There is no link to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    /// As many links as there can be.
    #[error("{MAX_LINKS} subscriptions are open already")]
    Full,
    /// The router has died, and with it everything that hung on it.
    #[error("the router has died")]
    Dead,
    /// There is no thread for it.
    #[error("start the router")]
    Start(#[source] std::io::Error),
}

/// A way into the router: for messages that go in, or for those that match its filters.
pub(super) struct Link {
    bus: Arc<Bus>,
    /// Taken when the link is dropped.
    ends: Option<Ends>,
}

/// Builds a link of this name.
type Build = dyn Fn(&str) -> Result<(LinkTx, LinkRx), Box<LinkError>> + Send + Sync;

struct Bus {
    /// A closure because the router's channel carries a type without a name.
    build: Box<Build>,
    /// Numbers that no link has. A link's name in the router is made of its number, and the router
    /// remembers every name that it has ever heard, so they are used again.
    free: Arc<Mutex<Vec<u16>>>,
    /// Links that have to leave. Never full: it has room for every link.
    leaving: SyncSender<Ends>,
    /// Cancelled when the router turns out to be dead.
    dead: CancellationToken,
}

struct Ends {
    tx: LinkTx,
    rx: LinkRx,
    number: u16,
}

/// A link with subscriptions to `channels`, which are in force when it returns; with none, for
/// publishing. Blocks while the router is busy.
pub(super) fn attach(channels: &[Channel]) -> Result<Link, BusError> {
    let bus = Bus::current()?;
    let number = lock(&bus.free).pop().ok_or(BusError::Full)?;
    let (tx, rx) = (bus.build)(&format!("link-{number}")).map_err(|error| bus.died(&error))?;
    let mut link = Link {
        bus,
        ends: Some(Ends { tx, rx, number }),
    };
    if !channels.is_empty() {
        link.subscribe(channels)?;
    }
    Ok(link)
}

impl Link {
    /// Sends parcels. Blocks while the router is busy.
    pub(super) fn publish(
        &mut self,
        parcels: impl IntoIterator<Item = (Channel, Bytes)>,
    ) -> Result<(), BusError> {
        let packets: Vec<_> = parcels
            .into_iter()
            .map(|(channel, parcel)| {
                let topic = Bytes::from_static(channel.name().as_bytes());
                Packet::Publish(Publish::new(topic, parcel, false), None)
            })
            .collect();
        self.send(packets)
    }

    /// The next parcel. Safe to drop half-way.
    pub(super) async fn next(&mut self) -> Result<(Channel, Bytes), BusError> {
        let Self {
            bus,
            ends: Some(ends),
        } = self
        else {
            return Err(BusError::Dead);
        };
        loop {
            let notification = tokio::select! {
                biased;
                () = bus.dead.cancelled() => return Err(BusError::Dead),
                notification = ends.rx.next() => notification,
            };
            match notification {
                Ok(Some(Notification::Forward(forward))) => {
                    let publish = forward.publish;
                    if let Some(channel) = Channel::of(&publish.topic) {
                        return Ok((channel, publish.payload));
                    }
                }
                // The router goes on with this link only when it hears that the link goes on.
                Ok(Some(Notification::Unschedule)) => {
                    ends.rx.wake().await.map_err(|error| bus.died(&error))?;
                }
                Ok(_) => {}
                Err(error) => return Err(bus.died(&error)),
            }
        }
    }

    /// Takes the router down: rumqttd 0.20 cannot take a topic whose first character has more than
    /// one byte.
    #[cfg(test)]
    pub(super) fn poison(&mut self) {
        let topic = Bytes::from_static("\u{fc}ber".as_bytes());
        let packet = Packet::Publish(Publish::new(topic, Bytes::new(), false), None);
        let _ = self.send(vec![packet]);
    }

    fn subscribe(&mut self, channels: &[Channel]) -> Result<(), BusError> {
        let filters = channels
            .iter()
            .map(|channel| Filter {
                path: channel.name().to_owned(),
                qos: QoS::AtMostOnce,
                nolocal: false,
                preserve_retain: false,
                retain_forward_rule: RetainForwardRule::OnEverySubscribe,
            })
            .collect();
        self.send(vec![Packet::Subscribe(
            Subscribe { pkid: 1, filters },
            None,
        )])?;
        let Self {
            bus,
            ends: Some(ends),
        } = self
        else {
            return Err(BusError::Dead);
        };
        loop {
            match ends.rx.recv() {
                // The answer to CONNECT has been taken; this is the one to SUBSCRIBE, and nothing
                // comes before it.
                Ok(Some(Notification::DeviceAck(_))) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(bus.died(&error)),
            }
        }
    }

    fn send(&mut self, packets: Vec<Packet>) -> Result<(), BusError> {
        let Self {
            bus,
            ends: Some(ends),
        } = self
        else {
            return Err(BusError::Dead);
        };
        ends.send(packets).map_err(|error| bus.died(&error))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(ends) = self.ends.take()
            && !self.bus.dead.is_cancelled()
        {
            // It fails only when the thread at the other end has gone, and the router with it.
            let _ = self.bus.leaving.try_send(ends);
        }
    }
}

impl Bus {
    fn current() -> Result<Arc<Self>, BusError> {
        let mut current = lock(&CURRENT);
        if let Some(bus) = &*current
            && !bus.dead.is_cancelled()
        {
            return Ok(bus.clone());
        }
        let bus = Arc::new(Self::start().map_err(BusError::Start)?);
        *current = Some(bus.clone());
        Ok(bus)
    }

    fn start() -> std::io::Result<Self> {
        let free = Arc::new(Mutex::new((0..MAX_LINKS).rev().collect()));
        let (leaving, departures) = sync_channel(usize::from(MAX_LINKS));
        thread::Builder::new().name("observer-exit".into()).spawn({
            let free = free.clone();
            move || see_off(&departures, &free)
        })?;
        let router = Router::new(
            0,
            RouterConfig {
                max_connections: usize::from(MAX_LINKS),
                max_outgoing_packet_count: BATCH,
                max_segment_size: SEGMENT_SIZE,
                max_segment_count: SEGMENTS,
                ..RouterConfig::default()
            },
        )
        .spawn();
        let build = move |name: &str| {
            LinkBuilder::new(name, router.clone())
                .build()
                .map(|(tx, rx, _)| (tx, rx))
                .map_err(Box::new)
        };
        Ok(Self {
            build: Box::new(build),
            free,
            leaving,
            dead: CancellationToken::new(),
        })
    }

    fn died(&self, error: &LinkError) -> BusError {
        if !self.dead.is_cancelled() {
            tracing::error!(%error, "the observer bus has died; observers have to come again");
            self.dead.cancel();
        }
        BusError::Dead
    }
}

impl Ends {
    /// Blocks while the router's queue is full.
    fn send(&mut self, mut packets: Vec<Packet>) -> Result<(), Box<LinkError>> {
        let Some(last) = packets.pop() else {
            return Ok(());
        };
        self.tx.buffer().extend(packets);
        // It is async in name only: there is nothing in it to wait for.
        self.tx
            .send(last)
            .now_or_never()
            .map_or(Ok(()), |sent| sent.map(drop).map_err(Box::new))
    }
}

/// Ends links in the router, one after the other, for as long as there can be any.
fn see_off(departures: &Receiver<Ends>, free: &Mutex<Vec<u16>>) {
    while let Ok(mut ends) = departures.recv() {
        let goodbye = Disconnect {
            reason_code: DisconnectReasonCode::NormalDisconnection,
        };
        // A failure means that the router is dead, which links that live find out.
        if ends.send(vec![Packet::Disconnect(goodbye, None)]).is_ok() {
            lock(free).push(ends.number);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
