//! Dispositions: what became of deliveries, both ways, in ranges (AMQP 1.0 part 2, 2.7.6).

use super::Connection;
use super::event::Event;
use super::link::End;
use super::sender::wire;
use super::session::MAX_UNSETTLED;
use super::terms::{DeliveryId, LinkId, SessionId};
use crate::amqp::performative::{Disposition, Flow, Performative, Role};
use crate::amqp::state::DeliveryState;

/// A disposition that may still grow: deliveries in a row, of the same state.
#[derive(Debug)]
pub(super) struct Said {
    role: Role,
    first: u32,
    last: u32,
    settled: bool,
    state: DeliveryState,
}

impl Connection {
    /// Tells a delivery's state, by the disposition that waits if it goes with it.
    pub(super) fn say(
        &mut self,
        id: SessionId,
        role: Role,
        wire: u32,
        settled: bool,
        state: DeliveryState,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let Some(said) = &mut session.said
            && said.role == role
            && said.settled == settled
            && said.last.wrapping_add(1) == wire
            && said.state == state
        {
            said.last = wire;
            return;
        }
        self.flush_said(id);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.said = Some(Said {
                role,
                first: wire,
                last: wire,
                settled,
                state,
            });
            self.speaking.push(id);
        }
    }

    /// Writes the disposition that waits.
    pub(super) fn flush_said(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(said) = session.said.take() else {
            return;
        };
        let channel = session.channel;
        let disposition = Disposition {
            role: said.role,
            first: said.first,
            last: Some(said.last),
            settled: said.settled,
            state: Some(said.state),
            batchable: false,
        };
        self.write(channel, &Performative::Disposition(disposition));
        // The newest entry is the session's own, or none is.
        if self.speaking.last() == Some(&id) {
            self.speaking.pop();
        }
    }

    /// Writes every disposition that waits.
    pub(super) fn flush_all_said(&mut self) {
        while let Some(id) = self.speaking.pop() {
            self.flush_said(id);
        }
    }

    pub(super) fn on_disposition(&mut self, id: SessionId, disposition: &Disposition) {
        let last = disposition.last.unwrap_or(disposition.first);
        // Serial numbers: a last before the first names nothing.
        if last.wrapping_sub(disposition.first) > u32::MAX / 2 {
            return;
        }
        match disposition.role {
            Role::Receiver => self.take_outcomes(id, disposition, last),
            Role::Sender if disposition.settled => {
                self.take_settlements(id, disposition, last);
            }
            Role::Sender => {}
        }
    }

    /// What the peer tells of deliveries of ours. Of an outcome that is not settled the owner hears
    /// once. Each delivery is looked at when it is told and when it is settled, so that the work is
    /// bounded by what we have sent, however often a range is named.
    fn take_outcomes(&mut self, id: SessionId, disposition: &Disposition, last: u32) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let next = session.next_delivery;
        let Some(first) = expand(next, disposition.first) else {
            return;
        };
        let count = u64::from(last.wrapping_sub(disposition.first));
        let was_full = session.sent.len() >= MAX_UNSETTLED;
        let settled = disposition.settled;
        let terminal = !matches!(
            disposition.state,
            None | Some(DeliveryState::Received { .. })
        );
        if !settled && !terminal {
            return;
        }
        let end = first + count;
        let mut from = first;
        while let Some(entry) = if settled {
            session.sent.settle_next(from, end)
        } else {
            session.sent.tell_next(from, end)
        } {
            from = entry.id + 1;
            if settled
                && let Some(link) = self.links.get_mut(&entry.link)
                && let End::Sender(sender) = &mut link.end
            {
                sender.unsettled = sender.unsettled.saturating_sub(1);
            }
            self.events.push_back(Event::Outcome {
                link: entry.link,
                delivery: DeliveryId(entry.id),
                state: disposition.state.clone(),
                settled,
            });
        }
        if was_full && session.sent.len() < MAX_UNSETTLED {
            self.announce(id, &Flow::default());
        }
    }

    /// The peer settles deliveries of its own whose outcome we have told (the settle mode second).
    /// Its numbers need not be in order, so that all are looked at; credit bounds them.
    fn take_settlements(&mut self, id: SessionId, disposition: &Disposition, last: u32) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let span = last.wrapping_sub(disposition.first);
        let (links, events) = (&mut self.links, &mut self.events);
        let mut settled: Vec<LinkId> = Vec::new();
        session.received.settle_where(|entry| {
            if entry.wire.wrapping_sub(disposition.first) > span {
                return false;
            }
            let link = entry.link;
            if let Some(found) = links.get_mut(&link)
                && let End::Receiver(receiver) = &mut found.end
            {
                receiver.unsettled = receiver.unsettled.saturating_sub(1);
            }
            if settled.last() != Some(&link) {
                settled.push(link);
            }
            events.push_back(Event::Outcome {
                link,
                delivery: DeliveryId(entry.id),
                state: disposition.state.clone(),
                settled: true,
            });
            true
        });
        for link in settled {
            self.top_up(link);
        }
    }

    pub(super) fn settle_delivery(
        &mut self,
        id: LinkId,
        delivery: DeliveryId,
        state: DeliveryState,
    ) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let End::Sender(sender) = &mut link.end else {
            return;
        };
        let session_id = link.session;
        let Some(session) = self.sessions.get_mut(&session_id) else {
            return;
        };
        let was_full = session.sent.len() >= MAX_UNSETTLED;
        if session.sent.remove(delivery.0, id).is_none() {
            return;
        }
        sender.unsettled = sender.unsettled.saturating_sub(1);
        self.say(session_id, Role::Sender, wire(delivery.0), true, state);
        if was_full {
            self.announce(session_id, &Flow::default());
        }
    }
}

/// The newest delivery before `next` with this number on the wire; `None`: there is none yet.
fn expand(next: u64, number: u32) -> Option<u64> {
    let back = wire(next).wrapping_sub(number);
    if back == 0 || back > u32::MAX / 2 {
        return None;
    }
    next.checked_sub(u64::from(back))
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn numbers_on_the_wire_are_expanded_to_the_newest_that_was_sent() {
        let wrap = 1 << 32;
        assert_eq!(expand(5, 4), Some(4));
        assert_eq!(expand(5, 5), None);
        assert_eq!(expand(5, u32::MAX), None);
        assert_eq!(expand(wrap + 2, u32::MAX), Some(wrap - 1));
        assert_eq!(expand(wrap + 2, 1), Some(wrap + 1));
    }
}
