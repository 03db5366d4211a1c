//! How links of the peer's are answered: taken or refused (`spec/amqp.md` 4).

use super::Connection;
use super::link::{End, Phase};
use super::session::limit_error;
use super::terms::{AcceptLink, LinkId};
use crate::amqp::error::AmqpError;
use crate::amqp::performative::{Attach, Performative, ReceiverSettleMode, Role};
use crate::amqp::value::Map;

impl Connection {
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
    pub(super) fn answer_attach(&mut self, id: LinkId, answer: AcceptLink) -> bool {
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
}
