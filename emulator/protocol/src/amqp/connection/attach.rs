//! Links: how they are attached, answered, refused and detached (AMQP 1.0 part 2, 2.6).

use std::sync::Arc;

use super::event::Event;
use super::link::{End, Link, Phase};
use super::session::limit_error;
use super::terms::{AttachLink, LinkId, SessionId};
use super::{Connection, Stage};
use crate::amqp::error::{AmqpError, condition};
use crate::amqp::performative::{Attach, Performative, Role};
use crate::amqp::value::Map;

/// Links of a connection that are ever named: their numbers are not used twice.
const MAX_LINK_ID: u32 = u32::MAX / 2;

/// Bytes of a link's name: it is kept as long as the link, of which there may be thousands. The
/// standard has no limit; clients need some two hundred.
const MAX_NAME: usize = 2048;

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
        let refusal = if self.links.len() >= max_links {
            Some(limit_error("too many links"))
        } else if attach.name.len() > MAX_NAME {
            let text = "the link's name is too long";
            Some(AmqpError::new(condition::INVALID_FIELD, text))
        } else {
            None
        };
        let id = self.next_link_id();
        let role = match attach.role {
            Role::Sender => Role::Receiver,
            Role::Receiver => Role::Sender,
        };
        // One that is refused has no name: it is over at once.
        let mut name: Arc<str> = Arc::default();
        if refusal.is_none() {
            name = attach.name.as_str().into();
            self.steal(id, role, &name);
        }
        let session = self.sessions.get_mut(&session_id);
        let Some(session) = session.filter(|session| !session.ended) else {
            // The older link could not be answered: the session is over.
            self.names.leave(role, &name, id);
            return;
        };
        session.peer_handles.insert(attach.handle, id);
        let mut end = End::new(role);
        if let End::Receiver(receiver) = &mut end {
            receiver.delivery_count = attach.initial_delivery_count.unwrap_or(0);
        }
        let mut kept = attach.clone();
        kept.properties = Map::new();
        kept.unsettled = Map::new();
        self.links.insert(
            id,
            Link {
                session: session_id,
                name,
                ours: false,
                phase: Phase::Asked(kept),
                handle: None,
                peer_handle: Some(attach.handle),
                end,
            },
        );
        if let Some(error) = refusal {
            return self.refuse(id, error);
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
    fn steal(&mut self, id: LinkId, role: Role, name: &Arc<str>) {
        if let Some(older) = self.names.take(role, Arc::clone(name), id) {
            let text = format!("another link has taken the name {name:?}");
            self.break_link(older, AmqpError::new(condition::LINK_STOLEN, text));
        }
    }
}
