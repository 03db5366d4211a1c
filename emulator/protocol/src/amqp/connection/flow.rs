//! Flows: what both sides tell of windows and credit (AMQP 1.0 part 2, 2.5.6 and 2.6.7).

use super::Connection;
use super::event::Event;
use super::link::{End, Phase, Sender};
use super::session::Session;
use super::terms::{LinkId, SessionId};
use crate::amqp::performative::{Flow, Performative};

impl Connection {
    /// What a flow says of the session. Opens the peer's window as well.
    pub(super) fn session_flow(&mut self, id: SessionId) -> Flow {
        let window = self.config.incoming_window;
        let Some(session) = self.sessions.get_mut(&id) else {
            return Flow::default();
        };
        session.incoming_left = window;
        Flow {
            next_incoming_id: session.peer_channel.map(|_| session.next_incoming_id),
            incoming_window: window,
            next_outgoing_id: session.next_outgoing_id,
            outgoing_window: window,
            ..Flow::default()
        }
    }

    pub(super) fn on_flow(&mut self, id: SessionId, flow: &Flow) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let was_shut = session.window == 0;
        session.take_flow(flow);
        let link = flow
            .handle
            .and_then(|handle| session.peer_handles.get(&handle).copied());
        self.pump(id);
        match (flow.handle, link) {
            (Some(_), Some(link)) => self.on_link_flow(link, flow),
            // A link that is over, or an error that hurts nobody.
            (Some(_), None) => {}
            (None, _) if flow.echo => {
                let answer = self.session_flow(id);
                self.write_on(id, &Performative::Flow(answer));
            }
            (None, _) => {}
        }
        let session = self.sessions.get(&id);
        if was_shut && session.is_some_and(|session| session.window > 0) {
            self.announce(id, flow);
        }
    }

    /// Tells the owners of links that can send again.
    pub(super) fn announce(&mut self, id: SessionId, flow: &Flow) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        for link in session.handles.values() {
            let Some(entry) = self.links.get_mut(link) else {
                continue;
            };
            let End::Sender(sender) = &mut entry.end else {
                continue;
            };
            if sender.credit > 0 && !sender.announced && matches!(entry.phase, Phase::Attached) {
                sender.announced = true;
                self.events.push_back(Event::Credit {
                    link: *link,
                    drain: sender.drain,
                    flow: Box::new(flow.clone()),
                });
            }
        }
    }

    pub(super) fn on_link_flow(&mut self, id: LinkId, flow: &Flow) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let attached = match link.phase {
            Phase::Asked(_) => false,
            Phase::Attached => true,
            Phase::Planned(_) | Phase::Attaching | Phase::Detaching => return,
        };
        match &mut link.end {
            End::Sender(sender) => {
                sender.take_flow(flow);
                sender.announced = true;
                self.events.push_back(Event::Credit {
                    link: id,
                    drain: flow.drain,
                    flow: Box::new(flow.clone()),
                });
                // A drain is answered when the owner has sent what it has.
                if flow.echo && !flow.drain && attached {
                    self.write_link_flow(id, false);
                }
            }
            End::Receiver(receiver) => {
                if let Some(count) = flow.delivery_count {
                    let step = count.wrapping_sub(receiver.delivery_count);
                    if step <= u32::MAX / 2 {
                        receiver.advance(step);
                    }
                }
                if attached {
                    self.top_up(id);
                    if flow.echo {
                        self.write_link_flow(id, false);
                    }
                }
            }
        }
    }

    /// Tells the state of a link, and with it that of its session.
    pub(super) fn write_link_flow(&mut self, id: LinkId, drain: bool) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let session = link.session;
        let (delivery_count, credit) = match &link.end {
            End::Sender(sender) => (sender.delivery_count, sender.credit),
            End::Receiver(receiver) => (receiver.delivery_count, receiver.credit),
        };
        let handle = link.handle;
        let flow = Flow {
            handle,
            delivery_count: Some(delivery_count),
            link_credit: Some(credit),
            drain,
            ..self.session_flow(session)
        };
        self.write_on(session, &Performative::Flow(flow));
    }
}

impl Session {
    /// Takes a flow's word about the session.
    fn take_flow(&mut self, flow: &Flow) {
        // Transfers that the peer had not seen when it spoke count against the window it told. A
        // peer that knows nothing of the session yet counts from its first transfer, number 0.
        // Serial numbers: whatever would be negative is a peer ahead of us, which there is none.
        let seen = flow.next_incoming_id.unwrap_or(0);
        let under_way = self.next_outgoing_id.wrapping_sub(seen);
        let under_way = if under_way > u32::MAX / 2 {
            0
        } else {
            under_way
        };
        self.window = flow.incoming_window.saturating_sub(under_way);
    }
}

impl Sender {
    /// Takes a flow's word about the credit (AMQP 1.0 part 2, 2.6.7).
    fn take_flow(&mut self, flow: &Flow) {
        self.drain = flow.drain;
        let Some(credit) = flow.link_credit else {
            return;
        };
        // Deliveries that the receiver had not seen when it spoke count against its credit. One
        // that has not seen our attach counts from its beginning, 0.
        let seen = flow.delivery_count.unwrap_or(0);
        let under_way = self.delivery_count.wrapping_sub(seen);
        let under_way = if under_way > u32::MAX / 2 {
            0
        } else {
            under_way
        };
        self.credit = credit.saturating_sub(under_way);
    }
}
