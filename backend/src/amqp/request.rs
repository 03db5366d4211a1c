//! Questions and answers: `$cbs` and `$management` (`spec/amqp.md` 3, 6.2).

use std::sync::Arc;

use iothub_protocol::amqp::connection::SessionId;
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::{DeliveryState, Value, cbs};

use super::link::{Inbound, Link};
use super::refusal::{self, unreadable};
use super::wire::Wire;
use crate::Error;

/// A pair of links to a node that answers.
#[derive(Debug)]
pub(crate) struct Requester {
    sender: Link,
    receiver: Link,
    name: String,
    asked: u64,
}

/// Answers that may come in at once: there is one for each question, and one question at a time.
const PREFETCH: u32 = 10;

impl Requester {
    /// Attaches the pair.
    pub(crate) async fn attach(
        wire: &Arc<Wire>,
        session: SessionId,
        node: &str,
    ) -> Result<Self, Error> {
        let name = format!("{}-answers", node.trim_start_matches('$'));
        let inbound = Inbound {
            address: node.to_owned(),
            prefetch: PREFETCH,
            ..Inbound::default()
        };
        let receiver = Link::receiver(wire, session, name.clone(), inbound);
        let sender = Link::sender(wire, session, format!("{name}-questions"), node)
            .await
            .map_err(refusal::of_link)?;
        Ok(Self {
            sender,
            receiver,
            name,
            asked: 0,
        })
    }

    /// Asks, and waits for the answer: `make` is given the question's id and where to answer to.
    ///
    /// # Errors
    ///
    /// Also when the answer is a refusal.
    pub(crate) async fn ask(
        &mut self,
        make: impl FnOnce(Value, String) -> AmqpMessage,
    ) -> Result<AmqpMessage, Error> {
        self.asked += 1;
        let id = Value::String(format!("{}-{}", self.name, self.asked));
        let question = make(id.clone(), self.name.clone());
        let outcome = self.sender.send(&question).await;
        refusal::unless_accepted(outcome.map_err(refusal::of_link)?)?;
        loop {
            let delivery = self.receiver.receive().await.map_err(refusal::of_link)?;
            if !delivery.settled {
                self.receiver
                    .settle([delivery.id], &DeliveryState::Accepted);
            }
            let answer = AmqpMessage::decode(delivery.payload).map_err(unreadable)?;
            // The answer to a question that was given up is nobody's.
            if answer.properties.correlation_id.as_ref() != Some(&id) {
                continue;
            }
            return match cbs::status_of(&answer) {
                Some((200..300, _)) => Ok(answer),
                Some((status, description)) => Err(refusal::of_status(status, &description)),
                None => Err(unreadable("an answer without a status")),
            };
        }
    }
}
