//! Feedback: batches in a row, the last of which may be open.

use std::collections::BTreeMap;

use iothub_hub::Settlement;
use iothub_protocol::ErrorCode::DeviceMessageLockLost;

use super::c2d::{LOCK, RETURNS};
use super::{Client, Due, Model, Reply, Seen, What};

pub(super) const SIZE: usize = 3;
pub(super) const DELAY: i64 = 5;
pub(super) const TTL: i64 = 60;

#[derive(Default)]
pub(super) struct Feedback {
    batches: BTreeMap<u64, Batch>,
    last: u64,
}

#[derive(Default)]
struct Batch {
    about: Vec<Client>,
    closed: Option<i64>,
    count: u32,
    lock: Option<(u64, Due)>,
    due: Option<Due>,
}

impl Feedback {
    pub(super) fn forget(&mut self, client: Client) {
        self.batches.retain(|_, batch| {
            batch.about.retain(|&other| other != client);
            !batch.about.is_empty()
        });
    }

    pub(super) fn dues(&self) -> impl Iterator<Item = (Due, What)> + '_ {
        self.batches.iter().flat_map(|(number, batch)| {
            let due = batch.due.map(|due| (due, What::Batch(*number)));
            let lock = batch.lock.map(|lock| (lock.1, What::BatchLock(*number)));
            due.into_iter().chain(lock)
        })
    }

    fn locked(&self, lock: u64) -> Option<u64> {
        self.batches
            .iter()
            .find(|(_, batch)| batch.lock.is_some_and(|it| it.0 == lock))
            .map(|it| *it.0)
    }
}

impl Model {
    pub(super) fn record(&mut self, client: Client) {
        let due = self.due(DELAY);
        let feedback = &mut self.feedback;
        let open = feedback.batches.last_key_value();
        if open.is_none_or(|(_, batch)| batch.closed.is_some()) {
            feedback.last += 1;
        } else {
            feedback.last = *open.unwrap().0;
        }
        let number = feedback.last;
        let batch = feedback.batches.entry(number).or_default();
        batch.about.push(client);
        batch.due = Some(due);
        if batch.about.len() >= SIZE {
            self.close(number);
        }
    }

    pub(super) fn batch_due(&mut self, number: u64) {
        let batch = self.feedback.batches.get_mut(&number).unwrap();
        if batch.closed.is_none() {
            self.close(number);
        } else {
            batch.due = None;
            if batch.lock.is_none() {
                self.feedback.batches.remove(&number);
            }
        }
    }

    fn close(&mut self, number: u64) {
        let due = self.due(TTL);
        let batch = self.feedback.batches.get_mut(&number).unwrap();
        (batch.closed, batch.due) = (Some(self.now), Some(due));
        self.seen.push(Seen::FeedbackReady);
    }

    pub(crate) fn receive_feedback(&mut self) -> Reply {
        let due = self.due(LOCK);
        let now = self.now;
        let oldest = self.feedback.batches.values_mut().find(|batch| {
            batch.lock.is_none() && batch.closed.is_some_and(|closed| closed + TTL > now)
        });
        let Some(batch) = oldest else {
            return Ok(None);
        };
        self.last_lock += 1;
        batch.lock = Some((self.last_lock, due));
        let count = u64::from(batch.count);
        Ok(Some(
            self.last_lock * 10_000 + batch.about.len() as u64 * 10 + count,
        ))
    }

    pub(crate) fn settle_feedback(&mut self, lock: u64, how: Settlement) -> Reply {
        let number = self.feedback.locked(lock).ok_or(DeviceMessageLockLost)?;
        match how {
            Settlement::Complete | Settlement::Reject => {
                self.feedback.batches.remove(&number);
            }
            Settlement::Abandon => self.give_back_batch(number, true),
        }
        Ok(None)
    }

    pub(super) fn give_back_batch(&mut self, number: u64, counted: bool) {
        let batch = self.feedback.batches.get_mut(&number).unwrap();
        batch.lock = None;
        batch.count += u32::from(counted);
        if batch.count >= RETURNS || batch.closed.unwrap() + TTL <= self.now {
            self.feedback.batches.remove(&number);
        } else {
            self.seen.push(Seen::FeedbackReady);
        }
    }
}
