//! Reading a queue of the hub's: feedback, file notifications (`spec/amqp.md` 5.2, 5.3).

use std::collections::HashMap;
use std::sync::Arc;

use iothub_protocol::ErrorCode;
use iothub_protocol::amqp::DeliveryState;
use iothub_protocol::amqp::connection::DeliveryId;
use iothub_protocol::amqp::message::AmqpMessage;

use super::connector::{Connector, Session};
use super::link::{Inbound, Link};
use super::refusal::{self, unreadable};
use super::retry::Failures;
use super::wire::LinkEnd;
use crate::{Error, ErrorKind, Refusal};

/// Messages that are locked here before they are asked for.
const PREFETCH: u32 = 100;

/// Reads one queue, each message under a lock, and finds the way back when the connection is lost.
pub(crate) struct QueueReader {
    connector: Arc<Connector>,
    address: &'static str,
    current: Option<(Arc<Session>, Link)>,
    /// Deliveries that are not settled, by their lock tokens.
    locked: HashMap<String, DeliveryId>,
    failures: Failures,
}

impl QueueReader {
    /// A reader that is attached.
    pub(crate) async fn open(
        connector: Arc<Connector>,
        address: &'static str,
    ) -> Result<Self, Error> {
        let mut reader = Self {
            connector,
            address,
            current: None,
            locked: HashMap::new(),
            failures: Failures::default(),
        };
        reader.attach().await?;
        Ok(reader)
    }

    /// The next message and its lock token. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<(String, AmqpMessage), Error> {
        loop {
            let received = match &self.current {
                Some((_, link)) => link.receive().await,
                None => match self.attach().await {
                    Ok(()) => continue,
                    Err(error) if is_passing(&error) => {
                        self.connector.pause(&mut self.failures).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            match received {
                Ok(delivery) => {
                    self.failures.reset();
                    let lock_token = lock_token(&delivery.tag);
                    if !delivery.settled {
                        self.locked.insert(lock_token.clone(), delivery.id);
                    }
                    let message = AmqpMessage::decode(delivery.payload).map_err(unreadable)?;
                    return Ok((lock_token, message));
                }
                Err(end) => {
                    self.forget();
                    if !may_come_back(&end) {
                        return Err(refusal::of_link(end));
                    }
                    self.connector.pause(&mut self.failures).await;
                }
            }
        }
    }

    /// Says what becomes of a message. Refused with `DeviceMessageLockLost` when it is not one that
    /// this reader holds: settled before, or from before the connection was lost.
    pub(crate) async fn settle(
        &mut self,
        lock_token: &str,
        outcome: &DeliveryState,
    ) -> Result<(), Error> {
        let Some(delivery) = self.locked.remove(lock_token) else {
            return Err(lock_lost());
        };
        let Some((session, link)) = &self.current else {
            return Err(lock_lost());
        };
        if link.is_over().is_some() {
            return Err(lock_lost());
        }
        link.settle([delivery], outcome);
        session.wire.flushed().await;
        Ok(())
    }

    /// Gives back what is not settled, and is done.
    pub(crate) async fn close(mut self) {
        let session = self.current.take().map(|(session, _)| session);
        if let Some(session) = session {
            session.wire.flushed().await;
        }
    }

    async fn attach(&mut self) -> Result<(), Error> {
        let session = self.connector.session().await?;
        let name = session.link_name("queue");
        let inbound = Inbound {
            address: self.address.to_owned(),
            prefetch: PREFETCH,
            ..Inbound::default()
        };
        let link = Link::receiver(&session.wire, session.id, name, inbound);
        link.attached().await.map_err(refusal::of_link)?;
        self.current = Some((session, link));
        Ok(())
    }

    /// The link is gone, and with it every lock.
    fn forget(&mut self) {
        self.current = None;
        self.locked.clear();
    }
}

/// Whether a connection that ended so is to be made again.
pub(crate) fn may_come_back(end: &LinkEnd) -> bool {
    match end {
        // Also when its token has expired: the next one brings another, and hears if it is refused.
        LinkEnd::Connection(_) | LinkEnd::Detached(None) => true,
        LinkEnd::Detached(Some(error)) => refusal::is_passing(error),
    }
}

/// Whether another attempt to connect may do better.
pub(crate) fn is_passing(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Unreachable(_) | ErrorKind::Interrupted => true,
        ErrorKind::Refused(refusal) => refusal.code.is_transient(),
        ErrorKind::Configuration(_)
        | ErrorKind::InvalidId(_)
        | ErrorKind::Unsuitable(_)
        | ErrorKind::Displaced(_)
        | ErrorKind::UnexpectedAnswer(_) => false,
    }
}

fn lock_lost() -> Error {
    let code = ErrorCode::DeviceMessageLockLost;
    Error::new(ErrorKind::Refused(Refusal {
        status: code.http_status(),
        code,
        message: code.default_message().to_owned(),
    }))
}

/// A delivery's tag as text: a GUID where it has the length of one (`spec/amqp.md` 4).
fn lock_token(tag: &[u8]) -> String {
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    if tag.len() != 16 {
        return hex;
    }
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_of_sixteen_bytes_is_written_as_a_guid() {
        let tag: Vec<u8> = (0..16).collect();

        assert_eq!(lock_token(&tag), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(lock_token(b"\x01\xff"), "01ff");
    }
}
