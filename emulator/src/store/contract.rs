//! What every store owes its user, and a store that fails when it is told to.

use std::sync::mpsc;

use iothub_hub::{Change, PartitionHead, PartitionId};

use super::samples::{events, twin};
use super::{EventRun, FileOptions, FileStore, MemoryStore, OnDurable, Store, StoreError, Ticket};
use crate::config::Durability;

const PARTITIONS: u16 = 4;
const RETENTION: u64 = 256 * 1024;

/// Runs a check on each store.
fn on_each_store(check: impl Fn(&str, Box<dyn Store>)) {
    check("memory", Box::new(MemoryStore::new(PARTITIONS, RETENTION)));
    for durability in [Durability::Periodic, Durability::EveryCommit] {
        let directory = tempfile::tempdir().unwrap();
        let options = FileOptions {
            partitions: PARTITIONS,
            retention_bytes: RETENTION,
            durability,
            ..FileOptions::default()
        };
        let store = FileStore::open(directory.path(), options).unwrap();
        check(&format!("file, {durability:?}"), Box::new(store));
    }
    let inner = Box::new(MemoryStore::new(PARTITIONS, RETENTION));
    check(
        "failing, not yet",
        Box::new(FailingStore::new(inner, u64::MAX)),
    );
}

fn append(store: &mut dyn Store, partition: PartitionId, first: u64, count: u64) -> Ticket {
    store
        .commit(vec![Change::AppendEvents(events(partition, first, count))])
        .unwrap()
}

#[test]
fn tickets_grow_and_become_durable() {
    on_each_store(|name, mut store| {
        let (sender, told) = mpsc::sync_channel(1000);
        store.on_durable(Box::new(move || sender.send(()).unwrap()));
        let before = store.durable();

        let first = append(&mut *store, 0, 0, 1);
        let second = store.commit(vec![twin("d1", 1)]).unwrap();

        assert!(before < first && first < second, "{name}");
        while store.durable() < second {
            told.recv().unwrap();
        }
    });
}

#[test]
fn closing_makes_everything_durable() {
    on_each_store(|name, mut store| {
        let last = append(&mut *store, 0, 0, 1);

        store.close().unwrap();

        assert_eq!(store.durable(), last, "{name}");
    });
}

#[test]
fn events_are_read_from_anywhere_up_to_a_number() {
    on_each_store(|name, mut store| {
        append(&mut *store, 1, 0, 3);
        append(&mut *store, 1, 3, 1);
        append(&mut *store, 1, 4, 6);

        for (from, max, expected) in [
            (0, 100, 0..10),
            (0, 4, 0..4),
            (2, 3, 2..5),
            (9, 5, 9..10),
            (10, 5, 0..0),
            (99, 5, 0..0),
        ] {
            let read = store.read_events(1, from, max).unwrap();
            let whole = events(1, 0, 10);
            assert_eq!(read, whole[expected], "{name}: {max} from {from}");
        }
    });
}

#[test]
fn partitions_are_apart() {
    on_each_store(|name, mut store| {
        append(&mut *store, 0, 0, 2);
        let both = vec![
            Change::AppendEvents(events(2, 0, 1)),
            twin("d1", 1),
            Change::AppendEvents(events(0, 2, 1)),
        ];
        store.commit(both).unwrap();

        assert_eq!(
            store.read_events(0, 0, 10).unwrap(),
            events(0, 0, 3),
            "{name}"
        );
        assert_eq!(store.read_events(1, 0, 10).unwrap(), [], "{name}");
        assert_eq!(
            store.read_events(2, 0, 10).unwrap(),
            events(2, 0, 1),
            "{name}"
        );
        assert_eq!(store.read_events(99, 0, 10).unwrap(), [], "{name}");
    });
}

#[test]
fn the_oldest_events_are_dropped_and_the_newest_kept() {
    on_each_store(|name, mut store| {
        let count = 2000;
        for first in (0..count).step_by(5) {
            append(&mut *store, 3, first, 5);
        }

        let first = store.first_sequence(3);
        assert!(first > 0 && first < count, "{name}: {first}");
        assert_eq!(store.first_sequence(0), 0, "{name}");
        let read = store.read_events(3, 0, usize::MAX).unwrap();
        assert_eq!(read, events(3, first, count - first), "{name}");
    });
}

#[test]
fn a_reset_forgets_events_and_numbers_begin_again() {
    on_each_store(|name, mut store| {
        append(&mut *store, 0, 0, 5);

        store
            .commit(vec![Change::AppendEvents(events(0, 5, 1)), Change::Reset])
            .unwrap();

        assert_eq!(store.first_sequence(0), 0, "{name}");
        assert_eq!(store.read_events(0, 0, 10).unwrap(), [], "{name}");
        append(&mut *store, 0, 0, 2);
        assert_eq!(
            store.read_events(0, 0, 10).unwrap(),
            events(0, 0, 2),
            "{name}"
        );
    });
}

#[test]
fn a_partition_can_continue_further_on() {
    on_each_store(|name, mut store| {
        append(&mut *store, 0, 0, 5);
        let head = PartitionHead {
            next_sequence: 100,
            next_offset: 10_000,
        };

        store
            .commit(vec![Change::PutPartitionHead(0, head)])
            .unwrap();

        assert_eq!(store.first_sequence(0), 100, "{name}");
        append(&mut *store, 0, 100, 1);
        assert_eq!(
            store.read_events(0, 0, 10).unwrap(),
            events(0, 100, 1),
            "{name}"
        );
    });
}

#[test]
fn nothing_of_a_failed_commit_is_seen() {
    let inner = Box::new(MemoryStore::new(PARTITIONS, RETENTION));
    let mut store = FailingStore::new(inner, 2);
    let first = append(&mut store, 0, 0, 1);

    let error = store
        .commit(vec![Change::AppendEvents(events(0, 1, 1))])
        .unwrap_err();

    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    assert_eq!(store.durable(), first);
    assert_eq!(store.read_events(0, 0, 10).unwrap(), events(0, 0, 1));
}

/// A store under the hub that it serves.
mod through_the_hub {
    use std::sync::Arc;

    use std::sync::Mutex;

    use iothub_hub::{Hub, HubConfig, Limits, Principal};
    use iothub_protocol::ErrorCode;
    use iothub_protocol::identity::DeviceId;
    use iothub_protocol::registry::{IdentitySpec, IfMatch};

    use super::*;
    use crate::activity::OperationKind;
    use crate::clock::HubClock;
    use crate::handle::HubHandle;
    use crate::store::samples::client;

    fn open(store: Box<dyn Store>) -> HubHandle {
        let hub = Hub::new(HubConfig {
            name: "hub".into(),
            host_names: Vec::new(),
            policies: Vec::new(),
            partitions: PARTITIONS,
            seed: 1,
            limits: Limits::default(),
            ..HubConfig::default()
        });
        HubHandle::open(hub, store, Arc::new(HubClock::system())).unwrap()
    }

    async fn create(hub: &HubHandle, id: &str) -> Result<String, iothub_protocol::Error> {
        let device = DeviceId::parse(id).unwrap();
        let client = client(id);
        let created = hub.call(OperationKind::PutDevice.on(&client), |hub, cx| {
            let spec = IdentitySpec::default();
            hub.put_device(cx, &Principal::operator(), &device, spec, &IfMatch::Absent)
        });
        created.await.map(|identity| identity.etag)
    }

    fn etag(hub: &HubHandle, id: &str) -> Option<String> {
        let device = DeviceId::parse(id).unwrap();
        hub.inspect(|hub| hub.device(&Principal::operator(), &device))
            .ok()
            .map(|identity| identity.etag)
    }

    #[tokio::test]
    async fn a_failed_commit_is_refused_and_stops_the_hub() {
        let inner = Box::new(MemoryStore::new(PARTITIONS, RETENTION));
        let hub = open(Box::new(FailingStore::new(inner, 2)));

        create(&hub, "d1").await.unwrap();
        let failed = create(&hub, "d2").await.unwrap_err();
        let after = create(&hub, "d3").await.unwrap_err();

        assert_eq!(failed.code, ErrorCode::ServiceUnavailable);
        assert_eq!(after.code, ErrorCode::ServiceUnavailable);
        assert!(hub.broken().is_some());
    }

    /// Takes commits that never become durable, until it says that they cannot.
    #[derive(Default)]
    struct NeverDurable {
        committed: Ticket,
        failed: bool,
        call: Arc<Mutex<Option<OnDurable>>>,
    }

    impl Store for NeverDurable {
        fn load(&mut self, _each: &mut dyn FnMut(Change)) -> Result<(), StoreError> {
            Ok(())
        }

        fn commit(&mut self, _changes: Vec<Change>) -> Result<Ticket, StoreError> {
            self.committed.0 += 1;
            self.failed = true;
            Ok(self.committed)
        }

        fn durable(&self) -> Ticket {
            Ticket::default()
        }

        fn check(&self) -> Result<(), StoreError> {
            match self.failed {
                false => Ok(()),
                true => Err(StoreError::Stopped {
                    reason: "the disk is gone".into(),
                }),
            }
        }

        fn on_durable(&mut self, call: OnDurable) {
            *self.call.lock().unwrap() = Some(call);
        }

        fn read_run(
            &self,
            _partition: PartitionId,
            _from: u64,
            _max: usize,
        ) -> Result<EventRun, StoreError> {
            Ok(EventRun::default())
        }

        fn first_sequence(&self, _partition: PartitionId) -> u64 {
            0
        }

        fn close(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn who_waits_for_a_change_that_cannot_become_safe_is_refused() {
        let store = NeverDurable::default();
        let call = store.call.clone();
        let hub = open(Box::new(store));
        let mut created = std::pin::pin!(create(&hub, "d1"));

        tokio::select! {
            biased;
            created = &mut created => panic!("answered before it was safe: {created:?}"),
            () = tokio::task::yield_now() => {}
        }
        call.lock().unwrap().as_ref().unwrap()();

        assert_eq!(
            created.await.unwrap_err().code,
            ErrorCode::ServiceUnavailable
        );
        assert!(hub.broken().is_some());
    }

    #[tokio::test]
    async fn what_was_answered_is_there_after_a_start() {
        for durability in [Durability::Periodic, Durability::EveryCommit] {
            let directory = tempfile::tempdir().unwrap();
            let options = FileOptions {
                partitions: PARTITIONS,
                durability,
                ..FileOptions::default()
            };
            // A hub that is dropped and not closed may live on, for a moment, in the thread that
            // has just told it of a sync.
            let open = || loop {
                match FileStore::open(directory.path(), options) {
                    Err(StoreError::InUse { .. }) => std::thread::yield_now(),
                    store => break open(Box::new(store.unwrap())),
                }
            };
            let hub = open();
            let first = create(&hub, "d1").await.unwrap();
            // Without a word, as a process ends that is killed.
            drop(hub);

            let hub = open();
            let second = create(&hub, "d2").await.unwrap();
            hub.close().unwrap();
            drop(hub);

            let hub = open();
            assert_ne!(first, second, "an etag is not given out again");
            assert_eq!(etag(&hub, "d1"), Some(first), "{durability:?}");
            assert_eq!(etag(&hub, "d2"), Some(second), "{durability:?}");
        }
    }
}

/// Fails at the n-th commit, as a full disk does, and from then on.
pub(crate) struct FailingStore {
    inner: Box<dyn Store>,
    left: u64,
}

impl FailingStore {
    /// The `nth` commit, counted from 1, is the first to fail.
    pub(crate) fn new(inner: Box<dyn Store>, nth: u64) -> Self {
        Self {
            inner,
            left: nth - 1,
        }
    }
}

impl Store for FailingStore {
    fn load(&mut self, each: &mut dyn FnMut(Change)) -> Result<(), StoreError> {
        self.inner.load(each)
    }

    fn commit(&mut self, changes: Vec<Change>) -> Result<Ticket, StoreError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(StoreError::Io {
                attempt: "append to a journal".into(),
                source: std::io::ErrorKind::StorageFull.into(),
            });
        };
        self.left = left;
        self.inner.commit(changes)
    }

    fn durable(&self) -> Ticket {
        self.inner.durable()
    }

    fn check(&self) -> Result<(), StoreError> {
        self.inner.check()
    }

    fn on_durable(&mut self, call: OnDurable) {
        self.inner.on_durable(call);
    }

    fn read_run(
        &self,
        partition: PartitionId,
        from: u64,
        max: usize,
    ) -> Result<EventRun, StoreError> {
        self.inner.read_run(partition, from, max)
    }

    fn first_sequence(&self, partition: PartitionId) -> u64 {
        self.inner.first_sequence(partition)
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.inner.close()
    }
}
