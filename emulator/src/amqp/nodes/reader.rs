//! A link that reads a queue of the hub: competing readers, each entry under a lock until it is
//! settled (`spec/amqp.md` 5.2, 5.3). Which queue it is, and what its messages look like, is told
//! by a [`Queue`].

use std::collections::BTreeMap;
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use iothub_hub::{Cx, Hub, LockToken, Permission, Principal, Settlement};
use iothub_protocol::Error;
use iothub_protocol::amqp::connection::{AcceptLink, DeliveryId};
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::performative::SenderSettleMode;
use iothub_protocol::amqp::{AmqpError, DeliveryState, LinkId};

use super::Opening;
use crate::activity::OperationKind;
use crate::amqp::shared::Shared;

/// Deliveries whose outcome is waited for. A lock is over after a minute or so, and the oldest go
/// first: who never settles anything is sent the same again and again, and must not fill the memory.
pub(super) const MOST_UNSETTLED: usize = 4096;

/// A queue of the hub that back ends read.
pub(in crate::amqp) trait Queue {
    /// Its path, which tokens may be for.
    const PATH: &'static str;
    /// The name of taking one entry.
    const RECEIVE: OperationKind;
    /// The name of settling one.
    const SETTLE: OperationKind;

    /// Locks the oldest entry and makes its message; `None`: there is none.
    fn receive(
        hub: &mut Hub,
        cx: &mut Cx<'_>,
        caller: &Principal,
    ) -> Result<Option<(LockToken, AmqpMessage)>, Error>;

    /// Settles an entry.
    fn settle(
        hub: &mut Hub,
        cx: &mut Cx<'_>,
        caller: &Principal,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), Error>;

    /// Gives entries back that nobody will settle any more.
    fn release(hub: &mut Hub, cx: &mut Cx<'_>, locks: &[LockToken]);
}

/// One reader.
pub(in crate::amqp) struct Reader<Q> {
    link: LinkId,
    /// Whether the peer wants entries that are settled already.
    settled: bool,
    /// What was sent and has no outcome yet.
    unsettled: BTreeMap<DeliveryId, LockToken>,
    queue: PhantomData<Q>,
}

impl<Q: Queue> Reader<Q> {
    /// Takes a link of somebody who may read.
    pub(super) fn open(shared: &mut Shared, opening: &Opening<'_>) -> Result<Self, AmqpError> {
        shared
            .authority
            .service(Permission::ServiceConnect, Some(Q::PATH))?;
        shared
            .machine
            .accept_link(opening.link, AcceptLink::default());
        Ok(Self {
            link: opening.link,
            settled: opening.attach.snd_settle_mode == SenderSettleMode::Settled,
            unsettled: BTreeMap::new(),
            queue: PhantomData,
        })
    }

    /// The peer told what became of an entry. Where it leaves the last word to the sender, it gets
    /// it once the hub has acted, with what came of it.
    pub(super) async fn outcome(
        &mut self,
        shared: &mut Shared,
        delivery: DeliveryId,
        state: Option<DeliveryState>,
        settled: bool,
    ) {
        let settlement = match &state {
            Some(DeliveryState::Accepted) => Settlement::Complete,
            Some(DeliveryState::Rejected(_)) => Settlement::Reject,
            Some(DeliveryState::Released | DeliveryState::Modified { .. }) => Settlement::Abandon,
            // No last word yet.
            Some(DeliveryState::Received { .. } | DeliveryState::Other(_)) if !settled => return,
            // Who settles without a word has taken it.
            None | Some(DeliveryState::Received { .. } | DeliveryState::Other(_)) => {
                Settlement::Complete
            }
        };
        let Some(lock) = self.unsettled.remove(&delivery) else {
            return;
        };
        let result = settle::<Q>(shared, lock, settlement).await;
        if !settled {
            let state = match (result, state) {
                (Ok(()), Some(state)) => state,
                (Ok(()), None) => DeliveryState::Accepted,
                // The one place that the protocol has for a lock that is lost.
                (Err(error), _) => DeliveryState::Rejected(Some(error)),
            };
            shared.machine.settle_sent(self.link, delivery, state);
        }
    }

    /// There is credit, or something to send. Each entry is an operation of its own, and others
    /// have their turn between two of them, so that readers share what waits.
    pub(super) async fn credit(&mut self, shared: &mut Shared) {
        while shared.machine.sendable(self.link) > 0 && shared.has_room(self.link) {
            match receive::<Q>(shared, self.settled).await {
                Ok(Some((lock, payload))) => self.send(shared, lock, payload).await,
                Ok(None) => return,
                Err(error) => {
                    shared.detach(self.link, Some(error));
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    async fn send(&mut self, shared: &mut Shared, lock: LockToken, payload: Bytes) {
        let tag = lock.as_bytes();
        let sent = shared
            .machine
            .send(self.link, tag, 0, payload, self.settled);
        if self.settled {
            return;
        }
        let Ok(delivery) = sent else {
            release::<Q>(shared, &[lock]).await;
            return;
        };
        self.unsettled.insert(delivery, lock);
        if self.unsettled.len() > MOST_UNSETTLED
            && let Some((oldest, lock)) = self.unsettled.pop_first()
        {
            release::<Q>(shared, &[lock]).await;
            let state = DeliveryState::Released;
            shared.machine.settle_sent(self.link, oldest, state);
        }
    }

    /// The link is over: what it had goes to the others at once (`spec/amqp.md` 7.3, as for
    /// messages).
    pub(super) async fn close(self, shared: &mut Shared) {
        let locks: Vec<_> = self.unsettled.into_values().collect();
        if !locks.is_empty() {
            release::<Q>(shared, &locks).await;
        }
    }
}

/// Takes the oldest entry; with `settled`, it is done with as it leaves.
async fn receive<Q: Queue>(
    shared: &Shared,
    settled: bool,
) -> Result<Option<(LockToken, Bytes)>, AmqpError> {
    let caller = shared
        .authority
        .service(Permission::ServiceConnect, Some(Q::PATH))?;
    let received = shared
        .handle
        .call(Q::RECEIVE.hub_wide(), |hub, cx| {
            let received = Q::receive(hub, cx, caller)?;
            if settled && let Some((lock, _)) = &received {
                Q::settle(hub, cx, caller, *lock, Settlement::Complete)?;
            }
            Ok(received)
        })
        .await;
    let received = received.map_err(|error| shared.refusal(&error))?;
    Ok(received.map(|(lock, message)| {
        let mut payload = BytesMut::new();
        message.encode(&mut payload);
        (lock, payload.freeze())
    }))
}

async fn settle<Q: Queue>(
    shared: &Shared,
    lock: LockToken,
    settlement: Settlement,
) -> Result<(), AmqpError> {
    let caller = shared
        .authority
        .service(Permission::ServiceConnect, Some(Q::PATH))?;
    shared
        .handle
        .call(Q::SETTLE.hub_wide(), |hub, cx| {
            Q::settle(hub, cx, caller, lock, settlement)
        })
        .await
        .map_err(|error| shared.refusal(&error))
}

async fn release<Q: Queue>(shared: &Shared, locks: &[LockToken]) {
    let released = shared
        .handle
        .call(Q::SETTLE.hub_wide(), |hub, cx| {
            Q::release(hub, cx, locks);
            Ok(())
        })
        .await;
    // The locks end by themselves.
    drop(released);
}
