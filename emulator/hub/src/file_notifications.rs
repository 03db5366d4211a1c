//! File-upload notifications, told to back ends (`spec/service.md` 8): one queue, received under a
//! lock like feedback.
//!
//! Differs: on the real hub notifications are off until somebody turns them on; here they are
//! always made, and expire when nobody reads them.

use std::sync::Arc;

use imbl::OrdMap;
use iothub_protocol::upload::FileNotification;
use iothub_protocol::{Error, Timestamp};
use serde_json::{Value, json};

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::cx::{Change, Cx, Effect};
use crate::deadlines::{self, DeadlineId};
use crate::documents::{Document, DocumentKind};
use crate::locks::{LockToken, Settlement, lock_lost};

/// What falls due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nobody read the notification in time.
    Expired(u64),
    /// Who received the notification did not settle it in time.
    LockLost(u64),
}

/// A notification that was received, and is locked until it is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedFileNotification {
    /// Names the lock.
    pub lock: LockToken,
    /// Until when.
    pub locked_until: Timestamp,
    /// How often it was given back.
    pub delivery_count: u32,
    /// What it says.
    pub notification: FileNotification,
}

#[derive(Clone, Default)]
pub(crate) struct FileNotifications {
    /// By the order in which they were made.
    queue: OrdMap<u64, Entry>,
    /// Which one a lock is on.
    locks: OrdMap<LockToken, u64>,
    next: u64,
}

#[derive(Clone)]
struct Entry {
    notification: Arc<FileNotification>,
    expires: Timestamp,
    deliveries: u32,
    lock: Option<Lock>,
    expiry: Option<DeadlineId>,
}

#[derive(Clone)]
struct Lock {
    token: LockToken,
    deadline: DeadlineId,
}

impl Hub {
    /// Locks the oldest notification that nobody else has; `None` when there is none.
    pub fn receive_file_notification(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
    ) -> Result<Option<ReceivedFileNotification>, Error> {
        caller.require(Permission::ServiceConnect)?;
        let free = self
            .file_notifications
            .queue
            .iter()
            .find(|(_, entry)| entry.lock.is_none() && entry.expires > cx.now());
        let Some((&number, _)) = free else {
            return Ok(None);
        };
        let token = self.new_lock(cx);
        let locked_until = cx.now() + self.config.limits.file_notification_lock;
        let due = deadlines::Due::FileNotifications(Due::LockLost(number));
        let deadline = self.deadlines.set(locked_until, due);
        self.file_notifications.locks.insert(token, number);
        let entry = self
            .file_notifications
            .queue
            .get_mut(&number)
            .expect("the entry has just been found");
        entry.lock = Some(Lock { token, deadline });
        Ok(Some(ReceivedFileNotification {
            lock: token,
            locked_until,
            delivery_count: entry.deliveries,
            notification: (*entry.notification).clone(),
        }))
    }

    /// Settles a notification; a rejected one is dropped like one that is completed, and one that is
    /// abandoned once too often is, too.
    ///
    /// Refuses with `DeviceMessageLockLost` when the lock is lost or never was.
    pub fn settle_file_notification(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), Error> {
        caller.require(Permission::ServiceConnect)?;
        let number = self.file_notifications.locks.get(&lock).copied();
        let number = number.ok_or_else(lock_lost)?;
        match settlement {
            Settlement::Complete | Settlement::Reject => self.drop_file_notification(cx, number),
            Settlement::Abandon => self.unlock_file_notification(cx, number, true),
        }
        Ok(())
    }

    /// Gives back what a reader that is gone had locked and not settled, as
    /// [`Hub::release_feedback`] does.
    pub fn release_file_notifications(&mut self, cx: &mut Cx<'_>, locks: &[LockToken]) {
        for lock in locks {
            if let Some(&number) = self.file_notifications.locks.get(lock) {
                self.unlock_file_notification(cx, number, false);
            }
        }
    }

    /// How many notifications wait, received ones included.
    pub fn file_notification_count(&self) -> usize {
        self.file_notifications.queue.len()
    }

    pub(crate) fn enqueue_file_notification(
        &mut self,
        cx: &mut Cx<'_>,
        notification: FileNotification,
    ) {
        let number = self.file_notifications.next;
        let expires = cx.now() + self.config.limits.file_notification_ttl;
        let expiry = self.set_file_notification_expiry(number, expires);
        let entry = Entry {
            notification: Arc::new(notification),
            expires,
            deliveries: 0,
            lock: None,
            expiry: Some(expiry),
        };
        cx.change(Change::PutDocument(entry.to_document(number)));
        cx.emit(Effect::FileNotificationsReady);
        self.file_notifications.put(number, entry);
    }

    /// Sets the deadlines of what was restored or copied. Locks belong to who received, and are
    /// gone.
    pub(crate) fn file_notifications_rearm(&mut self) {
        self.file_notifications.locks = OrdMap::new();
        let waiting: Vec<_> = self
            .file_notifications
            .queue
            .iter()
            .map(|(&number, entry)| (number, entry.expires))
            .collect();
        for (number, expires) in waiting {
            let expiry = self.set_file_notification_expiry(number, expires);
            if let Some(entry) = self.file_notifications.queue.get_mut(&number) {
                entry.lock = None;
                entry.expiry = Some(expiry);
            }
        }
    }

    pub(crate) fn file_notifications_due(&mut self, cx: &mut Cx<'_>, due: Due) {
        match due {
            Due::Expired(number) => self.drop_file_notification(cx, number),
            Due::LockLost(number) => self.unlock_file_notification(cx, number, false),
        }
    }

    fn set_file_notification_expiry(&mut self, number: u64, at: Timestamp) -> DeadlineId {
        let due = deadlines::Due::FileNotifications(Due::Expired(number));
        self.deadlines.set(at, due)
    }

    fn drop_file_notification(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(entry) = self.file_notifications.queue.remove(&number) else {
            return;
        };
        if let Some(expiry) = entry.expiry {
            self.deadlines.cancel(expiry);
        }
        if let Some(lock) = entry.lock {
            self.deadlines.cancel(lock.deadline);
            self.file_notifications.locks.remove(&lock.token);
        }
        let kind = DocumentKind::FileNotification;
        cx.change(Change::DeleteDocument(kind, key_of(number)));
    }

    /// Gives a locked notification back to its place, unless it has come back too often. What
    /// counts is what counts for feedback (`spec/device.md` 5.4).
    fn unlock_file_notification(&mut self, cx: &mut Cx<'_>, number: u64, abandoned: bool) {
        let counted = abandoned || self.counts_every_return();
        let Some(entry) = self.file_notifications.queue.get_mut(&number) else {
            return;
        };
        if let Some(lock) = entry.lock.take() {
            self.deadlines.cancel(lock.deadline);
            self.file_notifications.locks.remove(&lock.token);
        }
        if counted {
            entry.deliveries += 1;
            if entry.deliveries >= self.config.limits.file_notification_deliveries {
                self.drop_file_notification(cx, number);
                return;
            }
            cx.change(Change::PutDocument(entry.to_document(number)));
        }
        cx.emit(Effect::FileNotificationsReady);
    }
}

impl FileNotifications {
    pub(crate) fn restore_notification(&mut self, key: &str, document: Option<&Value>) {
        let Ok(number) = key.parse() else {
            return;
        };
        self.queue.remove(&number);
        if let Some(entry) = document.and_then(Entry::from_document) {
            self.put(number, entry);
        }
    }

    fn put(&mut self, number: u64, entry: Entry) {
        self.next = self.next.max(number + 1);
        self.queue.insert(number, entry);
    }
}

impl Entry {
    fn to_document(&self, number: u64) -> Document {
        Document {
            kind: DocumentKind::FileNotification,
            key: key_of(number),
            value: Arc::new(json!({
                "notification": self.notification.to_json(),
                "expires": self.expires.ticks(),
                "deliveries": self.deliveries,
            })),
        }
    }

    fn from_document(value: &Value) -> Option<Self> {
        Some(Self {
            notification: Arc::new(FileNotification::parse(&value["notification"])?),
            expires: Timestamp::from_ticks(value["expires"].as_i64()?),
            deliveries: value["deliveries"].as_u64()?.try_into().ok()?,
            lock: None,
            expiry: None,
        })
    }
}

fn key_of(number: u64) -> Arc<str> {
    number.to_string().into()
}
