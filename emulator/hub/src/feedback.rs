//! What became of cloud-to-device messages, told to back ends in batches (`spec/service.md` 8,
//! `spec/device.md` 5.6).

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use iothub_protocol::feedback::FeedbackRecord;
use iothub_protocol::{ClientId, Error, Timestamp};
use serde_json::{Value, json};

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::cx::{Change, Cx, Effect};
use crate::deadlines::{self, DeadlineId};
use crate::documents::{Document, DocumentKind};
use crate::locks::{LockToken, Settlement, lock_lost};

/// A batch that a back end has received, and what settles it.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedbackBatch {
    /// Names the lock.
    pub lock: LockToken,
    /// Its place among the batches.
    pub sequence: u64,
    /// When it was closed.
    pub enqueued: Timestamp,
    /// How often it was given back.
    pub delivery_count: u32,
    /// What became of which message, in order.
    pub records: Vec<Arc<FeedbackRecord>>,
}

/// What falls due, about the batch with this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// No record has come for long enough.
    Close(u64),
    /// Nobody has received it for too long.
    Expiry(u64),
    /// Its lock is lost.
    LockTimeout(u64),
}

/// Batches that wait. Records are documents of their own, `{batch}/{record}`, so that adding one
/// does not write down the others again; a closed batch is one more, `{batch}`.
#[derive(Clone, Default)]
pub(crate) struct Feedback {
    /// By number; shared between forks, like the registry. Only the last can be open.
    batches: OrdMap<u64, Arc<Batch>>,
    /// How many records are about a client.
    records_of: OrdMap<ClientId, u32>,
    locks: OrdMap<LockToken, u64>,
    last_batch: u64,
    last_record: u64,
}

#[derive(Clone, Default)]
struct Batch {
    records: BTreeMap<u64, Arc<FeedbackRecord>>,
    /// `None`: further records may come.
    closed: Option<Timestamp>,
    delivery_count: u32,
    lock: Option<(LockToken, DeadlineId)>,
    /// When it is closed or, once it is, when it expires.
    due: Option<DeadlineId>,
}

impl FeedbackBatch {
    /// The JSON array of the records.
    pub fn to_json(&self) -> Value {
        self.records.iter().map(|record| record.to_json()).collect()
    }
}

impl Feedback {
    pub(crate) fn restore_record(&mut self, key: &str, document: Option<&Value>) {
        match parse_key(key) {
            Some((number, Some(record))) => match document.map(FeedbackRecord::from_json) {
                Some(Some(it)) => self.insert(number, record, Arc::new(it)),
                // What cannot be read is not kept either.
                Some(None) => {}
                None => drop(self.remove(number, record)),
            },
            Some((number, None)) => match document {
                Some(document) => {
                    let batch = self.batch(number);
                    let closed = document["closed"].as_str();
                    batch.closed = closed.and_then(Timestamp::parse_iso);
                    let count = document["deliveryCount"].as_u64();
                    batch.delivery_count = count.unwrap_or_default() as u32;
                }
                None => drop(self.batches.remove(&number)),
            },
            None => {}
        }
    }

    /// The batch with this number, made if need be.
    fn batch(&mut self, number: u64) -> &mut Batch {
        self.last_batch = self.last_batch.max(number);
        Arc::make_mut(self.batches.entry(number).or_default())
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Batch> {
        self.batches.get_mut(&number).map(Arc::make_mut)
    }

    fn insert(&mut self, number: u64, record: u64, it: Arc<FeedbackRecord>) {
        self.last_record = self.last_record.max(record);
        *self.records_of.entry(it.client.clone()).or_default() += 1;
        self.batch(number).records.insert(record, it);
    }

    fn remove(&mut self, number: u64, record: u64) -> Option<Arc<FeedbackRecord>> {
        let it = self.get_mut(number)?.records.remove(&record)?;
        match self.records_of.get_mut(&it.client) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(self.records_of.remove(&it.client)),
        }
        Some(it)
    }

    /// The batch that takes further records.
    fn open(&self) -> Option<u64> {
        let (number, batch) = self.batches.get_max()?;
        batch.closed.is_none().then_some(*number)
    }
}

impl Hub {
    /// Locks the oldest batch; `None`: there is none.
    pub fn receive_feedback(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
    ) -> Result<Option<FeedbackBatch>, Error> {
        caller.require(Permission::ServiceConnect)?;
        let oldest = self.feedback.batches.iter().find_map(|(number, batch)| {
            (batch.lock.is_none() && !self.has_expired(batch, cx.now()))
                .then_some((*number, batch.closed?))
        });
        let Some((number, enqueued)) = oldest else {
            return Ok(None);
        };
        let lock = self.new_lock(cx);
        let until = cx.now() + self.config.limits.feedback_lock;
        let timeout = self.watch(until, Due::LockTimeout(number));
        self.feedback.locks.insert(lock, number);
        let batch = self.feedback.batch(number);
        batch.lock = Some((lock, timeout));
        Ok(Some(FeedbackBatch {
            lock,
            sequence: number,
            enqueued,
            delivery_count: batch.delivery_count,
            records: batch.records.values().cloned().collect(),
        }))
    }

    /// Settles a batch; a rejected one is dropped like one that is completed.
    ///
    /// Refuses with `DeviceMessageLockLost` when the lock is lost or never was.
    pub fn settle_feedback(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), Error> {
        caller.require(Permission::ServiceConnect)?;
        let number = self.feedback.locks.get(&lock).copied();
        let number = number.ok_or_else(lock_lost)?;
        match settlement {
            Settlement::Complete | Settlement::Reject => self.end_batch(cx, number),
            Settlement::Abandon => self.return_batch(cx, number, true),
        }
        Ok(())
    }

    /// Gives back what a reader that is gone had locked and not settled (`spec/device.md` 5.4, as for
    /// messages). Locks that are lost are passed over: who is gone cannot be told.
    pub fn release_feedback(&mut self, cx: &mut Cx<'_>, locks: &[LockToken]) {
        for lock in locks {
            if let Some(&number) = self.feedback.locks.get(lock) {
                self.return_batch(cx, number, false);
            }
        }
    }

    /// Adds a record to the open batch.
    pub(crate) fn add_feedback(&mut self, cx: &mut Cx<'_>, record: FeedbackRecord) {
        let limits = &self.config.limits;
        let (size, delay, most) = (
            limits.feedback_batch,
            limits.feedback_delay,
            limits.feedback_batches,
        );
        let open = self.feedback.open();
        let number = open.unwrap_or(self.feedback.last_batch + 1);
        if open.is_none()
            && self.feedback.batches.len() >= most
            && let Some((oldest, _)) = self.feedback.batches.get_min()
        {
            let oldest = *oldest;
            self.end_batch(cx, oldest);
        }
        let key = self.feedback.last_record + 1;
        cx.change(Change::PutDocument(Document {
            kind: DocumentKind::Feedback,
            key: record_key(number, key),
            value: Arc::new(record.to_json()),
        }));
        self.feedback.insert(number, key, Arc::new(record));
        let batch = self.feedback.batch(number);
        if batch.records.len() >= size || delay.is_zero() {
            self.close_batch(cx, number);
        } else {
            self.watch_batch(number, cx.now() + delay, Due::Close(number));
        }
    }

    /// Drops what is about a client that is no more (`spec/device.md` 5.6).
    pub(crate) fn drop_feedback(&mut self, cx: &mut Cx<'_>, client: &ClientId) {
        if !self.feedback.records_of.contains_key(client) {
            return;
        }
        let about = |record: &FeedbackRecord| record.client == *client;
        let doomed: Vec<(u64, u64)> = self
            .feedback
            .batches
            .iter()
            .flat_map(|(number, batch)| batch.records.iter().map(|it| (*number, it)))
            .filter(|(_, (_, record))| about(record))
            .map(|(number, (key, _))| (number, *key))
            .collect();
        for (number, key) in doomed {
            self.feedback.remove(number, key);
            cx.change(delete(record_key(number, key)));
            if self.feedback.batch(number).records.is_empty() {
                self.end_batch(cx, number);
            }
        }
    }

    /// Sets the deadlines of what was restored or copied. Nothing is locked any more.
    pub(crate) fn feedback_rearm(&mut self) {
        self.feedback.locks.clear();
        let limits = self.config.limits.clone();
        let all: Vec<u64> = self.feedback.batches.keys().copied().collect();
        for number in all {
            let batch = self.feedback.batch(number);
            (batch.lock, batch.due) = (None, None);
            let last = batch.records.values().map(|it| it.enqueued).max();
            match (batch.closed, last) {
                (Some(closed), _) => {
                    self.watch_batch(number, closed + limits.feedback_ttl, Due::Expiry(number));
                }
                (None, Some(last)) => {
                    self.watch_batch(number, last + limits.feedback_delay, Due::Close(number));
                }
                (None, None) => drop(self.feedback.batches.remove(&number)),
            }
        }
    }

    pub(crate) fn feedback_due(&mut self, cx: &mut Cx<'_>, due: Due) {
        match due {
            Due::Close(number) => self.close_batch(cx, number),
            Due::Expiry(number) => {
                let Some(batch) = self.feedback.get_mut(number) else {
                    return;
                };
                batch.due = None;
                // Who holds it may still settle it; it expires when it is given back.
                if batch.lock.is_none() {
                    self.end_batch(cx, number);
                }
            }
            Due::LockTimeout(number) => self.return_batch(cx, number, false),
        }
    }

    fn close_batch(&mut self, cx: &mut Cx<'_>, number: u64) {
        self.feedback.batch(number).closed = Some(cx.now());
        self.put_batch(cx, number);
        let expires = cx.now() + self.config.limits.feedback_ttl;
        self.watch_batch(number, expires, Due::Expiry(number));
        cx.emit(Effect::FeedbackReady);
    }

    /// Gives a locked batch back, unless it has come back too often or too late. What counts is
    /// what counts for messages (`spec/device.md` 5.4).
    fn return_batch(&mut self, cx: &mut Cx<'_>, number: u64, abandoned: bool) {
        let limit = self.config.limits.feedback_delivery_count;
        let counted = abandoned || self.counts_every_return();
        let Some(batch) = self.feedback.get_mut(number) else {
            return;
        };
        if let Some((token, timeout)) = batch.lock.take() {
            self.deadlines.cancel(timeout);
            self.feedback.locks.remove(&token);
        }
        let batch = self.feedback.batch(number);
        if counted {
            batch.delivery_count += 1;
        }
        let given_up = batch.delivery_count >= limit;
        let batch = batch.clone();
        if given_up || self.has_expired(&batch, cx.now()) {
            self.end_batch(cx, number);
            return;
        }
        if counted {
            self.put_batch(cx, number);
        }
        cx.emit(Effect::FeedbackReady);
    }

    fn end_batch(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(batch) = self.feedback.batches.get(&number).cloned() else {
            return;
        };
        if let Some((token, timeout)) = batch.lock {
            self.deadlines.cancel(timeout);
            self.feedback.locks.remove(&token);
        }
        if let Some(due) = batch.due {
            self.deadlines.cancel(due);
        }
        for &key in batch.records.keys() {
            self.feedback.remove(number, key);
            cx.change(delete(record_key(number, key)));
        }
        if batch.closed.is_some() {
            cx.change(delete(batch_key(number)));
        }
        self.feedback.batches.remove(&number);
    }

    fn put_batch(&mut self, cx: &mut Cx<'_>, number: u64) {
        let batch = self.feedback.batch(number);
        let closed = batch.closed.map(Timestamp::to_iso);
        let value = json!({"closed": closed, "deliveryCount": batch.delivery_count});
        cx.change(Change::PutDocument(Document {
            kind: DocumentKind::Feedback,
            key: batch_key(number),
            value: Arc::new(value),
        }));
    }

    fn has_expired(&self, batch: &Batch, now: Timestamp) -> bool {
        let ttl = self.config.limits.feedback_ttl;
        batch.closed.is_some_and(|closed| closed + ttl <= now)
    }

    /// The batch's next deadline in place of the one it has.
    fn watch_batch(&mut self, number: u64, at: Timestamp, due: Due) {
        let next = self.watch(at, due);
        if let Some(earlier) = self.feedback.batch(number).due.replace(next) {
            self.deadlines.cancel(earlier);
        }
    }

    fn watch(&mut self, at: Timestamp, due: Due) -> DeadlineId {
        self.deadlines.set(at, deadlines::Due::Feedback(due))
    }
}

fn delete(key: Arc<str>) -> Change {
    Change::DeleteDocument(DocumentKind::Feedback, key)
}

fn record_key(batch: u64, record: u64) -> Arc<str> {
    format!("{batch}/{record}").into()
}

fn batch_key(batch: u64) -> Arc<str> {
    batch.to_string().into()
}

fn parse_key(key: &str) -> Option<(u64, Option<u64>)> {
    match key.split_once('/') {
        None => Some((key.parse().ok()?, None)),
        Some((batch, record)) => Some((batch.parse().ok()?, Some(record.parse().ok()?))),
    }
}
