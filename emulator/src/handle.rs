//! The one narrow door to the hub: fault gate, lock, commit, release, record.

mod calls;
mod observers;
mod readers;
mod release;
mod sessions;
mod time;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use iothub_hub::{
    CallId, Cx, Decision, Effect, Entropy, Event, Hub, Outcome, PartitionId, QuotaMeter, ReaderId,
    SessionId, ThrottleMeter, Tier,
};
use iothub_protocol::method::MethodResponse;
use iothub_protocol::{Clock, Error, ErrorCode, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use crate::activity::{Activity, Operation, Record};
use crate::blobs::{BlobSettings, Blobs};
use crate::clock::{HubClock, Stopwatch};
use crate::faults::FaultPlan;
use crate::mailbox::{Mailbox, Step};
use crate::routes::{Failures, Sink};
use crate::store::{Store, StoreError, Ticket};
use crate::throttling::Quota;
use crate::timeline::{Interest, Timeline, What};

pub use observers::Observation;
use observers::observations;
use readers::ReaderSignal;
pub use readers::{EventReader, PartitionState};
use release::Progress;
pub use sessions::Presence;

/// The hub with everything that surrounds it. Cheap to clone.
#[derive(Clone)]
pub struct HubHandle {
    inner: Arc<Inner>,
}

struct Inner {
    /// Guards the hub, its store, and what ties them to connections and callers. The one lock of
    /// the process that is held across hub operations; nothing is awaited under it.
    core: Mutex<Core>,
    clock: Arc<HubClock>,
    /// When the hub was surrounded.
    opened: Timestamp,
    /// Runs since then.
    running: Stopwatch,
    faults: FaultPlan,
    activity: Activity,
    timeline: Arc<Timeline>,
    blobs: Blobs,
    /// The hub's next deadline, for the alarm task.
    alarm: watch::Sender<Option<Timestamp>>,
    /// Bumped when events have been appended.
    appended: watch::Sender<u64>,
    /// Bumped when a batch of feedback can be received.
    feedback_ready: watch::Sender<u64>,
    /// Bumped when file-upload notifications can be received.
    file_notifications: watch::Sender<u64>,
    /// Bumped when an import or export waits to be carried out.
    registry_job: watch::Sender<u64>,
    /// How far commits survive a crash.
    progress: watch::Sender<Progress>,
    /// Whether somebody observes; written under the lock of `core`.
    observed: AtomicBool,
    /// Bytes that count as one message of the day; `None`: nothing is throttled.
    message_size: Option<usize>,
    /// Endpoints of routes that are files.
    routes: Arc<Sink>,
}

struct Core {
    hub: Hub,
    store: Box<dyn Store>,
    step: Step,
    /// Effects whose changes are not durable yet, in order.
    release: VecDeque<(Ticket, Step, Vec<Effect>)>,
    mailboxes: HashMap<SessionId, Arc<Mailbox>>,
    callers: HashMap<CallId, oneshot::Sender<Result<MethodResponse, Error>>>,
    readers: HashMap<ReaderId, Arc<ReaderSignal>>,
    /// Readers who have read everything of a partition.
    waiting: HashMap<PartitionId, Vec<Arc<ReaderSignal>>>,
    observers: Vec<mpsc::Sender<Observation>>,
    dropped_observations: u64,
    /// Why the connection is over that the present operation is about.
    parting: Option<Box<str>>,
    /// Why the hub has stopped, when a commit failed: memory must not outrun the disk.
    broken: Option<String>,
}

impl HubHandle {
    /// Surrounds a hub. What `store` holds is loaded into it first. Devices' files stay in memory.
    pub fn open(hub: Hub, store: Box<dyn Store>, clock: Arc<HubClock>) -> Result<Self, StoreError> {
        let key = Entropy::new(hub.config().seed).key();
        let blobs = Blobs::in_memory(BlobSettings::with_key(key));
        Self::open_with(hub, store, blobs, clock)
    }

    /// As [`HubHandle::open`], with a place for devices' files.
    pub fn open_with(
        mut hub: Hub,
        mut store: Box<dyn Store>,
        blobs: Blobs,
        clock: Arc<HubClock>,
    ) -> Result<Self, StoreError> {
        store.load(&mut |change| hub.restore(change))?;
        hub.rearm();
        let progress = watch::Sender::new(Progress {
            durable: store.durable(),
            ended: false,
        });
        // What was due while nobody looked is due now.
        let alarm = watch::Sender::new(hub.next_deadline());
        let message_size = hub.config().limits.tier.map(Tier::message_size);
        let core = Core {
            hub,
            store,
            step: Step::default(),
            release: VecDeque::new(),
            mailboxes: HashMap::new(),
            callers: HashMap::new(),
            readers: HashMap::new(),
            waiting: HashMap::new(),
            observers: Vec::new(),
            dropped_observations: 0,
            parting: None,
            broken: None,
        };
        let handle = Self {
            inner: Arc::new(Inner {
                core: Mutex::new(core),
                opened: clock.now(),
                timeline: Arc::new(Timeline::new(clock.clone())),
                running: Stopwatch::start(),
                clock,
                faults: FaultPlan::default(),
                activity: Activity::default(),
                blobs,
                alarm,
                appended: watch::Sender::new(0),
                feedback_ready: watch::Sender::new(0),
                file_notifications: watch::Sender::new(0),
                registry_job: watch::Sender::new(0),
                progress,
                observed: AtomicBool::new(false),
                message_size,
                routes: Arc::default(),
            }),
        };
        let weak = Arc::downgrade(&handle.inner);
        handle.lock().store.on_durable(Box::new(move || {
            if let Some(inner) = weak.upgrade() {
                (Self { inner }).release_durable();
            }
        }));
        Ok(handle)
    }

    /// Performs one operation: fault gate, hub, commit; answers when the changes are durable.
    pub async fn call<R>(
        &self,
        operation: Operation<'_>,
        f: impl FnOnce(&mut Hub, &mut Cx<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.call_at(operation, f).await.map(|(reply, _)| reply)
    }

    /// As [`HubHandle::call`], and says which step it was, so that a connection can write what was
    /// sent to it in earlier steps first.
    pub async fn call_at<R>(
        &self,
        operation: Operation<'_>,
        f: impl FnOnce(&mut Hub, &mut Cx<'_>) -> Result<R, Error>,
    ) -> Result<(R, Step), Error> {
        self.perform(operation, |core, cx| f(&mut core.hub, cx))
            .await
    }

    /// As [`HubHandle::call`], for an operation whose answer is worked out from what the hub gave,
    /// outside of its lock: `rest` does that, and the record is of both.
    pub async fn call_then<R, T, F>(
        &self,
        operation: Operation<'_>,
        f: impl FnOnce(&mut Hub, &mut Cx<'_>) -> Result<R, Error>,
        rest: impl FnOnce(R) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let took = Stopwatch::start();
        let asked = self.attempt(operation, |core, cx| f(&mut core.hub, cx));
        let result = match asked.await {
            Ok((reply, _)) => rest(reply).await,
            Err(refused) => Err(refused),
        };
        self.record(operation, took, result.as_ref().err());
        result
    }

    /// Reads events of a partition from sequence number `from` on.
    pub fn read_events(
        &self,
        partition: PartitionId,
        from: u64,
        max: usize,
    ) -> Result<Vec<Event>, Error> {
        self.lock()
            .store
            .read_events(partition, from, max)
            .map_err(|error| readers::failed(&error))
    }

    /// For each partition, the oldest kept sequence number and the next one.
    pub fn event_bounds(&self) -> Vec<(u64, u64)> {
        let core = self.lock();
        let heads = core.hub.partition_heads();
        heads
            .iter()
            .enumerate()
            .map(|(partition, head)| {
                let first = core.store.first_sequence(partition as PartitionId);
                (first.min(head.next_sequence), head.next_sequence)
            })
            .collect()
    }

    /// Bytes that count as one message of the day; `None`: nothing is throttled or metered, and
    /// operations need not be weighed.
    pub fn message_size(&self) -> Option<usize> {
        self.inner.message_size
    }

    /// The throttles and the quota, when there are any.
    pub fn meters(&self) -> Option<(Tier, Vec<ThrottleMeter>, QuotaMeter)> {
        let now = self.inner.clock.now();
        self.lock().hub.meters(now)
    }

    /// Changes whenever events have been appended.
    pub fn appended(&self) -> watch::Receiver<u64> {
        self.inner.appended.subscribe()
    }

    /// Changes whenever a batch of feedback can be received.
    pub fn feedback_ready(&self) -> watch::Receiver<u64> {
        self.inner.feedback_ready.subscribe()
    }

    /// Changes whenever file-upload notifications can be received.
    pub fn file_notifications(&self) -> watch::Receiver<u64> {
        self.inner.file_notifications.subscribe()
    }

    /// Changes whenever an import or export waits to be carried out.
    pub fn registry_job(&self) -> watch::Receiver<u64> {
        self.inner.registry_job.subscribe()
    }

    /// Looks at the hub without changing it.
    pub fn inspect<R>(&self, look: impl FnOnce(&Hub) -> R) -> R {
        look(&self.lock().hub)
    }

    /// A fresh tracking id.
    pub fn tracking_id(&self) -> String {
        self.lock().hub.tracking_id()
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<HubClock> {
        &self.inner.clock
    }

    /// When the hub was surrounded.
    pub fn opened(&self) -> Timestamp {
        self.inner.opened
    }

    /// How long ago that was, in the world's time.
    pub fn uptime(&self) -> Duration {
        self.inner.running.elapsed()
    }

    /// The fault plan.
    pub fn faults(&self) -> &FaultPlan {
        &self.inner.faults
    }

    /// The record of operations.
    pub fn activity(&self) -> &Activity {
        &self.inner.activity
    }

    /// What happened, in order.
    pub fn timeline(&self) -> &Arc<Timeline> {
        &self.inner.timeline
    }

    /// Where devices' files are.
    pub fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// Why the hub has stopped, if it has.
    pub fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    /// Says where endpoints of routes are that are files; without it there can be none. With
    /// `every_write_synced` a message is written once the disk has it.
    pub fn set_routes_folder(&self, path: PathBuf, every_write_synced: bool) {
        let name = self.inspect(|hub| hub.config().name.clone());
        self.inner.routes.open(path, &name, every_write_synced);
    }

    /// Where endpoints of routes are that are files.
    pub fn routes_folder(&self) -> Option<&Path> {
        self.inner.routes.folder()
    }

    /// What endpoints of routes did not take, by their names.
    pub fn route_failures(&self) -> BTreeMap<Arc<str>, Failures> {
        self.inner.routes.failures()
    }

    /// Writes what is routed to files; one task per hub runs this until it is cancelled.
    pub async fn run_routes(&self) {
        self.inner.routes.run().await;
    }

    /// Makes everything durable; the last call.
    pub fn close(&self) -> Result<(), StoreError> {
        self.inner.routes.drain();
        let mut core = self.lock();
        core.observers.clear();
        core.callers.clear();
        let result = core.store.close();
        core.broken
            .get_or_insert_with(|| "the hub has been closed".into());
        result
    }

    async fn perform<R>(
        &self,
        operation: Operation<'_>,
        f: impl FnOnce(&mut Core, &mut Cx<'_>) -> Result<R, Error>,
    ) -> Result<(R, Step), Error> {
        let took = Stopwatch::start();
        let result = self.attempt(operation, f).await;
        self.record(operation, took, result.as_ref().err());
        result
    }

    /// Tells of the end of an operation; whoever wants to know of operations is told here.
    fn record(&self, operation: Operation<'_>, took: Stopwatch, refusal: Option<&Error>) {
        let record = Record {
            clock: &self.inner.clock,
            kind: operation.kind,
            client: operation.client,
            items: operation.items,
            elapsed: took.elapsed(),
            refusal,
        };
        self.inner.activity.record(&record);
        self.inner.timeline.ended(&record);
    }

    /// An operation without its record.
    async fn attempt<R>(
        &self,
        operation: Operation<'_>,
        f: impl FnOnce(&mut Core, &mut Cx<'_>) -> Result<R, Error>,
    ) -> Result<(R, Step), Error> {
        let result = match self.admit(operation).await {
            Ok(()) => match self.apply(|core, cx| metered(core, cx, operation, f)) {
                Ok((reply, step, None)) => Ok((reply, step)),
                Ok((reply, step, Some(ticket))) => {
                    self.wait_durable(ticket).await.map(|()| (reply, step))
                }
                Err(error) => Err(error),
            },
            Err(refused) => Err(refused),
        };
        if let Ok((_, step)) = &result
            && self.inner.routes.is_busy()
        {
            // Boxed: hardly any operation waits here, and none carries the room for it.
            Box::pin(self.inner.routes.written(*step)).await;
        }
        result
    }

    /// What an operation passes through before the hub sees it: faults, then its throttle, which
    /// may let it wait on the hub's clock.
    async fn admit(&self, operation: Operation<'_>) -> Result<(), Error> {
        let clock = &*self.inner.clock;
        let timeline = &self.inner.timeline;
        self.inner.faults.gate(operation, clock, timeline).await?;
        if self.inner.message_size.is_none() {
            return Ok(());
        }
        let Some(throttle) = operation.kind.throttle() else {
            return Ok(());
        };
        let count = operation.load.count;
        let decision = {
            let mut core = self.lock();
            core.hub.throttle(clock.now(), throttle, count)
        };
        match decision {
            Decision::Pass => Ok(()),
            Decision::Wait(until) => {
                clock.sleep_until(until).await;
                Ok(())
            }
            Decision::Refuse(error) => Err(error),
        }
    }

    /// One hub operation under the lock. Answers its step and, unless its changes are durable
    /// already, the ticket to wait for.
    fn apply<R>(
        &self,
        f: impl FnOnce(&mut Core, &mut Cx<'_>) -> Result<R, Error>,
    ) -> Result<(R, Step, Option<Ticket>), Error> {
        let (mut f, mut reply) = (Some(f), None);
        let (step, ticket) = self.apply_erased(&mut |core, cx| {
            if let Some(f) = f.take() {
                reply = Some(f(core, cx)?);
            }
            Ok(())
        })?;
        let reply = reply.expect("what has been applied has answered");
        Ok((reply, step, ticket))
    }

    /// The same for every operation: there is one copy of this in the program, not one for each.
    fn apply_erased(
        &self,
        f: &mut dyn FnMut(&mut Core, &mut Cx<'_>) -> Result<(), Error>,
    ) -> Result<(Step, Option<Ticket>), Error> {
        let inner = &*self.inner;
        let mut guard = self.lock();
        let core = &mut *guard;
        if let Some(reason) = &core.broken {
            return Err(Error::new(ErrorCode::ServiceUnavailable, reason.clone()));
        }
        let observed = inner.observed.load(Ordering::Relaxed);
        let now = inner.clock.now();
        let mut outcome = Outcome::default();
        f(core, &mut Cx::new(now, &mut outcome))?;
        core.step.0 += 1;
        let step = core.step;
        let Outcome {
            changes,
            effects,
            notices,
        } = outcome;
        let observations = if observed {
            observations(&changes, &notices)
        } else {
            Vec::new()
        };
        let stored = if inner.timeline.is_asked_for(Interest::Stored) {
            What::stored(&changes)
        } else {
            Vec::new()
        };
        let ticket = if changes.is_empty() {
            // Nothing of its own to store; but it may rest on what is not durable yet.
            core.release
                .back()
                .map_or_else(|| core.store.durable(), |(ticket, ..)| *ticket)
        } else {
            match core.store.commit(changes) {
                Ok(ticket) => ticket,
                Err(error) => return Err(core.stop(&error)),
            }
        };
        core.tell_observers(observations);
        if observed && core.observers.is_empty() {
            // The last one has gone: what is for observers need not be made any more.
            inner.observed.store(false, Ordering::Relaxed);
        }
        let why = core.parting.take();
        if !(stored.is_empty() && notices.is_empty()) {
            let noticed = notices.into_iter().map(What::of);
            let noticed = noticed.map(|what| what.because(why.as_deref()));
            inner
                .timeline
                .push_all(now, stored.into_iter().chain(noticed));
        }
        core.release.push_back((ticket, step, effects));
        self.dispatch(core);
        let next = core.hub.next_deadline();
        inner.alarm.send_if_modified(|armed| {
            // A later deadline is noticed when the earlier one fires.
            let earlier = next.is_some_and(|next| armed.is_none_or(|armed| next < armed));
            let passed = armed.is_some_and(|armed| armed <= inner.clock.now());
            if earlier || (passed && *armed != next) {
                *armed = next;
                return true;
            }
            false
        });
        let pending = ticket > core.store.durable();
        Ok((step, pending.then_some(ticket)))
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.inner
            .core
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Core {
    /// The end of the hub: memory must not outrun the disk, so nobody is answered any more.
    fn stop(&mut self, error: &StoreError) -> Error {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "the store failed, the hub stops"
        );
        let reason = format!("the store failed: {error}");
        self.broken.get_or_insert_with(|| reason.clone());
        // Callers who wait for a device learn it from the closed channel.
        self.callers.clear();
        for (_, mailbox) in self.mailboxes.drain() {
            mailbox.close(ErrorCode::ServiceUnavailable);
        }
        let error = Error::new(ErrorCode::ServiceUnavailable, reason);
        self.end_all_readers(&error);
        error
    }
}

/// One operation, charged to the day's messages when it went through.
fn metered<R>(
    core: &mut Core,
    cx: &mut Cx<'_>,
    operation: Operation<'_>,
    f: impl FnOnce(&mut Core, &mut Cx<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    let messages = operation.load.messages;
    match operation.kind.quota() {
        Quota::Free => f(core, cx),
        Quota::Checked => {
            core.hub.check_quota(cx.now(), messages)?;
            f(core, cx)
        }
        Quota::Charged => {
            core.hub.check_quota(cx.now(), messages)?;
            let reply = f(core, cx)?;
            core.hub.charge_quota(cx, messages);
            Ok(reply)
        }
    }
}
