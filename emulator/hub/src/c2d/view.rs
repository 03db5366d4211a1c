//! A look at a queue, which changes nothing in it.

use std::sync::Arc;

use iothub_protocol::feedback::AckRequest;
use iothub_protocol::{ClientId, Error, Timestamp};

use super::queue::State;
use super::{C2dMessage, properties};
use crate::Hub;
use crate::access::{Permission, Principal};
use crate::locks::LockToken;

/// A message in its queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuedC2d {
    /// The message.
    pub message: Arc<C2dMessage>,
    /// Who has it: the lock, and until when; `None`: it waits to be delivered.
    pub lock: Option<(LockToken, Timestamp)>,
    /// Whether it has been handed to somebody, now or before.
    pub delivered: bool,
}

impl QueuedC2d {
    /// Which of its ends its sender wants to hear of.
    pub fn ack(&self) -> AckRequest {
        properties::arranged_wish(&self.message.message.properties)
    }
}

impl Hub {
    /// The first messages in a client's queue, locked ones included, and how many there are.
    ///
    /// Refuses with `DeviceNotFound`, `ModuleNotFound`.
    pub fn c2d_queue(
        &self,
        caller: &Principal,
        client: &ClientId,
        most: usize,
    ) -> Result<(Vec<QueuedC2d>, u64), Error> {
        caller.require(Permission::ServiceConnect)?;
        self.registry.require(client)?;
        let entries = self.c2d.entries(client).take(most);
        let messages = entries.map(|(_, entry)| QueuedC2d {
            message: entry.message.clone(),
            lock: match entry.state {
                State::Enqueued => None,
                State::Locked { token, timeout, .. } => Some((token, timeout.at())),
            },
            delivered: entry.delivered,
        });
        Ok((messages.collect(), self.c2d.count(client)))
    }
}
