//! Links: how they are attached, answered, refused and detached (AMQP 1.0 part 2, 2.6).

use super::event::Event;
use super::link::{End, Link, Phase};
use super::session::limit_error;
use super::terms::{AcceptLink, AttachLink, LinkId, SessionId};
use super::{Connection, Stage};
use crate::amqp::error::{AmqpError, condition};
use crate::amqp::performative::{Attach, Detach, Performative, ReceiverSettleMode, Role};
use crate::amqp::value::Map;

/// Links of a connection that are ever named: their numbers are not used twice.
const MAX_LINK_ID: u32 = u32::MAX / 2;

impl Connection {
    fn next_link_id(&mut self) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link = self.next_link.saturating_add(1).min(MAX_LINK_ID);
        id
    }

    pub(super) fn attach_link(&mut self, session_id: SessionId, wanted: AttachLink) -> LinkId {
        let id = self.next_link_id();
        let usable = self.stage != Stage::Closing && self.stage != Stage::Closed;
        let session = self.sessions.get_mut(&session_id);
        let Some(session) = session.filter(|session| usable && !session.ended) else {
            let error = AmqpError::new(condition::NOT_ALLOWED, "the session is over");
            self.tell_detached(id, Some(error));
            return id;
        };
        let begun = session.begun;
        if !begun {
            session.planned.push(id);
        }
        self.links.insert(
            id,
            Link {
                session: session_id,
                name: wanted.name.as_str().into(),
                ours: true,
                end: End::new(wanted.role),
                phase: Phase::Planned(Box::new(wanted)),
                handle: None,
                peer_handle: None,
            },
        );
        if begun {
            self.launch_link(id);
        }
        id
    }

    /// Writes the attach of a link of ours.
    pub(super) fn launch_link(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if !matches!(link.phase, Phase::Planned(_)) {
            return;
        }
        let Phase::Planned(wanted) = std::mem::replace(&mut link.phase, Phase::Attaching) else {
            return;
        };
        let session_id = link.session;
        let session = self.sessions.get_mut(&session_id);
        let free = session.and_then(|session| Some((session.free_handle(0)?, session)));
        let Some((handle, session)) = free else {
            self.forget_link(id);
            return self.tell_detached(id, Some(limit_error("no handle is left")));
        };
        session.handles.insert(handle, id);
        session.unanswered += 1;
        link.handle = Some(handle);
        if let End::Receiver(receiver) = &mut link.end {
            receiver.refill = wanted.credit;
            receiver.max_message_size = wanted.max_message_size;
        }
        let attach = Attach {
            name: wanted.name,
            handle,
            role: wanted.role,
            snd_settle_mode: wanted.snd_settle_mode,
            rcv_settle_mode: wanted.rcv_settle_mode,
            source: Some(wanted.source),
            target: Some(wanted.target),
            unsettled: Map::new(),
            incomplete_unsettled: false,
            initial_delivery_count: (wanted.role == Role::Sender).then_some(0),
            max_message_size: wanted.max_message_size,
            offered_capabilities: Vec::new(),
            desired_capabilities: wanted.desired_capabilities,
            properties: wanted.properties,
        };
        self.write_on(session_id, &Performative::Attach(Box::new(attach)));
    }

    pub(super) fn on_attach(&mut self, session_id: SessionId, attach: Box<Attach>) {
        if attach.handle > self.handle_max() {
            // AMQP 1.0 part 2, 2.7.2: a handle beyond what was told is a framing error.
            let text = format!("the handle {} is beyond handle-max", attach.handle);
            return self.fail(AmqpError::new(condition::FRAMING_ERROR, text));
        }
        let Some(session) = self.sessions.get_mut(&session_id) else {
            return;
        };
        if session.peer_handles.contains_key(&attach.handle) {
            let text = format!("the handle {} has a link already", attach.handle);
            let error = AmqpError::new(condition::HANDLE_IN_USE, text);
            return self.end_session(session_id, Some(error));
        }
        session.highest_peer_handle = session.highest_peer_handle.max(Some(attach.handle));
        match self.answered_link(session_id, &attach) {
            Some(id) => self.take_answer(session_id, id, attach),
            None => self.take_link(session_id, attach),
        }
    }

    /// The link of ours that an attach answers: the oldest of its name that waits for one.
    fn answered_link(&self, session_id: SessionId, attach: &Attach) -> Option<LinkId> {
        let session = self.sessions.get(&session_id)?;
        if session.unanswered == 0 {
            return None;
        }
        let waits = |id: &&LinkId| {
            self.links.get(id).is_some_and(|link| {
                link.ours
                    && link.peer_handle.is_none()
                    && link.role() != attach.role
                    && *link.name == *attach.name
            })
        };
        session.handles.values().filter(waits).min().copied()
    }

    fn take_answer(&mut self, session_id: SessionId, id: LinkId, attach: Box<Attach>) {
        let (Some(session), Some(link)) =
            (self.sessions.get_mut(&session_id), self.links.get_mut(&id))
        else {
            return;
        };
        session.peer_handles.insert(attach.handle, id);
        session.unanswered = session.unanswered.saturating_sub(1);
        link.peer_handle = Some(attach.handle);
        if matches!(link.phase, Phase::Detaching) {
            return;
        }
        link.phase = Phase::Attached;
        let mut credit = 0;
        if let End::Receiver(receiver) = &mut link.end {
            receiver.delivery_count = attach.initial_delivery_count.unwrap_or(0);
            credit = receiver.refill;
        }
        self.events.push_back(Event::LinkAttached {
            link: id,
            session: session_id,
            ours: true,
            attach,
        });
        if credit > 0 {
            self.grant_credit(id, credit);
        }
    }

    fn take_link(&mut self, session_id: SessionId, attach: Box<Attach>) {
        let max_links = self.config.max_links as usize;
        // A link that is refused stays known until the peer detaches it.
        if self.links.len() >= max_links.saturating_mul(2) || self.next_link == MAX_LINK_ID {
            return self.end_session(session_id, Some(limit_error("too many links")));
        }
        let full = self.links.len() >= max_links;
        self.steal(&attach);
        let id = self.next_link_id();
        let role = match attach.role {
            Role::Sender => Role::Receiver,
            Role::Receiver => Role::Sender,
        };
        let Some(session) = self.sessions.get_mut(&session_id) else {
            return;
        };
        session.peer_handles.insert(attach.handle, id);
        let mut kept = attach.clone();
        kept.properties = Map::new();
        kept.unsettled = Map::new();
        self.links.insert(
            id,
            Link {
                session: session_id,
                name: attach.name.as_str().into(),
                ours: false,
                phase: Phase::Asked(kept),
                handle: None,
                peer_handle: Some(attach.handle),
                end: End::new(role),
            },
        );
        if full {
            return self.refuse(id, limit_error("too many links"));
        }
        self.events.push_back(Event::LinkAttached {
            link: id,
            session: session_id,
            ours: false,
            attach,
        });
    }

    /// AMQP 1.0 part 2, 2.6.1: a link is named once between two containers; the newer attach takes
    /// the name, and the older link is detached.
    fn steal(&mut self, attach: &Attach) {
        let same = |link: &Link| {
            !link.ours
                && link.role() != attach.role
                && !matches!(link.phase, Phase::Detaching)
                && *link.name == *attach.name
        };
        let older = self.links.iter().find(|(_, link)| same(link));
        if let Some((id, _)) = older {
            let text = format!("another link has taken the name {:?}", attach.name);
            self.break_link(*id, AmqpError::new(condition::LINK_STOLEN, text));
        }
    }

    pub(super) fn accept(&mut self, id: LinkId, answer: AcceptLink) {
        if self.answer_attach(id, answer) {
            let Some(link) = self.links.get_mut(&id) else {
                return;
            };
            link.phase = Phase::Attached;
            if let End::Receiver(receiver) = &link.end
                && receiver.refill > 0
            {
                let credit = receiver.refill;
                self.grant_credit(id, credit);
            }
        }
    }

    pub(super) fn refuse(&mut self, id: LinkId, error: AmqpError) {
        if self.answer_attach(id, AcceptLink::default()) {
            // `spec/amqp.md` 4, refusal: clients look for the error only after the answer, so that
            // the two must not arrive together.
            self.output.seal();
            self.write_detach(id, true, Some(error));
            self.mark_detaching(id);
        }
    }

    /// Writes the answer to an attach of the peer's; whether it waited for one.
    fn answer_attach(&mut self, id: LinkId, answer: AcceptLink) -> bool {
        let Some(link) = self.links.get_mut(&id) else {
            return false;
        };
        if !matches!(link.phase, Phase::Asked(_)) {
            return false;
        }
        let Phase::Asked(asked) = std::mem::replace(&mut link.phase, Phase::Attaching) else {
            return false;
        };
        let session_id = link.session;
        let session = self.sessions.get_mut(&session_id);
        let free = session.and_then(|session| Some((session.free_handle(asked.handle)?, session)));
        let Some((handle, session)) = free else {
            self.end_session(session_id, Some(limit_error("no handle is left")));
            return false;
        };
        session.handles.insert(handle, id);
        link.handle = Some(handle);
        let role = link.role();
        if let End::Receiver(receiver) = &mut link.end {
            receiver.delivery_count = asked.initial_delivery_count.unwrap_or(0);
            receiver.refill = answer.credit;
            receiver.max_message_size = answer.max_message_size;
        }
        let attach = Attach {
            handle,
            role,
            snd_settle_mode: asked.snd_settle_mode,
            // `spec/amqp.md` 4, attach answer: clients that ask for second and get it wait for ever.
            rcv_settle_mode: match role {
                Role::Sender => asked.rcv_settle_mode,
                Role::Receiver => ReceiverSettleMode::First,
            },
            // Never null: a client fails on a null terminus before it sees why (`spec/amqp.md` 2.3).
            source: Some(answer.source.or(asked.source).unwrap_or_default()),
            target: Some(answer.target.or(asked.target).unwrap_or_default()),
            unsettled: Map::new(),
            incomplete_unsettled: false,
            initial_delivery_count: (role == Role::Sender).then_some(0),
            max_message_size: answer.max_message_size,
            offered_capabilities: answer.offered_capabilities,
            desired_capabilities: Vec::new(),
            properties: answer.properties,
            name: asked.name,
        };
        self.write_on(session_id, &Performative::Attach(Box::new(attach)));
        true
    }

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

    fn tell_detached(&mut self, link: LinkId, error: Option<AmqpError>) {
        self.events.push_back(Event::LinkDetached {
            link,
            closed: true,
            error,
        });
    }

    fn write_detach(&mut self, id: LinkId, closed: bool, error: Option<AmqpError>) {
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
    fn mark_detaching(&mut self, id: LinkId) {
        self.clear_link(id);
        if let Some(link) = self.links.get_mut(&id) {
            link.phase = Phase::Detaching;
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
