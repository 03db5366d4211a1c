//! Deliveries of the peer: credit, limits, parts, and their settlement.

use bytes::{Bytes, BytesMut};

use super::Connection;
use super::event::{Delivery, Event};
use super::link::{End, Link, Partial, Phase, Receiver};
use super::terms::{DeliveryId, LinkId, SessionId};
use crate::amqp::error::{AmqpError, condition};
use crate::amqp::performative::{Performative, Role, Transfer};
use crate::amqp::state::DeliveryState;

impl Connection {
    pub(super) fn on_transfer(&mut self, id: SessionId, transfer: &Transfer, payload: Bytes) {
        let half = self.config.incoming_window / 2;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.incoming_left == 0 {
            let error = AmqpError::new(condition::WINDOW_VIOLATION, "the window is shut");
            return self.end_session(id, Some(error));
        }
        session.incoming_left -= 1;
        session.next_incoming_id = session.next_incoming_id.wrapping_add(1);
        let reopen = session.incoming_left <= half;
        let link = session.peer_handles.get(&transfer.handle).copied();
        // A link that is over may have had transfers under way.
        let known = session.highest_peer_handle >= Some(transfer.handle);
        if reopen {
            // What comes in is bounded by credit and by the bytes of unfinished deliveries.
            let flow = self.session_flow(id);
            self.write_on(id, &Performative::Flow(flow));
        }
        match link {
            Some(link) => {
                if let Err(error) = self.take_transfer(link, transfer, payload) {
                    self.break_link(link, error);
                }
            }
            None if known => {}
            None => {
                let text = format!("no link has the handle {}", transfer.handle);
                let error = AmqpError::new(condition::UNATTACHED_HANDLE, text);
                self.end_session(id, Some(error));
            }
        }
    }

    fn take_transfer(
        &mut self,
        id: LinkId,
        transfer: &Transfer,
        payload: Bytes,
    ) -> Result<(), AmqpError> {
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        let receiver = match (&link.phase, &mut link.end) {
            (Phase::Detaching, _) => return Ok(()),
            (_, End::Receiver(receiver)) => receiver,
            (_, End::Sender(_)) => {
                let text = "a transfer to the sender of a link";
                return Err(AmqpError::new(condition::NOT_ALLOWED, text));
            }
        };
        let mut partial = match receiver.partial.take() {
            Some(partial) => {
                self.unfinished -= partial.payload.len();
                if transfer
                    .delivery_id
                    .is_some_and(|wire| wire != partial.wire)
                {
                    let text = "a delivery within another one";
                    return Err(AmqpError::new(condition::NOT_ALLOWED, text));
                }
                *partial
            }
            None => receiver.begin(transfer)?,
        };
        partial.settled |= transfer.settled == Some(true);
        if transfer.aborted {
            // AMQP 1.0 part 2, 2.7.5: what came of it is void, and it is settled.
            self.top_up(id);
            return Ok(());
        }
        let size = partial.payload.len() + payload.len();
        let room = self.config.max_unfinished.saturating_sub(self.unfinished);
        let limit = receiver.max_message_size.filter(|limit| *limit > 0);
        // What is complete does not stay here.
        let is_too_long = transfer.more && size > room;
        if is_too_long || limit.is_some_and(|limit| size as u64 > limit) {
            let text = "the message is too large";
            return Err(AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, text));
        }
        if transfer.more {
            partial.payload.extend_from_slice(&payload);
            self.unfinished += size;
            receiver.partial = Some(Box::new(partial));
            return Ok(());
        }
        let payload = if partial.payload.is_empty() {
            payload
        } else {
            partial.payload.extend_from_slice(&payload);
            std::mem::take(&mut partial.payload).freeze()
        };
        let Some(session) = self.sessions.get_mut(&link.session) else {
            return Ok(());
        };
        let number = session.next_received;
        session.next_received += 1;
        if !partial.settled {
            session.received.push(number, partial.wire, id);
            receiver.unsettled += 1;
        }
        let settled = partial.settled;
        self.events.push_back(Event::Delivery(Delivery {
            link: id,
            id: DeliveryId(number),
            tag: std::mem::take(&mut partial.tag),
            format: partial.format,
            settled,
            payload,
        }));
        if settled {
            self.top_up(id);
        }
        Ok(())
    }

    /// Restores a link's credit if enough deliveries have been settled.
    pub(super) fn top_up(&mut self, id: LinkId) {
        if let Some(Link {
            phase: Phase::Attached,
            end: End::Receiver(receiver),
            ..
        }) = self.links.get(&id)
            && let Some(credit) = receiver.due_credit()
        {
            self.grant_credit(id, credit);
        }
    }

    /// Tells the peer how many deliveries it may send from now on.
    pub(super) fn grant_credit(&mut self, id: LinkId, credit: u32) {
        if let Some(Link {
            phase: Phase::Attached,
            end: End::Receiver(receiver),
            ..
        }) = self.links.get_mut(&id)
        {
            receiver.grant(credit);
            self.write_link_flow(id, false);
        }
    }

    pub(super) fn settle_received(
        &mut self,
        id: LinkId,
        delivery: DeliveryId,
        state: DeliveryState,
    ) {
        let Some(Link {
            session: session_id,
            end: End::Receiver(receiver),
            ..
        }) = self.links.get_mut(&id)
        else {
            return;
        };
        let session_id = *session_id;
        let session = self.sessions.get_mut(&session_id);
        let Some(entry) = session.and_then(|session| session.received.remove(delivery.0, id))
        else {
            return;
        };
        receiver.unsettled = receiver.unsettled.saturating_sub(1);
        self.say(session_id, Role::Receiver, entry.wire, true, state);
        self.top_up(id);
    }

    pub(super) fn tell_received(&mut self, id: LinkId, delivery: DeliveryId, state: DeliveryState) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let session_id = link.session;
        let session = self.sessions.get(&session_id);
        let entry = session.and_then(|session| session.received.find(delivery.0, id));
        if let Some(wire) = entry.map(|entry| entry.wire) {
            self.say(session_id, Role::Receiver, wire, false, state);
        }
    }
}

impl Receiver {
    /// Takes the first part of a delivery.
    fn begin(&mut self, transfer: &Transfer) -> Result<Partial, AmqpError> {
        let Some(wire) = transfer.delivery_id else {
            let text = "a delivery without a delivery-id";
            return Err(AmqpError::new(condition::INVALID_FIELD, text));
        };
        if self.allowance == 0 {
            let text = "the link has no credit";
            return Err(AmqpError::new(condition::TRANSFER_LIMIT_EXCEEDED, text));
        }
        self.advance(1);
        Ok(Partial {
            wire,
            tag: transfer.delivery_tag.clone().unwrap_or_default(),
            format: transfer.message_format.unwrap_or(0),
            settled: false,
            payload: BytesMut::new(),
        })
    }
}
