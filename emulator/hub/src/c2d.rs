//! Cloud-to-device messages: each client's queue (`spec/device.md` 5, `spec/service.md` 8).
//!
//! A message is enqueued, then locked by who is to receive it, then settled, or given back to its
//! place. Sessions that listen are sent messages as far as their credit goes; others fetch them.

mod properties;
mod queue;
mod view;

use std::sync::Arc;
use std::time::Duration;

use iothub_protocol::feedback::{FeedbackRecord, FeedbackStatus};
use iothub_protocol::property_bag::SystemProperty;
use iothub_protocol::{ClientId, Error, ErrorCode, Message, Timestamp};

pub(crate) use queue::Queues;
use queue::{Holder, State};
pub use view::QueuedC2d;

use crate::Hub;
use crate::access::{Permission, Principal, Who};
use crate::cx::{Change, Cx, Delivery, Effect, Notice};
use crate::deadlines;
use crate::limits::{BeforeSubscription, CountedReturns};
use crate::locks::{LockToken, Settlement, lock_lost};
use crate::sessions::{Feature, Guarantee, SessionId};

/// A message that waits for its client.
#[derive(Clone, Debug, PartialEq)]
pub struct C2dMessage {
    /// Whom it is for.
    pub client: ClientId,
    /// Its place in the client's queue.
    pub sequence: u64,
    /// When the hub took it.
    pub enqueued: Timestamp,
    /// When it loses its value.
    pub expires: Timestamp,
    /// How often it was given back.
    pub delivery_count: u32,
    /// The generation of the identity that it was sent to.
    pub generation: Arc<str>,
    /// What was sent, its properties in the order in which they travel; the wish for feedback is
    /// its property `iothub-ack`.
    pub message: Message,
}

/// A message that was fetched, and what settles it.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// Names the lock.
    pub lock: LockToken,
    /// The message.
    pub message: Arc<C2dMessage>,
}

/// What falls due, about the client's message with this sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It loses its value.
    Expiry(ClientId, u64),
    /// Its lock is lost.
    LockTimeout(ClientId, u64),
}

impl Hub {
    /// Enqueues a message for a device or module, which may be offline or disabled: that keeps it
    /// from connecting, nothing else. Answers the message's sequence number.
    ///
    /// Refuses with `DeviceNotFound`, `ModuleNotFound`, `MessageTooLarge`,
    /// `DeviceMaximumQueueDepthExceeded`, `InvalidMessageExpiryTime`, and with `ArgumentInvalid` a
    /// wish for feedback or an expiry that means nothing.
    pub fn send_c2d(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        client: &ClientId,
        message: Message,
    ) -> Result<u64, Error> {
        caller.require(Permission::ServiceConnect)?;
        let limits = &self.config.limits;
        let generation = self.registry.require(client)?.generation.clone();
        if message.is_larger_than(limits.c2d_message) {
            return Err(Error::new(
                ErrorCode::MessageTooLarge,
                format!(
                    "{} bytes of message, the limit is {}",
                    message.size(),
                    limits.c2d_message
                ),
            ));
        }
        let (properties, expires) =
            properties::arrange(&message.properties, client, cx.now(), limits)?;
        if self.c2d.count(client) >= limits.c2d_queue_depth as u64 {
            return Err(Error::new(
                ErrorCode::DeviceMaximumQueueDepthExceeded,
                format!("{} messages wait for {client}", limits.c2d_queue_depth),
            ));
        }
        let sequence = self.c2d.next_sequence(client);
        let message = Arc::new(C2dMessage {
            client: client.clone(),
            sequence,
            enqueued: cx.now(),
            expires,
            delivery_count: 0,
            generation,
            message: Message {
                properties,
                body: message.body,
            },
        });
        self.c2d.put(message.clone());
        self.watch_expiry(client, sequence, expires);
        cx.change(Change::PutC2d(message.clone()));
        cx.notice(Notice::C2dSent(message));
        self.push_c2d(cx, client);
        Ok(sequence)
    }

    /// Locks the oldest message for a client that fetches its messages; `None`: there is none. The
    /// lock lasts a minute unless the client asks for another time (`spec/device.md` 9.3).
    ///
    /// Refuses with `IotHubUnauthorizedAccess` whoever is not the client.
    pub fn receive_c2d(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        client: &ClientId,
        lock_timeout: Option<Duration>,
    ) -> Result<Option<Received>, Error> {
        self.check_recipient(caller, client)?;
        let Some(sequence) = self.c2d.next(client, cx.now()) else {
            return Ok(None);
        };
        let limits = &self.config.limits;
        let timeout = lock_timeout.map_or(limits.c2d_lock, |wanted| {
            wanted.clamp(Duration::from_secs(1), limits.c2d_lock_ceiling)
        });
        let locked = self.lock_c2d(cx, client, sequence, Holder::Caller, timeout);
        Ok(locked.map(|(lock, _, message)| Received { lock, message }))
    }

    /// Settles a message that the client was sent or has fetched.
    ///
    /// Refuses with `DeviceMessageLockLost` when the lock is lost or never was, and with
    /// `IotHubUnauthorizedAccess` whoever is not the client.
    pub fn settle_c2d(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        client: &ClientId,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), Error> {
        self.check_recipient(caller, client)?;
        let (sequence, _) = self.c2d.locked(client, lock).ok_or_else(lock_lost)?;
        self.settle_locked(cx, client, sequence, settlement);
        self.push_c2d(cx, client);
        Ok(())
    }

    /// Settles messages that the session was sent; answers which locks are lost, or not the
    /// session's. They are passed over: the client could not know (`spec/device.md` 5.3).
    pub fn acknowledge_c2d(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        locks: &[LockToken],
        settlement: Settlement,
    ) -> Result<Vec<LockToken>, Error> {
        let now = cx.now();
        let state = self.sessions.require(session)?;
        state.last_activity = now;
        let client = state.client.clone();
        let mut lost = Vec::new();
        for &lock in locks {
            match self.c2d.locked(&client, lock) {
                Some((sequence, holder)) if holder == Holder::Session(session) => {
                    self.settle_locked(cx, &client, sequence, settlement);
                }
                Some(_) | None => lost.push(lock),
            }
        }
        self.push_c2d(cx, &client);
        Ok(lost)
    }

    /// Takes back messages that the session was sent and does not settle: they return to their
    /// places, as if its connection were lost (`spec/device.md` 5.4).
    pub fn give_back_c2d(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        locks: &[LockToken],
    ) -> Result<(), Error> {
        let client = self.sessions.require(session)?.client.clone();
        for &lock in locks {
            if let Some((sequence, holder)) = self.c2d.locked(&client, lock)
                && holder == Holder::Session(session)
            {
                self.return_c2d(cx, &client, sequence, self.counts_every_return());
            }
        }
        self.push_c2d(cx, &client);
        Ok(())
    }

    /// Says how many messages more, or fewer, the session takes. From then on it counts itself;
    /// until then it has a window, which what it settles opens again. Answers the change that was
    /// made: what has been sent already cannot be asked back.
    pub fn grant_c2d(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        more: i64,
    ) -> Result<i64, Error> {
        let client = self.sessions.require(session)?.client.clone();
        let credit = self.c2d.grants.entry(session).or_default();
        let before = i64::from(*credit);
        let after = before.saturating_add(more).clamp(0, u32::MAX.into());
        *credit = after as u32;
        self.push_c2d(cx, &client);
        Ok(after - before)
    }

    /// Empties a client's queue, locked messages included; answers how many there were.
    ///
    /// Refuses with `DeviceNotFound`, `ModuleNotFound` (`spec/service.md` 2.3).
    pub fn purge_c2d(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        client: &ClientId,
    ) -> Result<u64, Error> {
        caller.require(Permission::ServiceConnect)?;
        self.registry.require(client)?;
        let all: Vec<_> = self.c2d.entries(client).map(|it| it.0).collect();
        for &sequence in &all {
            self.end_c2d(cx, client, sequence, FeedbackStatus::Purged);
        }
        Ok(all.len() as u64)
    }

    /// What waits for a client, in order.
    pub fn waiting_c2d(&self, client: &ClientId) -> Vec<Arc<C2dMessage>> {
        let entries = self.c2d.entries(client);
        entries.map(|(_, entry)| entry.message.clone()).collect()
    }

    /// A session has begun to listen, or says so again.
    pub(crate) fn listen_for_c2d(&mut self, cx: &mut Cx<'_>, session: SessionId, is_new: bool) {
        let Some(client) = self.session_client(session).cloned() else {
            return;
        };
        // A subscription is for what is sent from its beginning on (`spec/device.md` 5.5).
        let rule = self.config.limits.c2d_before_first_subscribe;
        if is_new && rule == BeforeSubscription::Reject {
            let older: Vec<_> = self
                .c2d
                .entries(&client)
                .filter(|(_, entry)| entry.token().is_none() && entry.message.enqueued < cx.now())
                .map(|it| it.0)
                .collect();
            for sequence in older {
                self.end_c2d(cx, &client, sequence, FeedbackStatus::Rejected);
            }
        }
        self.push_c2d(cx, &client);
    }

    /// Sends a client's session what waits, as far as its credit goes.
    pub(crate) fn push_c2d(&mut self, cx: &mut Cx<'_>, client: &ClientId) {
        let Some((session, state)) = self.sessions.find(client) else {
            return;
        };
        let Some(guarantee) = state.subscriptions.get(Feature::C2d) else {
            return;
        };
        let granted = self.c2d.grants.get(&session).copied();
        let mut credit = granted.unwrap_or_else(|| match guarantee {
            // What is not acknowledged cannot be waited for.
            Guarantee::AtMostOnce => u32::MAX,
            Guarantee::AtLeastOnce => {
                let held = self.c2d.held_by(client, session).len() as u32;
                self.config.limits.c2d_window.saturating_sub(held)
            }
        });
        while credit > 0
            && let Some(sequence) = self.c2d.next(client, cx.now())
        {
            credit -= 1;
            self.deliver_c2d(cx, client, sequence, session, guarantee);
        }
        if granted.is_some() {
            self.c2d.grants.insert(session, credit);
        }
    }

    /// A session is over: what it holds returns.
    pub(crate) fn release_c2d(&mut self, cx: &mut Cx<'_>, client: &ClientId, session: SessionId) {
        self.c2d.grants.remove(&session);
        for sequence in self.c2d.held_by(client, session) {
            self.return_c2d(cx, client, sequence, self.counts_every_return());
        }
    }

    /// A client is no more, and with it what waits for it and what became of its messages.
    pub(crate) fn drop_c2d(&mut self, cx: &mut Cx<'_>, client: &ClientId) {
        for entry in self.c2d.take_all(client) {
            self.forget_deadlines(entry.expiry, &entry.state);
            cx.change(Change::DeleteC2d(client.clone(), entry.message.sequence));
        }
        self.drop_feedback(cx, client);
    }

    /// Sets the deadlines of what was restored or copied. Nothing is locked any more: sessions and
    /// callers stay behind.
    pub(crate) fn c2d_rearm(&mut self) {
        self.c2d.grants.clear();
        for client in self.c2d.clients() {
            let all: Vec<_> = self
                .c2d
                .entries(&client)
                .map(|(sequence, entry)| (sequence, entry.message.expires))
                .collect();
            for (sequence, expires) in all {
                if let Some(entry) = self.c2d.get_mut(&client, sequence) {
                    entry.state = State::Enqueued;
                }
                self.watch_expiry(&client, sequence, expires);
            }
        }
    }

    pub(crate) fn c2d_due(&mut self, cx: &mut Cx<'_>, due: Due) {
        match due {
            Due::Expiry(client, sequence) => {
                let Some(entry) = self.c2d.get_mut(&client, sequence) else {
                    return;
                };
                entry.expiry = None;
                // Who holds it may still take it; it expires when it is given back.
                if entry.token().is_none() {
                    self.end_c2d(cx, &client, sequence, FeedbackStatus::Expired);
                }
            }
            Due::LockTimeout(client, sequence) => {
                self.return_c2d(cx, &client, sequence, self.counts_every_return());
                self.push_c2d(cx, &client);
            }
        }
    }

    fn deliver_c2d(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        sequence: u64,
        session: SessionId,
        guarantee: Guarantee,
    ) {
        let (lock, redelivered, message) = match guarantee {
            Guarantee::AtLeastOnce => {
                let timeout = self.config.limits.c2d_lock;
                let holder = Holder::Session(session);
                match self.lock_c2d(cx, client, sequence, holder, timeout) {
                    Some((lock, redelivered, message)) => (Some(lock), redelivered, message),
                    None => return,
                }
            }
            // Complete once it is on its way (`spec/device.md` 5.3).
            Guarantee::AtMostOnce => {
                let Some(entry) = self.c2d.get_mut(client, sequence) else {
                    return;
                };
                let (redelivered, message) = (entry.delivered, entry.message.clone());
                cx.notice(Notice::C2dDelivered {
                    message: message.clone(),
                    redelivered,
                });
                self.end_c2d(cx, client, sequence, FeedbackStatus::Success);
                (None, redelivered, message)
            }
        };
        cx.emit(Effect::Deliver(
            session,
            Delivery::C2d {
                lock,
                redelivered,
                message,
            },
        ));
    }

    /// Locks an enqueued message; answers also whether it had been handed to somebody before.
    fn lock_c2d(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        sequence: u64,
        holder: Holder,
        timeout: Duration,
    ) -> Option<(LockToken, bool, Arc<C2dMessage>)> {
        let token = self.new_lock(cx);
        let entry = self.c2d.get_mut(client, sequence)?;
        let due = Due::LockTimeout(client.clone(), sequence);
        let timeout = self
            .deadlines
            .set(cx.now() + timeout, deadlines::Due::C2d(due));
        entry.state = State::Locked {
            token,
            holder,
            timeout,
        };
        let redelivered = std::mem::replace(&mut entry.delivered, true);
        let message = entry.message.clone();
        cx.notice(Notice::C2dDelivered {
            message: message.clone(),
            redelivered,
        });
        Some((token, redelivered, message))
    }

    fn settle_locked(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        sequence: u64,
        settlement: Settlement,
    ) {
        match settlement {
            Settlement::Complete => self.end_c2d(cx, client, sequence, FeedbackStatus::Success),
            Settlement::Reject => self.end_c2d(cx, client, sequence, FeedbackStatus::Rejected),
            Settlement::Abandon => self.return_c2d(cx, client, sequence, true),
        }
    }

    /// Puts a locked message back to its place, unless it has come back too often or too late.
    fn return_c2d(&mut self, cx: &mut Cx<'_>, client: &ClientId, sequence: u64, counted: bool) {
        let limit = self.config.limits.c2d_delivery_count;
        let Some(entry) = self.c2d.get_mut(client, sequence) else {
            return;
        };
        let State::Locked { timeout, .. } = std::mem::replace(&mut entry.state, State::Enqueued)
        else {
            return;
        };
        self.deadlines.cancel(timeout);
        if counted {
            Arc::make_mut(&mut entry.message).delivery_count += 1;
        }
        let message = entry.message.clone();
        if message.delivery_count >= limit {
            self.end_c2d(cx, client, sequence, FeedbackStatus::DeliveryCountExceeded);
        } else if message.expires <= cx.now() {
            self.end_c2d(cx, client, sequence, FeedbackStatus::Expired);
        } else {
            cx.notice(Notice::C2dReturned(message.clone()));
            if counted {
                cx.change(Change::PutC2d(message));
            }
        }
    }

    /// The one way out of a queue: every ending passes here, and is told if its sender asked.
    fn end_c2d(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        sequence: u64,
        status: FeedbackStatus,
    ) {
        let Some(entry) = self.c2d.take(client, sequence) else {
            return;
        };
        self.forget_deadlines(entry.expiry, &entry.state);
        cx.change(Change::DeleteC2d(client.clone(), sequence));
        let C2dMessage {
            message,
            generation,
            ..
        } = &*entry.message;
        if properties::arranged_wish(&message.properties).wants(status) {
            let id = message.properties.system(SystemProperty::MessageId);
            let record = FeedbackRecord {
                original_message_id: id.unwrap_or_default().into_owned(),
                enqueued: cx.now(),
                status,
                client: client.clone(),
                generation: generation.to_string(),
            };
            self.add_feedback(cx, record);
        }
        cx.notice(Notice::C2dEnded(entry.message, status));
    }

    fn watch_expiry(&mut self, client: &ClientId, sequence: u64, expires: Timestamp) {
        let due = Due::Expiry(client.clone(), sequence);
        let deadline = self.deadlines.set(expires, deadlines::Due::C2d(due));
        if let Some(entry) = self.c2d.get_mut(client, sequence) {
            entry.expiry = Some(deadline);
        }
    }

    fn forget_deadlines(&mut self, expiry: Option<deadlines::DeadlineId>, state: &State) {
        if let Some(expiry) = expiry {
            self.deadlines.cancel(expiry);
        }
        if let State::Locked { timeout, .. } = state {
            self.deadlines.cancel(*timeout);
        }
    }

    fn check_recipient(&self, caller: &Principal, client: &ClientId) -> Result<(), Error> {
        caller.require(Permission::DeviceConnect)?;
        if let Who::Client(proven) = caller.who()
            && proven != client
        {
            return Err(Error::unauthorized(format!(
                "{proven} wants the messages of {client}"
            )));
        }
        self.registry.require(client).map(drop)
    }

    pub(crate) fn counts_every_return(&self) -> bool {
        self.config.limits.c2d_counted_returns == CountedReturns::EveryReturn
    }
}
