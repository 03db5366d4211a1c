//! Requests to, and answers of, a node that is asked by one link and answers by another
//! (`spec/amqp.md` 3, routing).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use iothub_protocol::amqp::connection::{AcceptLink, Delivery};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::performative::{Attach, Role};
use iothub_protocol::amqp::{AmqpError, Connection, DeliveryState, LinkId};

/// Requests that may wait; each is answered as it comes.
const CREDIT: u32 = 100;
/// Bytes of a request: a token is some hundred.
const MAX_REQUEST: u64 = 64 * 1024;
/// Answers that wait for credit; of who asks and never listens the oldest are forgotten.
const MAX_WAITING: usize = 256;
/// Bytes of them, but for the newest: what a request names comes back in its answer.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// The links of a connection that receive such a node's answers.
#[derive(Debug, Default)]
pub(super) struct Responder {
    /// In the order in which they came.
    links: Vec<Receiver>,
    waiting: VecDeque<Answer>,
    sent: u64,
}

#[derive(Debug)]
struct Receiver {
    link: LinkId,
    names: Vec<String>,
}

#[derive(Debug)]
struct Answer {
    reply_to: Option<String>,
    message: Bytes,
}

impl Answer {
    fn len(&self) -> usize {
        self.message.len() + self.reply_to.as_ref().map_or(0, String::len)
    }
}

/// The request that a delivery carries, which is accepted with it; `None`: it carries none and is
/// rejected.
pub(super) fn request(machine: &mut Connection, delivery: Delivery) -> Option<AmqpMessage> {
    let (state, message) = match AmqpMessage::decode(delivery.payload) {
        Ok(message) => (DeliveryState::Accepted, Some(message)),
        Err(error) => {
            let error = AmqpError::new(condition::DECODE_ERROR, error.to_string());
            (DeliveryState::Rejected(Some(error)), None)
        }
    };
    machine.settle(delivery.link, delivery.id, state);
    message
}

/// What a link that receives answers may be called in a request: its own name, or its target's.
fn names(attach: &Attach) -> Vec<String> {
    let target = attach.target.as_ref();
    let address = target.and_then(|target| target.address.clone());
    [Some(attach.name.clone()), address]
        .into_iter()
        .flatten()
        .collect()
}

impl Responder {
    /// Takes a link: one with requests, or one that from now on receives answers.
    pub(super) fn accept(&mut self, machine: &mut Connection, link: LinkId, attach: &Attach) {
        machine.accept_link(
            link,
            AcceptLink {
                credit: CREDIT,
                max_message_size: Some(MAX_REQUEST),
                ..AcceptLink::default()
            },
        );
        if attach.role == Role::Receiver {
            let names = names(attach);
            self.links.push(Receiver { link, names });
        }
    }

    /// The link is gone.
    pub(super) fn remove(&mut self, link: LinkId) {
        self.links.retain(|receiver| receiver.link != link);
    }

    /// Answers, on the link that `reply_to` names or else on the first; kept until there is credit.
    pub(super) fn answer(
        &mut self,
        machine: &mut Connection,
        reply_to: Option<&str>,
        message: &AmqpMessage,
    ) {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        self.waiting.push_back(Answer {
            reply_to: reply_to.map(str::to_owned),
            message: bytes.freeze(),
        });
        self.pump(machine);
        self.forget_oldest();
    }

    /// A link has credit, or is new: sends what was kept.
    pub(super) fn pump(&mut self, machine: &mut Connection) {
        let mut kept = VecDeque::new();
        while let Some(answer) = self.waiting.pop_front() {
            if !self.send(machine, &answer) {
                kept.push_back(answer);
            }
        }
        self.waiting = kept;
    }

    fn forget_oldest(&mut self) {
        let mut bytes: usize = self.waiting.iter().map(Answer::len).sum();
        while self.waiting.len() > 1
            && (self.waiting.len() > MAX_WAITING || bytes > MAX_WAITING_BYTES)
            && let Some(oldest) = self.waiting.pop_front()
        {
            bytes -= oldest.len();
        }
    }

    fn send(&mut self, machine: &mut Connection, answer: &Answer) -> bool {
        let Some(link) = self.link_for(answer.reply_to.as_deref()) else {
            return false;
        };
        if machine.sendable(link) == 0 {
            return false;
        }
        // Sixteen bytes like every tag; nobody answers to it.
        let tag = u128::from(self.sent).to_be_bytes();
        let sent = machine.send(link, &tag, 0, answer.message.clone(), true);
        self.sent += 1;
        sent.is_ok()
    }

    /// Often there is no `reply-to`, or it is a constant: it is a hint (`spec/amqp.md` 3).
    fn link_for(&self, reply_to: Option<&str>) -> Option<LinkId> {
        let named = self.links.iter().find(|receiver| {
            reply_to.is_some_and(|name| receiver.names.iter().any(|it| it == name))
        });
        named.or(self.links.first()).map(|receiver| receiver.link)
    }
}

#[cfg(test)]
mod tests {
    use iothub_protocol::Timestamp;
    use iothub_protocol::amqp::ConnectionConfig;
    use iothub_protocol::amqp::message::Body;

    use super::*;

    #[test]
    fn the_oldest_answers_are_forgotten_when_nobody_listens() {
        let config = ConnectionConfig {
            container_id: "hub".into(),
            hostname: None,
            max_frame_size: 512,
            max_sessions: 1,
            max_links: 1,
            incoming_window: 1,
            idle_timeout: None,
            sasl_mechanisms: Vec::new(),
            max_unfinished: 0,
        };
        let mut machine = Connection::server(config, Timestamp::UNIX_EPOCH);
        let mut responder = Responder::default();
        let mut answer = |size: usize| {
            let body = Body::Data(vec![vec![0; size].into()]);
            let message = AmqpMessage {
                body,
                ..AmqpMessage::default()
            };
            responder.answer(&mut machine, None, &message);
            responder.waiting.len()
        };

        let small = (0..MAX_WAITING + 1).map(|_| answer(0)).last();
        let one_of_all = answer(MAX_WAITING_BYTES);

        assert_eq!(small, Some(MAX_WAITING));
        assert_eq!(one_of_all, 1);
    }
}
