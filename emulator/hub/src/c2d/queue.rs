//! The queues themselves: which messages wait, in which order, and who holds which of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use imbl::OrdMap;
use iothub_protocol::{ClientId, Timestamp};

use super::C2dMessage;
use crate::deadlines::DeadlineId;
use crate::locks::LockToken;
use crate::sessions::SessionId;

/// Every client's queue.
#[derive(Clone, Default)]
pub(crate) struct Queues {
    /// Shared between forks, like the registry. A queue stays when it is empty, so that sequence
    /// numbers go on; after a restart they go on from what waits.
    queues: OrdMap<ClientId, Arc<Queue>>,
    /// How many messages wait for anybody, locked ones included.
    total: u64,
    /// How many more messages a session has asked for, where it counts them itself.
    pub(super) grants: HashMap<SessionId, u32>,
}

#[derive(Clone, Default)]
struct Queue {
    /// By sequence number: the order of delivery, and the place to which what is given back returns.
    entries: BTreeMap<u64, Entry>,
    last_sequence: u64,
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) message: Arc<C2dMessage>,
    pub(super) state: State,
    /// Whether it has been handed to somebody.
    pub(super) delivered: bool,
    /// When it expires; `None` once that has come to pass while it was locked.
    pub(super) expiry: Option<DeadlineId>,
}

#[derive(Clone)]
pub(super) enum State {
    /// It waits to be delivered.
    Enqueued,
    /// Somebody has it. Locks are not written down: who holds one does not outlive the hub either,
    /// or finds it lost.
    Locked {
        token: LockToken,
        holder: Holder,
        timeout: DeadlineId,
    },
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Holder {
    /// It was sent to this session.
    Session(SessionId),
    /// It was fetched.
    Caller,
}

impl Entry {
    pub(super) fn token(&self) -> Option<(LockToken, Holder)> {
        match self.state {
            State::Enqueued => None,
            State::Locked { token, holder, .. } => Some((token, holder)),
        }
    }
}

impl Queues {
    /// Takes a message that was written down; it waits.
    pub(crate) fn put(&mut self, message: Arc<C2dMessage>) {
        let sequence = message.sequence;
        let client = message.client.clone();
        let entry = Entry {
            message,
            state: State::Enqueued,
            delivered: false,
            expiry: None,
        };
        let queue = Arc::make_mut(self.queues.entry(client).or_default());
        queue.last_sequence = queue.last_sequence.max(sequence);
        if queue.entries.insert(sequence, entry).is_none() {
            self.total += 1;
        }
    }

    /// Forgets a message that was settled.
    pub(crate) fn remove(&mut self, client: &ClientId, sequence: u64) {
        self.take(client, sequence);
    }

    /// How many messages wait for anybody, locked ones included.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// How many messages wait for a client, locked ones included.
    pub(crate) fn count(&self, client: &ClientId) -> u64 {
        self.queues
            .get(client)
            .map_or(0, |queue| queue.entries.len() as u64)
    }

    /// The sequence number of a client's next message.
    pub(super) fn next_sequence(&self, client: &ClientId) -> u64 {
        self.queues
            .get(client)
            .map_or(0, |queue| queue.last_sequence)
            + 1
    }

    /// The oldest message that is to be delivered.
    pub(super) fn next(&self, client: &ClientId, now: Timestamp) -> Option<u64> {
        let waiting =
            |entry: &Entry| matches!(entry.state, State::Enqueued) && entry.message.expires > now;
        self.entries(client)
            .find(|(_, entry)| waiting(entry))
            .map(|(sequence, _)| sequence)
    }

    /// A client's messages in order.
    pub(super) fn entries<'a>(
        &'a self,
        client: &ClientId,
    ) -> impl Iterator<Item = (u64, &'a Entry)> + use<'a> {
        self.queues
            .get(client)
            .into_iter()
            .flat_map(|queue| &queue.entries)
            .map(|(sequence, entry)| (*sequence, entry))
    }

    /// What a session holds, in order.
    pub(super) fn held_by(&self, client: &ClientId, session: SessionId) -> Vec<u64> {
        let held = |entry: &Entry| matches!(entry.token(), Some((_, Holder::Session(holder))) if holder == session);
        self.entries(client)
            .filter(|(_, entry)| held(entry))
            .map(|(sequence, _)| sequence)
            .collect()
    }

    /// The message that `token` locks, and who holds it.
    pub(super) fn locked(&self, client: &ClientId, token: LockToken) -> Option<(u64, Holder)> {
        self.entries(client)
            .find_map(|(sequence, entry)| match entry.token() {
                Some((other, holder)) if other == token => Some((sequence, holder)),
                Some(_) | None => None,
            })
    }

    pub(super) fn get_mut(&mut self, client: &ClientId, sequence: u64) -> Option<&mut Entry> {
        let queue = self.queues.get_mut(client)?;
        Arc::make_mut(queue).entries.get_mut(&sequence)
    }

    pub(super) fn take(&mut self, client: &ClientId, sequence: u64) -> Option<Entry> {
        let queue = self.queues.get_mut(client)?;
        let taken = Arc::make_mut(queue).entries.remove(&sequence)?;
        self.total -= 1;
        Some(taken)
    }

    /// Forgets a client's queue and all that is in it.
    pub(super) fn take_all(&mut self, client: &ClientId) -> Vec<Entry> {
        let Some(queue) = self.queues.remove(client) else {
            return Vec::new();
        };
        self.total -= queue.entries.len() as u64;
        queue.entries.values().cloned().collect()
    }

    /// The clients that messages wait for.
    pub(super) fn clients(&self) -> Vec<ClientId> {
        self.queues
            .iter()
            .filter(|(_, queue)| !queue.entries.is_empty())
            .map(|(client, _)| client.clone())
            .collect()
    }
}
