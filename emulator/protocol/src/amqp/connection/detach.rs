//! The ends of links (AMQP 1.0 part 2, 2.6.6).

use std::sync::Arc;

use super::Connection;
use super::event::Event;
use super::link::{End, Link, Phase};
use super::terms::{AcceptLink, LinkId, SessionId};
use crate::amqp::error::{AmqpError, condition};
use crate::amqp::performative::{Detach, Performative};

impl Connection {
    pub(super) fn on_detach(&mut self, session_id: SessionId, detach: Detach) {
        let Some(session) = self.sessions.get(&session_id) else {
            return;
        };
        // A handle that is not attached: the link is over already.
        let Some(id) = session.peer_handles.get(&detach.handle).copied() else {
            return;
        };
        let Some(link) = self.links.get(&id) else {
            return;
        };
        if matches!(link.phase, Phase::Detaching) {
            self.forget_link(id);
            return;
        }
        self.answer_attach(id, AcceptLink::default());
        self.write_detach(id, detach.closed, None);
        self.forget_link(id);
        self.events.push_back(Event::LinkDetached {
            link: id,
            closed: detach.closed,
            error: detach.error,
        });
    }

    /// Detaches a link from here, for the owner.
    pub(super) fn detach_link(&mut self, id: LinkId, error: Option<AmqpError>) -> bool {
        let Some(link) = self.links.get(&id) else {
            return false;
        };
        match link.phase {
            Phase::Detaching => return false,
            Phase::Planned(_) => {
                self.forget_link(id);
            }
            Phase::Asked(_) => {
                let refusal = || AmqpError::new(condition::DETACH_FORCED, "the link is not taken");
                self.refuse(id, error.unwrap_or_else(refusal));
            }
            Phase::Attaching | Phase::Attached => {
                self.write_detach(id, true, error);
                self.mark_detaching(id);
            }
        }
        true
    }

    /// Detaches a link from here because the peer broke a rule; the owner is told.
    pub(super) fn break_link(&mut self, id: LinkId, error: AmqpError) {
        if self.detach_link(id, Some(error.clone())) {
            self.tell_detached(id, Some(error));
        }
    }

    pub(super) fn tell_detached(&mut self, link: LinkId, error: Option<AmqpError>) {
        self.events.push_back(Event::LinkDetached {
            link,
            closed: true,
            error,
        });
    }

    pub(super) fn write_detach(&mut self, id: LinkId, closed: bool, error: Option<AmqpError>) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let Some(handle) = link.handle else {
            return;
        };
        let detach = Detach {
            handle,
            closed,
            error,
        };
        self.write_on(link.session, &Performative::Detach(detach));
    }

    /// From now on only the peer's detach is of interest.
    pub(super) fn mark_detaching(&mut self, id: LinkId) {
        self.clear_link(id);
        if let Some(link) = self.links.get_mut(&id) {
            link.phase = Phase::Detaching;
            if !link.ours {
                // Nothing is told apart by it any more.
                self.names.leave(link.role(), &link.name, id);
                link.name = Arc::default();
            }
        }
    }

    /// Drops a link's deliveries.
    fn clear_link(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(&link.session) else {
            return;
        };
        let role = link.role();
        match std::mem::replace(&mut link.end, End::new(role)) {
            End::Sender(sender) => {
                if sender.unsettled > 0 {
                    session.sent.forget(id);
                }
                if sender.lapsing {
                    session.lapsing = session.lapsing.saturating_sub(1);
                }
                if !session.waiting.is_empty() {
                    session.waiting.retain(|waiting| waiting.link != id);
                }
            }
            End::Receiver(receiver) => {
                if receiver.unsettled > 0 {
                    session.received.forget(id);
                }
                if let Some(partial) = receiver.partial {
                    self.unfinished = self.unfinished.saturating_sub(partial.payload.len());
                }
            }
        }
    }

    /// Forgets a link altogether.
    pub(super) fn forget_link(&mut self, id: LinkId) -> Option<Link> {
        self.clear_link(id);
        let link = self.links.remove(&id)?;
        if !link.ours {
            self.names.leave(link.role(), &link.name, id);
        }
        if let Some(session) = self.sessions.get_mut(&link.session) {
            if let Some(handle) = link.handle {
                session.handles.remove(&handle);
            }
            match link.peer_handle {
                Some(handle) => {
                    session.peer_handles.remove(&handle);
                }
                None if link.handle.is_some() && link.ours => {
                    session.unanswered = session.unanswered.saturating_sub(1);
                }
                None => session.planned.retain(|planned| *planned != id),
            }
        }
        Some(link)
    }
}
