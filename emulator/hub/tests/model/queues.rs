//! Messages from the cloud and their feedback, on both sides of the bench.

use iothub_hub::{Delivery, Effect, LockToken, Outcome};
use iothub_protocol::Message;
use iothub_protocol::property_bag::{PropertyBag, SystemProperty};

use crate::fixture::{client, secs};
use crate::operations::Operation;
use crate::reference::Reply;
use crate::{Bench, code, name};

impl Bench {
    pub(crate) fn message_on_the_hub(&mut self, operation: &Operation) -> (Reply, Outcome) {
        let operator = self.hub.operator.clone();
        let now = self.hub.now;
        match operation {
            Operation::Send {
                client: to,
                wish,
                seconds,
            } => {
                let mut properties = PropertyBag::new();
                properties.push("iothub-ack", wish.name());
                if let Some(seconds) = seconds {
                    let expiry = (now + secs(u64::from(*seconds))).to_iso();
                    properties.push_system(SystemProperty::Expiry, &expiry);
                }
                let message = Message {
                    properties,
                    body: "x".into(),
                };
                let id = client(&name(*to));
                self.run(|hub, cx| hub.send_c2d(cx, &operator, &id, message).map(Some))
            }
            Operation::Fetch { client: of } => {
                let id = client(&name(*of));
                let (received, outcome) = self
                    .hub
                    .run(|hub, cx| hub.receive_c2d(cx, &operator, &id, None));
                let reply = received.map(|received| {
                    let received = received?;
                    self.locks.push(received.lock);
                    let count = u64::from(received.message.delivery_count);
                    Some(self.locks.len() as u64 * 10_000 + received.message.sequence * 10 + count)
                });
                (code(reply), outcome)
            }
            Operation::Settle {
                client: of,
                lock,
                settlement,
            } => {
                let (id, lock) = (client(&name(*of)), self.lock(*lock));
                self.run(|hub, cx| {
                    hub.settle_c2d(cx, &operator, &id, lock, *settlement)
                        .map(|()| None)
                })
            }
            Operation::Acknowledge {
                back,
                locks,
                settlement,
            } => {
                let session = self.session(*back);
                let locks: Vec<_> = locks.iter().map(|&lock| self.lock(lock)).collect();
                self.run(|hub, cx| {
                    hub.acknowledge_c2d(cx, session, &locks, *settlement)
                        .map(|lost| Some(lost.len() as u64))
                })
            }
            Operation::GiveBack { back, locks } => {
                let session = self.session(*back);
                let locks: Vec<_> = locks.iter().map(|&lock| self.lock(lock)).collect();
                self.run(|hub, cx| hub.give_back_c2d(cx, session, &locks).map(|()| None))
            }
            Operation::Grant { back, more } => {
                let session = self.session(*back);
                self.run(|hub, cx| {
                    hub.grant_c2d(cx, session, *more)
                        .map(|made| Some(made.unsigned_abs()))
                })
            }
            Operation::Purge { client: of } => {
                let id = client(&name(*of));
                self.run(|hub, cx| hub.purge_c2d(cx, &operator, &id).map(Some))
            }
            Operation::ReceiveFeedback => {
                let (received, outcome) =
                    self.hub.run(|hub, cx| hub.receive_feedback(cx, &operator));
                let reply = received.map(|received| {
                    let received = received?;
                    self.locks.push(received.lock);
                    let count = u64::from(received.delivery_count);
                    Some(
                        self.locks.len() as u64 * 10_000
                            + received.records.len() as u64 * 10
                            + count,
                    )
                });
                (code(reply), outcome)
            }
            Operation::SettleFeedback { lock, settlement } => {
                let lock = self.lock(*lock);
                self.run(|hub, cx| {
                    hub.settle_feedback(cx, &operator, lock, *settlement)
                        .map(|()| None)
                })
            }
            _ => unreachable!("not about messages"),
        }
    }

    pub(crate) fn message_on_the_model(&mut self, operation: &Operation) -> Reply {
        let session = operation.back().map_or(0, |back| self.session(back).0);
        let number = |back: u8| self.model.last_lock.saturating_sub(u64::from(back));
        match operation {
            Operation::Send {
                client,
                wish,
                seconds,
            } => self.model.send(*client, *wish, seconds.map(i64::from)),
            Operation::Fetch { client } => self.model.fetch(*client),
            Operation::Settle {
                client,
                lock,
                settlement,
            } => {
                let lock = number(*lock);
                self.model.settle(*client, lock, *settlement)
            }
            Operation::Acknowledge {
                locks, settlement, ..
            } => {
                let locks: Vec<_> = locks.iter().map(|&lock| number(lock)).collect();
                self.model.acknowledge(session, &locks, *settlement)
            }
            Operation::GiveBack { locks, .. } => {
                let locks: Vec<_> = locks.iter().map(|&lock| number(lock)).collect();
                self.model.take_back(session, &locks)
            }
            Operation::Grant { more, .. } => self.model.grant(session, *more),
            Operation::Purge { client } => self.model.purge(*client),
            Operation::ReceiveFeedback => self.model.receive_feedback(),
            Operation::SettleFeedback { lock, settlement } => {
                let lock = number(*lock);
                self.model.settle_feedback(lock, *settlement)
            }
            _ => unreachable!("not about messages"),
        }
    }

    /// Learns the tokens of what was delivered.
    pub(crate) fn note_locks(&mut self, outcome: &Outcome) {
        for effect in &outcome.effects {
            if let Effect::Deliver(_, Delivery::C2d { lock, .. }) = effect {
                self.locks.extend(lock);
            }
        }
    }

    pub(crate) fn number_of(&self, lock: LockToken) -> u64 {
        let place = self.locks.iter().position(|&other| other == lock);
        place.map_or(0, |place| place as u64 + 1)
    }

    /// One of the youngest locks; before there was any, one that never was.
    fn lock(&self, back: u8) -> LockToken {
        let number = self.locks.len().checked_sub(1 + usize::from(back));
        number.map_or(LockToken::from_bytes([0; 16]), |at| self.locks[at])
    }
}
