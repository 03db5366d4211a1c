//! A client's cloud-to-device messages, and a module's inputs (`spec/amqp.md` 7.3).
//!
//! The hub is told how many messages the links take, and no more are locked than that. What becomes
//! of a message is told to the hub in the order in which the client said it; a client that settles
//! second hears of it once the hub has it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use iothub_hub::{C2dMessage, Feature, Guarantee, LockToken, SessionId, Settlement};
use iothub_protocol::amqp::address::Address;
use iothub_protocol::amqp::connection::{AcceptLink, DeliveryId};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::performative::SenderSettleMode;
use iothub_protocol::amqp::{AmqpError, Connection, DeliveryState, LinkId, Symbol, Value, mapping};

use super::Opening;
use super::reader::MOST_UNSETTLED;
use crate::activity::OperationKind;
use crate::amqp::devices;
use crate::amqp::shared::{Shared, is_congested};

/// The hub is never granted more at once: a queue is shorter, whatever a link's credit.
const GRANT_LIMIT: i64 = 256;

/// The node.
pub(in crate::amqp) struct Node {
    session: SessionId,
    link: LinkId,
}

/// A client's links for cloud-to-device messages.
#[derive(Default)]
pub(in crate::amqp) struct Receivers {
    links: Vec<Receiver>,
    /// Messages that the hub has sent and that wait for a session's window.
    waiting: VecDeque<(Option<LockToken>, Arc<C2dMessage>)>,
    /// Messages that the hub may still send.
    granted: i64,
    /// What the client has said and the hub has not been told.
    outcomes: Vec<Outcome>,
    /// Locks that nobody will settle.
    returned: Vec<LockToken>,
    subscribed: bool,
}

/// One of them.
struct Receiver {
    link: LinkId,
    /// Whether its address is that of a module's inputs.
    inputs: bool,
    /// Whether it is sent everything settled.
    settled: bool,
    /// What it was sent and has not settled, the newest of it; without a lock, nothing is to be told to
    /// the hub.
    held: BTreeMap<DeliveryId, Option<LockToken>>,
}

/// What became of a message.
struct Outcome {
    lock: LockToken,
    settlement: Settlement,
    /// The delivery, when the client waits for it to be settled.
    unsettled: Option<(LinkId, DeliveryId)>,
}

impl Node {
    /// Takes a link.
    pub(super) async fn open(
        shared: &mut Shared,
        opening: &Opening<'_>,
    ) -> Result<Self, AmqpError> {
        let (client, inputs) = match &opening.address {
            Address::C2d(client) => (client, false),
            Address::Telemetry(client) if client.module.is_some() => (client, true),
            _ => return Err(super::no_node(opening)),
        };
        let link = opening.link;
        let session = devices::enter(shared, opening, client).await?;
        let settled = opening.attach.snd_settle_mode == SenderSettleMode::Settled;
        if let Err(error) = subscribe(shared, session, inputs, settled).await {
            devices::leave(shared, session, link).await;
            return Err(error);
        }
        shared.machine.accept_link(link, AcceptLink::default());
        let node = Self { session, link };
        let Some(device) = shared.devices.get_mut(session) else {
            return Ok(node);
        };
        let displaced = device.c2d.links.iter().find(|it| it.inputs == inputs);
        let displaced = displaced.map(|old| old.link);
        if let Some(old) = displaced {
            device.c2d.forget(old);
        }
        let receiver = Receiver {
            link,
            inputs,
            settled,
            held: BTreeMap::new(),
        };
        // The address for nothing else comes first.
        let place = if inputs { device.c2d.links.len() } else { 0 };
        device.c2d.links.insert(place, receiver);
        device.c2d.subscribed = true;
        shared.devices.touch(session);
        if let Some(old) = displaced {
            let error = AmqpError::new(condition::LINK_STOLEN, "another link has the same address");
            shared.detach(old, Some(error));
        }
        Ok(node)
    }

    /// The peer told what became of a delivery; the hub is told with others of the same read.
    pub(super) async fn outcome(
        &mut self,
        shared: &mut Shared,
        delivery: DeliveryId,
        state: Option<DeliveryState>,
        settled: bool,
    ) {
        let Some(device) = shared.devices.get_mut(self.session) else {
            return;
        };
        if device
            .c2d
            .take_outcome(self.link, delivery, state.as_ref(), settled)
        {
            shared.devices.touch(self.session);
        } else if !settled && state.is_some() {
            // Nothing depends on it any more.
            shared
                .machine
                .settle_sent(self.link, delivery, DeliveryState::Accepted);
        }
    }

    /// There is credit, or something to send.
    pub(super) async fn credit(&mut self, shared: &mut Shared) {
        devices::settle(shared, self.session).await;
        // Credit that lapses next is to be taken from the hub, too; not before there was room for
        // what the hub has sent for it.
        if devices::is_behind(shared, self.session) {
            shared.has_room(self.link);
        }
        shared.devices.touch(self.session);
    }

    /// The link is over: what it holds returns to its place, uncounted.
    pub(super) async fn close(self, shared: &mut Shared) {
        if let Some(device) = shared.devices.get_mut(self.session) {
            device.c2d.forget(self.link);
            shared.devices.touch(self.session);
        }
        devices::leave(shared, self.session, self.link).await;
    }
}

impl Receivers {
    /// Takes a message from the hub.
    pub(in crate::amqp) fn push(
        &mut self,
        machine: &mut Connection,
        lock: Option<LockToken>,
        message: Arc<C2dMessage>,
    ) {
        self.granted = (self.granted - 1).max(0);
        self.waiting.push_back((lock, message));
        self.pump(machine);
    }

    /// Whether the hub is to be told something.
    pub(in crate::amqp) fn is_at_odds(&self, machine: &Connection) -> bool {
        !self.outcomes.is_empty()
            || !self.returned.is_empty()
            || !self.waiting.is_empty()
            || self.missing_grant(machine) != 0
    }

    /// Sends what waits, as far as the links go.
    fn pump(&mut self, machine: &mut Connection) {
        while !is_congested(machine)
            && let Some((lock, message)) = self.waiting.front()
        {
            let ready = |it: &&mut Receiver| machine.sendable(it.link) > 0;
            let Some(receiver) = self.links.iter_mut().find(ready) else {
                return;
            };
            let mut encoded = BytesMut::new();
            to_amqp(message, *lock).encode(&mut encoded);
            let tag = tag(message, *lock);
            let (link, settled) = (receiver.link, receiver.settled);
            match machine.send(link, &tag, 0, encoded.freeze(), settled) {
                Ok(delivery) if !settled => {
                    receiver.held.insert(delivery, *lock);
                    if receiver.held.len() > MOST_UNSETTLED
                        && let Some((oldest, lock)) = receiver.held.pop_first()
                    {
                        self.returned.extend(lock);
                        machine.settle_sent(link, oldest, DeliveryState::Released);
                    }
                }
                // Complete once it is on its way (`spec/device.md` 5.3).
                Ok(_) => self.outcomes.extend(lock.map(|lock| Outcome {
                    lock,
                    settlement: Settlement::Complete,
                    unsettled: None,
                })),
                Err(_) => return,
            }
            self.waiting.pop_front();
        }
    }

    /// How many more messages the links take than the hub knows of.
    fn missing_grant(&self, machine: &Connection) -> i64 {
        let credit: i64 = self
            .links
            .iter()
            .map(|it| i64::from(machine.credit(it.link)))
            .sum();
        let wanted = credit - self.waiting.len() as i64;
        if wanted > GRANT_LIMIT && self.granted > GRANT_LIMIT / 2 {
            // Much is left of a credit that is larger than any queue.
            return 0;
        }
        wanted.clamp(0, GRANT_LIMIT) - self.granted
    }

    /// Whether something came of what the client said of a delivery.
    fn take_outcome(
        &mut self,
        link: LinkId,
        delivery: DeliveryId,
        state: Option<&DeliveryState>,
        settled: bool,
    ) -> bool {
        let Some(receiver) = self.links.iter_mut().find(|it| it.link == link) else {
            return false;
        };
        let settlement = match state {
            Some(DeliveryState::Accepted) => Settlement::Complete,
            Some(DeliveryState::Rejected(_)) => Settlement::Reject,
            Some(DeliveryState::Released | DeliveryState::Modified { .. }) => Settlement::Abandon,
            // Who settles without a word has taken it.
            None | Some(DeliveryState::Received { .. } | DeliveryState::Other(_)) if settled => {
                Settlement::Complete
            }
            None | Some(DeliveryState::Received { .. } | DeliveryState::Other(_)) => return true,
        };
        let Some(Some(lock)) = receiver.held.remove(&delivery) else {
            return false;
        };
        self.outcomes.push(Outcome {
            lock,
            settlement,
            unsettled: (!settled).then_some((link, delivery)),
        });
        true
    }

    /// A link is gone, and with it who would settle what it holds.
    fn forget(&mut self, link: LinkId) {
        if let Some(place) = self.links.iter().position(|it| it.link == link) {
            let receiver = self.links.remove(place);
            self.returned.extend(receiver.held.into_values().flatten());
        }
    }

    /// Outcomes of the same kind, as far as they follow each other.
    fn next_outcomes(&mut self) -> Option<(Settlement, Vec<Outcome>)> {
        let settlement = self.outcomes.first()?.settlement;
        let end = self
            .outcomes
            .iter()
            .position(|it| it.settlement != settlement)
            .unwrap_or(self.outcomes.len());
        Some((settlement, self.outcomes.drain(..end).collect()))
    }
}

/// Tells the hub what became of messages, and how many more the links take.
pub(in crate::amqp) async fn settle(shared: &mut Shared, session: SessionId) {
    loop {
        let Some(device) = shared.devices.get_mut(session) else {
            return;
        };
        device.c2d.pump(&mut shared.machine);
        let Some((settlement, outcomes)) = device.c2d.next_outcomes() else {
            break;
        };
        tell_outcomes(shared, session, settlement, &outcomes).await;
    }
    tell_credit(shared, session).await;
    give_back(shared, session).await;
}

async fn subscribe(
    shared: &mut Shared,
    session: SessionId,
    inputs: bool,
    settled: bool,
) -> Result<(), AmqpError> {
    let Some(device) = shared.devices.get_mut(session) else {
        return Ok(());
    };
    let client = device.client.clone();
    let once = settled && device.c2d.links.iter().all(|it| it.settled);
    let guarantee = if once {
        Guarantee::AtMostOnce
    } else {
        Guarantee::AtLeastOnce
    };
    let wanted = [(Feature::C2d, guarantee), (Feature::Inputs, guarantee)];
    let wanted = if inputs { &wanted[..] } else { &wanted[..1] };
    let subscribed = shared
        .handle
        .call_at(OperationKind::Subscribe.on(&client), |hub, cx| {
            // First, so that the hub opens no window of its own.
            hub.grant_c2d(cx, session, 0)?;
            hub.subscribe(cx, session, wanted)
        })
        .await;
    match subscribed {
        Ok(((), step)) => {
            devices::deliver(shared, session, Some(step));
            Ok(())
        }
        Err(error) => Err(shared.refusal(&error)),
    }
}

async fn tell_outcomes(
    shared: &mut Shared,
    session: SessionId,
    settlement: Settlement,
    outcomes: &[Outcome],
) {
    let Some(device) = shared.devices.get_mut(session) else {
        return;
    };
    let client = device.client.clone();
    let locks: Vec<_> = outcomes.iter().map(|it| it.lock).collect();
    let settled = shared
        .handle
        .call_at(OperationKind::SettleC2d.on(&client), |hub, cx| {
            hub.acknowledge_c2d(cx, session, &locks, settlement)
        })
        .await;
    if let Ok((_, step)) = &settled {
        devices::deliver(shared, session, Some(*step));
    }
    for outcome in outcomes {
        let Some((link, delivery)) = outcome.unsettled else {
            continue;
        };
        // .NET takes anything but this for a failure, whatever it has said itself.
        let state = match &settled {
            Ok((lost, _)) if !lost.contains(&outcome.lock) => DeliveryState::Accepted,
            Ok(_) => DeliveryState::Rejected(Some(AmqpError::new(
                condition::MESSAGE_LOCK_LOST,
                "the lock is lost",
            ))),
            Err(error) => DeliveryState::Rejected(Some(shared.refusal(error))),
        };
        shared.machine.settle_sent(link, delivery, state);
    }
}

async fn tell_credit(shared: &mut Shared, session: SessionId) {
    let Some(device) = shared.devices.get_mut(session) else {
        return;
    };
    let client = device.client.clone();
    let more = device.c2d.missing_grant(&shared.machine);
    if more != 0 {
        let granted = shared
            .handle
            .call(OperationKind::GrantC2d.on(&client), |hub, cx| {
                hub.grant_c2d(cx, session, more)
            })
            .await;
        if let (Ok(more), Some(device)) = (granted, shared.devices.get_mut(session)) {
            device.c2d.granted += more;
        }
        devices::deliver(shared, session, None);
    }
    let Some(device) = shared.devices.get_mut(session) else {
        return;
    };
    if device.c2d.links.is_empty() && device.c2d.subscribed {
        device.c2d.subscribed = false;
        let unwanted = [Feature::C2d, Feature::Inputs];
        let done = shared
            .handle
            .call(OperationKind::Unsubscribe.on(&client), |hub, cx| {
                hub.unsubscribe(cx, session, &unwanted)
            })
            .await;
        if let Err(error) = done {
            tracing::debug!(%client, %error, "not unsubscribed");
        }
    }
}

/// Gives back what no link takes, and what links that are gone have held.
async fn give_back(shared: &mut Shared, session: SessionId) {
    let Some(device) = shared.devices.get_mut(session) else {
        return;
    };
    let c2d = &mut device.c2d;
    let has_credit = c2d
        .links
        .iter()
        .any(|it| shared.machine.credit(it.link) > 0);
    if !has_credit {
        let waiting = std::mem::take(&mut c2d.waiting);
        c2d.returned
            .extend(waiting.into_iter().filter_map(|(lock, _)| lock));
    }
    if c2d.returned.is_empty() {
        return;
    }
    let locks = std::mem::take(&mut c2d.returned);
    let client = device.client.clone();
    let done = shared
        .handle
        .call(OperationKind::SettleC2d.on(&client), |hub, cx| {
            hub.give_back_c2d(cx, session, &locks)
        })
        .await;
    if let Err(error) = done {
        tracing::debug!(%client, %error, "nothing was given back");
    }
}

/// The message with the annotations of this delivery, each of the type that .NET reads.
fn to_amqp(message: &C2dMessage, lock: Option<LockToken>) -> AmqpMessage {
    let mut amqp = mapping::to_amqp(&message.message);
    let count = u8::try_from(message.delivery_count).unwrap_or(u8::MAX);
    let mut annotations = vec![
        (
            "iothub-enqueuedtime",
            Value::Timestamp(message.enqueued.unix_millis()),
        ),
        ("iothub-deliverycount", Value::Ubyte(count)),
        ("x-opt-sequence-number", Value::Ulong(message.sequence)),
    ];
    if let Some(lock) = lock {
        annotations.push(("x-opt-lock-token", Value::String(lock.to_string())));
    }
    let annotations = annotations
        .into_iter()
        .map(|(name, value)| (Symbol::of(name).into(), value));
    amqp.message_annotations.extend(annotations);
    amqp
}

/// Sixteen bytes, which .NET takes for a GUID: the lock's, or what is not used twice by a client.
fn tag(message: &C2dMessage, lock: Option<LockToken>) -> [u8; 16] {
    match lock {
        Some(lock) => *lock.as_bytes(),
        None => u128::from(message.sequence).to_be_bytes(),
    }
}
