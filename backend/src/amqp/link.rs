//! The two ends of links: one that sends and learns what became of it, one that receives and says.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use iothub_protocol::amqp::connection::{AttachLink, Delivery, DeliveryId, SendError, SessionId};
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::performative::{
    ReceiverSettleMode, Role, SenderSettleMode, Source, Target,
};
use iothub_protocol::amqp::value::{Map, Symbol};
use iothub_protocol::amqp::{DeliveryState, LinkId};
use tokio::sync::{Notify, oneshot};

use super::wire::{LinkEnd, LinkState, State, Wire};

/// A link of an open connection. Dropping it detaches it.
#[derive(Debug)]
pub(crate) struct Link {
    wire: Arc<Wire>,
    id: LinkId,
    changed: Arc<Notify>,
}

/// What a receiving link asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbound {
    /// Where deliveries come from.
    pub(crate) address: String,
    /// Which of them.
    pub(crate) filter: Map,
    /// Deliveries that may wait here unread; at least one.
    pub(crate) prefetch: u32,
    /// Link properties.
    pub(crate) properties: Map,
    /// Told of every change; several links may share one.
    pub(crate) changed: Arc<Notify>,
}

impl Link {
    /// Attaches a link to send on; returns once the peer has answered.
    pub(crate) async fn sender(
        wire: &Arc<Wire>,
        session: SessionId,
        name: String,
        address: &str,
    ) -> Result<Self, LinkEnd> {
        let attach = AttachLink {
            source: Source {
                address: Some(name.clone()),
                ..Source::default()
            },
            target: Target {
                address: Some(address.to_owned()),
                ..Target::default()
            },
            ..attach(name, Role::Sender)
        };
        let link = Self::attach(wire, session, attach, 0, Arc::default());
        link.attached().await?;
        Ok(link)
    }

    /// Attaches a link to receive on. Returns at once: a refusal shows when it is read from.
    pub(crate) fn receiver(
        wire: &Arc<Wire>,
        session: SessionId,
        name: String,
        inbound: Inbound,
    ) -> Self {
        let attach = AttachLink {
            source: Source {
                address: Some(inbound.address),
                filter: inbound.filter,
                ..Source::default()
            },
            // Answers are routed by it (`spec/amqp.md` 3).
            target: Target {
                address: Some(name.clone()),
                ..Target::default()
            },
            properties: inbound.properties,
            ..attach(name, Role::Receiver)
        };
        let prefetch = inbound.prefetch.max(1);
        Self::attach(wire, session, attach, prefetch, inbound.changed)
    }

    fn attach(
        wire: &Arc<Wire>,
        session: SessionId,
        attach: AttachLink,
        prefetch: u32,
        changed: Arc<Notify>,
    ) -> Self {
        let id = wire.shared.act(|state| {
            let id = state.connection.attach(session, attach);
            state.links.insert(
                id,
                LinkState {
                    is_attached: false,
                    ended: None,
                    deliveries: VecDeque::new(),
                    granted: 0,
                    prefetch,
                    outcomes: HashMap::new(),
                    changed: Arc::clone(&changed),
                },
            );
            id
        });
        Self {
            wire: Arc::clone(wire),
            id,
            changed,
        }
    }

    /// Waits until the peer has answered the attach; a refusal may still follow.
    pub(crate) async fn attached(&self) -> Result<(), LinkEnd> {
        self.until(|state| state.is_attached.then_some(())).await
    }

    /// Sends a message when there is credit for it, and waits for what becomes of it.
    pub(crate) async fn send(&self, message: &AmqpMessage) -> Result<DeliveryState, LinkEnd> {
        let mut payload = BytesMut::new();
        message.encode(&mut payload);
        self.send_payload(payload.freeze()).await
    }

    async fn send_payload(&self, payload: Bytes) -> Result<DeliveryState, LinkEnd> {
        let outcome = loop {
            let changed = self.changed.notified();
            if let Some(outcome) = self.try_send(&payload)? {
                break outcome;
            }
            changed.await;
        };
        // The sender is gone when the link or the connection is.
        outcome.await.map_err(|_| self.end())
    }

    /// Sends now; `None`: there is no credit.
    fn try_send(
        &self,
        payload: &Bytes,
    ) -> Result<Option<oneshot::Receiver<DeliveryState>>, LinkEnd> {
        self.wire.shared.act(|state| {
            look_for_end(state, self.id)?;
            let tag = state.next_tag();
            let sent = state
                .connection
                .send(self.id, &tag, 0, payload.clone(), false);
            match sent {
                Ok(delivery) => {
                    let (sender, receiver) = oneshot::channel();
                    if let Some(link) = state.links.get_mut(&self.id) {
                        link.outcomes.insert(delivery, sender);
                    }
                    Ok(Some(receiver))
                }
                Err(SendError::NoCredit) => Ok(None),
                Err(SendError::NoLink) => Err(LinkEnd::Detached(None)),
            }
        })
    }

    /// Waits for the next delivery.
    pub(crate) async fn receive(&self) -> Result<Delivery, LinkEnd> {
        loop {
            let changed = self.changed.notified();
            let mut taken = VecDeque::new();
            let end = self.take(&mut taken, 1).err();
            if let Some(delivery) = taken.pop_front() {
                return Ok(delivery);
            }
            if let Some(end) = end {
                return Err(end);
            }
            changed.await;
        }
    }

    /// Moves up to `limit` of the deliveries that wait to the end of `into`, and lets the peer send
    /// as many more. Fails once nothing waits and nothing will come.
    pub(crate) fn take(&self, into: &mut VecDeque<Delivery>, limit: usize) -> Result<(), LinkEnd> {
        let before = into.len();
        let (result, has_granted) = {
            let mut guard = self.wire.shared.lock();
            let state = &mut *guard;
            let Some(link) = state.links.get_mut(&self.id) else {
                return Err(LinkEnd::Detached(None));
            };
            let count = link.deliveries.len().min(limit);
            into.extend(link.deliveries.drain(..count));
            let waiting = u32::try_from(link.deliveries.len()).unwrap_or(u32::MAX);
            let is_low = waiting + link.granted <= link.prefetch / 2;
            let has_granted = link.is_attached && link.ended.is_none() && is_low;
            if has_granted {
                link.granted = link.prefetch - waiting;
                state.connection.grant(self.id, link.granted);
            }
            (look_for_end(state, self.id), has_granted)
        };
        if has_granted {
            self.wire.shared.wake();
        }
        if into.len() > before { Ok(()) } else { result }
    }

    /// Says what becomes of deliveries.
    pub(crate) fn settle(
        &self,
        deliveries: impl IntoIterator<Item = DeliveryId>,
        outcome: &DeliveryState,
    ) {
        self.wire.shared.act(|state| {
            for delivery in deliveries {
                state.connection.settle(self.id, delivery, outcome.clone());
            }
        });
    }

    /// Why it is over, if it is.
    pub(crate) fn is_over(&self) -> Option<LinkEnd> {
        look_for_end(&self.wire.shared.lock(), self.id).err()
    }

    fn end(&self) -> LinkEnd {
        self.is_over().unwrap_or(LinkEnd::Detached(None))
    }

    /// Waits until `look` finds something, or the link is over.
    async fn until<R>(&self, look: impl Fn(&LinkState) -> Option<R>) -> Result<R, LinkEnd> {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.wire.shared.lock();
                look_for_end(&state, self.id)?;
                if let Some(found) = state.links.get(&self.id).and_then(&look) {
                    return Ok(found);
                }
            }
            changed.await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.wire.shared.act(|state| {
            let link = state.links.remove(&self.id);
            if link.is_some_and(|link| link.ended.is_none()) && state.ended().is_none() {
                state.connection.detach(self.id, None);
            }
        });
    }
}

fn look_for_end(state: &State, link: LinkId) -> Result<(), LinkEnd> {
    // The link's own end says more than the connection's, which it may have caused.
    match state.links.get(&link).map(|link| &link.ended) {
        None => Err(LinkEnd::Detached(None)),
        Some(Some(error @ Some(_))) => Err(LinkEnd::Detached(error.clone())),
        Some(ended) => match state.ended() {
            Some(end) => Err(LinkEnd::Connection(end.clone())),
            None if ended.is_some() => Err(LinkEnd::Detached(None)),
            None => Ok(()),
        },
    }
}

fn attach(name: String, role: Role) -> AttachLink {
    AttachLink {
        name,
        role,
        source: Source::default(),
        target: Target::default(),
        snd_settle_mode: match role {
            Role::Sender => SenderSettleMode::Unsettled,
            Role::Receiver => SenderSettleMode::Mixed,
        },
        rcv_settle_mode: ReceiverSettleMode::First,
        // Credit is granted by what waits here unread.
        credit: 0,
        max_message_size: None,
        properties: Map::new(),
        desired_capabilities: Vec::<Symbol>::new(),
    }
}
