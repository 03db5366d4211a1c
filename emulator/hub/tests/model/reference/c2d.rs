//! Messages from the cloud: a list for each client.

use std::collections::BTreeMap;

use iothub_hub::{Feature, Limits, Settlement};
use iothub_protocol::ErrorCode::*;
use iothub_protocol::feedback::{AckRequest, FeedbackStatus};

use super::{Client, Due, MAX_CALLS, Model, Reply, Seen, What};
use crate::fixture::secs;

const DEPTH: usize = 5;
const TTL: i64 = 40;
pub(super) const LOCK: i64 = 20;
const WINDOW: usize = 2;
pub(super) const RETURNS: u32 = 3;

/// Small enough that random operations reach them.
pub(crate) fn limits() -> Limits {
    Limits {
        methods_in_flight: MAX_CALLS,
        c2d_queue_depth: DEPTH,
        c2d_ttl: secs(TTL as u64),
        c2d_lock: secs(LOCK as u64),
        c2d_window: WINDOW as u32,
        c2d_delivery_count: RETURNS,
        feedback_batch: super::feedback::SIZE,
        feedback_delay: secs(super::feedback::DELAY as u64),
        feedback_ttl: secs(super::feedback::TTL as u64),
        feedback_lock: secs(LOCK as u64),
        feedback_delivery_count: RETURNS,
        ..Limits::default()
    }
}

#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) waiting: BTreeMap<u64, Waiting>,
    last: u64,
}

pub(crate) struct Waiting {
    wish: AckRequest,
    expires: i64,
    expiry: Option<Due>,
    count: u32,
    delivered: bool,
    lock: Option<Lock>,
}

#[derive(Clone, Copy)]
struct Lock {
    number: u64,
    session: Option<u64>,
    due: Due,
}

impl Model {
    pub(crate) fn send(&mut self, client: Client, wish: AckRequest, ttl: Option<i64>) -> Reply {
        self.find(client)?;
        if self
            .queues
            .get(&client)
            .is_some_and(|it| it.waiting.len() >= DEPTH)
        {
            return Err(DeviceMaximumQueueDepthExceeded);
        }
        let due = self.due(ttl.unwrap_or(TTL));
        let queue = self.queues.entry(client).or_default();
        queue.last += 1;
        let sequence = queue.last;
        queue.waiting.insert(
            sequence,
            Waiting {
                wish,
                expires: due.0,
                expiry: Some(due),
                count: 0,
                delivered: false,
                lock: None,
            },
        );
        self.push(client);
        Ok(Some(sequence))
    }

    pub(crate) fn fetch(&mut self, client: Client) -> Reply {
        self.find(client)?;
        let Some(sequence) = self.first_waiting(client) else {
            return Ok(None);
        };
        self.lock(client, sequence, None);
        let count = u64::from(self.queues[&client].waiting[&sequence].count);
        Ok(Some(self.last_lock * 10_000 + sequence * 10 + count))
    }

    pub(crate) fn settle(&mut self, client: Client, lock: u64, how: Settlement) -> Reply {
        self.find(client)?;
        let (sequence, _) = self.locked(client, lock).ok_or(DeviceMessageLockLost)?;
        self.settle_one(client, sequence, how);
        self.push(client);
        Ok(None)
    }

    pub(crate) fn acknowledge(&mut self, session: u64, locks: &[u64], how: Settlement) -> Reply {
        let client = self.session(session)?.client;
        let mut lost = 0;
        for &lock in locks {
            match self.locked(client, lock) {
                Some((sequence, Some(holder))) if holder == session => {
                    self.settle_one(client, sequence, how);
                }
                _ => lost += 1,
            }
        }
        self.push(client);
        Ok(Some(lost))
    }

    pub(crate) fn take_back(&mut self, session: u64, locks: &[u64]) -> Reply {
        let client = self.session(session)?.client;
        for &lock in locks {
            if let Some((sequence, Some(holder))) = self.locked(client, lock)
                && holder == session
            {
                self.give_back(client, sequence, false);
            }
        }
        self.push(client);
        Ok(None)
    }

    pub(crate) fn grant(&mut self, session: u64, more: i64) -> Reply {
        let session = self.session(session)?;
        let before = i64::from(session.credit.unwrap_or(0));
        let after = (before + more).max(0);
        session.credit = Some(after as u32);
        let client = session.client;
        self.push(client);
        Ok(Some((after - before).unsigned_abs()))
    }

    pub(crate) fn purge(&mut self, client: Client) -> Reply {
        self.find(client)?;
        let all = self.sequences(client, |_| true);
        for &sequence in &all {
            self.leave(client, sequence, FeedbackStatus::Purged);
        }
        Ok(Some(all.len() as u64))
    }

    pub(super) fn push(&mut self, client: Client) {
        let Some(id) = self.session_of(client) else {
            return;
        };
        while self.sessions[&id].features.contains(&Feature::C2d)
            && let Some(sequence) = self.first_waiting(client)
        {
            let held = self.sequences(client, |it| {
                it.lock.is_some_and(|it| it.session == Some(id))
            });
            let session = self.sessions.get_mut(&id).unwrap();
            let once = session.once;
            match &mut session.credit {
                Some(0) => break,
                Some(credit) => *credit -= 1,
                None if !once && held.len() >= WINDOW => break,
                None => {}
            }
            let again = self.queues[&client].waiting[&sequence].delivered;
            let lock = if once {
                self.leave(client, sequence, FeedbackStatus::Success);
                None
            } else {
                self.lock(client, sequence, Some(id));
                Some(self.last_lock)
            };
            self.seen.push(Seen::C2d(id, sequence, lock, again));
        }
    }

    pub(super) fn release_c2d(&mut self, client: Client, session: u64) {
        for sequence in self.sequences(client, |it| {
            it.lock.is_some_and(|it| it.session == Some(session))
        }) {
            self.give_back(client, sequence, false);
        }
    }

    pub(super) fn expire(&mut self, client: Client, sequence: u64) {
        let waiting = self.waiting(client, sequence);
        waiting.expiry = None;
        if waiting.lock.is_none() {
            self.leave(client, sequence, FeedbackStatus::Expired);
        }
    }

    pub(super) fn give_back(&mut self, client: Client, sequence: u64, counted: bool) {
        let now = self.now;
        let waiting = self.waiting(client, sequence);
        waiting.lock = None;
        waiting.count += u32::from(counted);
        if waiting.count >= RETURNS {
            self.leave(client, sequence, FeedbackStatus::DeliveryCountExceeded);
        } else if waiting.expires <= now {
            self.leave(client, sequence, FeedbackStatus::Expired);
        }
    }

    pub(super) fn c2d_dues(&self) -> impl Iterator<Item = (Due, What)> + '_ {
        self.queues.iter().flat_map(|(client, queue)| {
            queue.waiting.iter().flat_map(|(sequence, it)| {
                let expiry = it.expiry.map(|due| (due, What::Expiry(*client, *sequence)));
                let lock = it
                    .lock
                    .map(|lock| (lock.due, What::Lock(*client, *sequence)));
                expiry.into_iter().chain(lock)
            })
        })
    }

    fn settle_one(&mut self, client: Client, sequence: u64, how: Settlement) {
        match how {
            Settlement::Complete => self.leave(client, sequence, FeedbackStatus::Success),
            Settlement::Reject => self.leave(client, sequence, FeedbackStatus::Rejected),
            Settlement::Abandon => self.give_back(client, sequence, true),
        }
    }

    fn leave(&mut self, client: Client, sequence: u64, how: FeedbackStatus) {
        let queue = self.queues.get_mut(&client).unwrap();
        if queue.waiting.remove(&sequence).unwrap().wish.wants(how) {
            self.record(client);
        }
    }

    fn lock(&mut self, client: Client, sequence: u64, session: Option<u64>) {
        self.last_lock += 1;
        let number = self.last_lock;
        let due = self.due(LOCK);
        let waiting = self.waiting(client, sequence);
        waiting.delivered = true;
        waiting.lock = Some(Lock {
            number,
            session,
            due,
        });
    }

    fn locked(&self, client: Client, lock: u64) -> Option<(u64, Option<u64>)> {
        let waiting = &self.queues.get(&client)?.waiting;
        waiting.iter().find_map(|(sequence, it)| {
            let held = it.lock.filter(|held| held.number == lock)?;
            Some((*sequence, held.session))
        })
    }

    fn first_waiting(&self, client: Client) -> Option<u64> {
        let now = self.now;
        let all = self.sequences(client, |it| it.lock.is_none() && it.expires > now);
        all.first().copied()
    }

    fn sequences(&self, client: Client, which: impl Fn(&Waiting) -> bool) -> Vec<u64> {
        let Some(queue) = self.queues.get(&client) else {
            return Vec::new();
        };
        let found = queue.waiting.iter().filter(|it| which(it.1));
        found.map(|it| *it.0).collect()
    }

    fn waiting(&mut self, client: Client, sequence: u64) -> &mut Waiting {
        let queue = self.queues.get_mut(&client).unwrap();
        queue.waiting.get_mut(&sequence).unwrap()
    }
}
