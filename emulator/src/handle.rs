//! The one narrow door to the hub: fault gate, lock, commit, release, record.

mod readers;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use iothub_hub::{
    CallId, Change, ConnectRequest, Connected, Cx, Decision, Effect, End, Entropy, Event, Hub,
    Notice, Outcome, PartitionId, Principal, QuotaMeter, ReaderId, SessionId, ThrottleMeter, Tier,
};
use iothub_protocol::method::{MethodRequest, MethodResponse};
use iothub_protocol::{ClientId, Clock, Error, ErrorCode, Timestamp};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::activity::{Activity, Operation, OperationKind, Record};
use crate::blobs::{BlobSettings, Blobs};
use crate::clock::{HubClock, Stopwatch};
use crate::faults::FaultPlan;
use crate::mailbox::{Mailbox, Step};
use crate::routes::{Failures, Sink};
use crate::store::{Store, StoreError, Ticket};
use crate::throttling::{Load, Quota};
use crate::timeline::{Interest, Timeline, What};

use readers::ReaderSignal;
pub use readers::{EventReader, PartitionState};

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
    /// Whether somebody observes.
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

/// How far commits survive a crash.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The last that does.
    durable: Ticket,
    /// Whether no further one ever will.
    ended: bool,
}

/// What an observer is told, after it has been stored. Best effort.
#[derive(Clone, Debug)]
pub enum Observation {
    /// Events were appended.
    Events(Arc<[Event]>),
    /// Something else happened.
    Notice(Notice),
}

/// A connection's presence in the hub.
#[derive(Debug)]
pub struct Presence {
    /// What the hub answered.
    pub connected: Connected,
    /// Where the hub puts what is for the connection.
    pub mailbox: Arc<Mailbox>,
}

/// Cancels a call when its caller goes away.
struct CallGuard<'a> {
    handle: &'a HubHandle,
    operation: Operation<'a>,
    took: Stopwatch,
    id: Option<CallId>,
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

    /// Lets a client in; the mailbox is there before the first delivery. `authenticate` runs under
    /// the same lock as the connect.
    pub async fn connect(
        &self,
        client: &ClientId,
        authenticate: impl FnOnce(&Hub, Timestamp) -> Result<ConnectRequest, Error>,
    ) -> Result<(Presence, Step), Error> {
        self.connect_to(client, Mailbox::default(), authenticate)
            .await
    }

    /// As [`HubHandle::connect`], for a connection that carries several clients: each one's mailbox
    /// rings the same bell.
    pub async fn connect_waking(
        &self,
        client: &ClientId,
        bell: Arc<Notify>,
        authenticate: impl FnOnce(&Hub, Timestamp) -> Result<ConnectRequest, Error>,
    ) -> Result<(Presence, Step), Error> {
        self.connect_to(client, Mailbox::waking(bell), authenticate)
            .await
    }

    async fn connect_to(
        &self,
        client: &ClientId,
        mailbox: Mailbox,
        authenticate: impl FnOnce(&Hub, Timestamp) -> Result<ConnectRequest, Error>,
    ) -> Result<(Presence, Step), Error> {
        self.perform(OperationKind::Connect.on(client), |core, cx| {
            let request = authenticate(&core.hub, cx.now())?;
            let connected = core.hub.connect(cx, request)?;
            let mailbox = Arc::new(mailbox);
            core.mailboxes.insert(connected.session, mailbox.clone());
            Ok(Presence { connected, mailbox })
        })
        .await
    }

    /// Ends a session whose connection is over.
    pub fn disconnect(&self, session: SessionId, client: &ClientId, end: End) {
        self.disconnect_because(session, client, end, None);
    }

    /// As [`HubHandle::disconnect`], and says for people why the connection is over.
    pub fn disconnect_because(
        &self,
        session: SessionId,
        client: &ClientId,
        end: End,
        why: Option<&str>,
    ) {
        let took = Stopwatch::start();
        let result = self.apply(|core, cx| {
            core.parting = why.map(Into::into);
            core.hub.disconnect(cx, session, end);
            core.mailboxes.remove(&session);
            Ok(())
        });
        let operation = OperationKind::Disconnect.on(client);
        self.record(operation, took, result.as_ref().err());
    }

    /// Calls a method and waits for its end. When the future is dropped, the call is cancelled.
    ///
    /// `authenticate` runs under the same lock as the call.
    pub async fn invoke_method(
        &self,
        client: &ClientId,
        request: MethodRequest,
        authenticate: impl FnOnce(&mut Hub, Timestamp) -> Result<Principal, Error>,
    ) -> Result<MethodResponse, Error> {
        let operation = OperationKind::InvokeMethod.on(client);
        self.invoke(operation, client, request, authenticate).await
    }

    /// As [`HubHandle::invoke_method`], for the command of a digital twin, which a device takes for
    /// a method.
    pub async fn invoke_command(
        &self,
        client: &ClientId,
        request: MethodRequest,
        authenticate: impl FnOnce(&mut Hub, Timestamp) -> Result<Principal, Error>,
    ) -> Result<MethodResponse, Error> {
        let operation = OperationKind::InvokeCommand.on(client);
        self.invoke(operation, client, request, authenticate).await
    }

    async fn invoke(
        &self,
        operation: Operation<'_>,
        client: &ClientId,
        request: MethodRequest,
        authenticate: impl FnOnce(&mut Hub, Timestamp) -> Result<Principal, Error>,
    ) -> Result<MethodResponse, Error> {
        let size = request.payload.as_ref().map_or(0, Bytes::len);
        let operation = match self.message_size() {
            None => operation,
            Some(unit) => operation.weighing(Load::of_method(unit, size)),
        };
        let took = Stopwatch::start();
        let sent = self
            .attempt(operation, |core, cx| {
                let caller = authenticate(&mut core.hub, cx.now())?;
                let id = core.hub.invoke_method(cx, &caller, client, request)?;
                let (sender, receiver) = oneshot::channel();
                core.callers.insert(id, sender);
                Ok((receiver, id))
            })
            .await;
        let (answer, id) = match sent {
            Ok((sent, _)) => sent,
            Err(refused) => {
                self.record(operation, took, Some(&refused));
                return Err(refused);
            }
        };
        let mut guard = CallGuard {
            handle: self,
            operation,
            took,
            id: Some(id),
        };
        let result = answer.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorCode::ServiceUnavailable,
                "the hub is stopping",
            ))
        });
        guard.id = None;
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

    /// Tells what happens from now on. What does not fit into `capacity` is dropped and counted.
    pub fn observe(&self, capacity: usize) -> mpsc::Receiver<Observation> {
        let (sender, receiver) = mpsc::channel(capacity);
        self.lock().observers.push(sender);
        self.inner.observed.store(true, Ordering::Relaxed);
        receiver
    }

    /// How many observe, and how many observations were dropped because they were slow.
    pub fn observers(&self) -> (u64, u64) {
        let core = self.lock();
        let open = core.observers.iter().filter(|it| !it.is_closed());
        (open.count() as u64, core.dropped_observations)
    }

    /// How many observations were dropped because an observer was slow.
    pub fn dropped_observations(&self) -> u64 {
        self.lock().dropped_observations
    }

    /// Moves the time forward. Deadlines on the way fall due in order, and each one settles,
    /// deliveries written, before the next.
    pub async fn advance(&self, by: Duration) {
        let clock = self.clock().clone();
        let target = clock.now() + by;
        while let Some(next) = self
            .inspect(Hub::next_deadline)
            .filter(|&next| next <= target)
        {
            clock.advance_to(next);
            if !self.fire_due() {
                break;
            }
            self.settle().await;
        }
        clock.advance_to(target);
        self.settle().await;
    }

    /// Waits until every delivery has been taken, for a bounded number of turns: a peer that does
    /// not read cannot hold the time.
    async fn settle(&self) {
        const TURNS: usize = 64;
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            let settled = self
                .lock()
                .mailboxes
                .values()
                .all(|mailbox| mailbox.is_empty());
            if settled {
                break;
            }
        }
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

    /// Sleeps from deadline to deadline; one task per hub runs this until it is cancelled.
    pub async fn run_alarm(&self) {
        let mut next = self.inner.alarm.subscribe();
        loop {
            let deadline = *next.borrow_and_update();
            tokio::select! {
                () = self.sleep_until(deadline), if deadline.is_some() => {
                    if !self.fire_due() {
                        return;
                    }
                    // What is done in parts leaves room for others in between.
                    if self.inspect(Hub::next_deadline).is_some_and(|next| next <= self.clock().now()) {
                        crate::clock::pause().await;
                    }
                }
                changed = next.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn sleep_until(&self, deadline: Option<Timestamp>) {
        if let Some(deadline) = deadline {
            self.inner.clock.sleep_until(deadline).await;
        }
    }

    /// Does what is due; `false` when the hub has stopped.
    fn fire_due(&self) -> bool {
        let result = self.apply(|core, cx| {
            core.hub.fire_due(cx);
            Ok(())
        });
        if let Err(error) = &result {
            tracing::debug!(%error, "deadlines do not fire any more");
        }
        result.is_ok()
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

    /// Lets out what is durable, in order.
    fn dispatch(&self, core: &mut Core) {
        let durable = core.store.durable();
        let mut appended = false;
        let mut file_notifications = false;
        let mut registry_job = false;
        while let Some((ticket, ..)) = core.release.front()
            && *ticket <= durable
        {
            let (_, step, effects) = core
                .release
                .pop_front()
                .expect("the front has just been looked at");
            for effect in effects {
                match effect {
                    Effect::Deliver(session, delivery) => {
                        if let Some(mailbox) = core.mailboxes.get(&session) {
                            mailbox.push(step, delivery);
                        }
                    }
                    Effect::Complete(call, result) => {
                        if let Some(caller) = core.callers.remove(&call) {
                            // A caller that has just gone away needs no answer.
                            let _ = caller.send(result);
                        }
                    }
                    Effect::EventsAppended(partition) => {
                        appended = true;
                        core.wake_readers(partition);
                    }
                    Effect::ReaderEnded(reader, error) => core.end_reader(reader, error),
                    Effect::Route(endpoint, events) => {
                        self.inner.routes.push(step, endpoint, events);
                    }
                    Effect::FeedbackReady => {
                        self.inner.feedback_ready.send_modify(|count| *count += 1);
                    }
                    Effect::FileNotificationsReady => file_notifications = true,
                    Effect::RegistryJobReady => registry_job = true,
                    Effect::Disconnect(session, code) => {
                        if let Some(mailbox) = core.mailboxes.remove(&session) {
                            mailbox.close(code);
                        }
                    }
                }
            }
        }
        if appended {
            self.inner.appended.send_modify(|count| *count += 1);
        }
        if registry_job {
            let ready = &self.inner.registry_job;
            ready.send_modify(|count| *count += 1);
        }
        if file_notifications {
            let ready = &self.inner.file_notifications;
            ready.send_modify(|count| *count += 1);
        }
    }

    /// What a store calls when more has become durable, or nothing more can.
    fn release_durable(&self) {
        let mut core = self.lock();
        self.dispatch(&mut core);
        let durable = core.store.durable();
        let ended = match core.store.check() {
            Ok(()) => false,
            Err(error) => {
                core.stop(&error);
                true
            }
        };
        drop(core);
        self.inner
            .progress
            .send_replace(Progress { durable, ended });
    }

    async fn wait_durable(&self, ticket: Ticket) -> Result<(), Error> {
        let lost = || {
            Error::new(
                ErrorCode::ServiceUnavailable,
                "the store stopped before the change was safe",
            )
        };
        let mut progress = self.inner.progress.subscribe();
        let reached = |progress: &Progress| progress.durable >= ticket || progress.ended;
        let progress = progress.wait_for(reached).await.map_err(|_| lost())?;
        if progress.durable >= ticket {
            Ok(())
        } else {
            Err(lost())
        }
    }

    fn cancel_call(&self, id: CallId) {
        self.lock().callers.remove(&id);
        let result = self.apply(|core, _| {
            core.hub.cancel_call(id);
            Ok(())
        });
        if let Err(error) = result {
            tracing::debug!(%error, "a call was not cancelled");
        }
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

    fn tell_observers(&mut self, observations: Vec<Observation>) {
        for observation in observations {
            let mut dropped = 0;
            self.observers
                .retain(|observer| match observer.try_send(observation.clone()) {
                    Ok(()) => true,
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        dropped += 1;
                        true
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => false,
                });
            self.dropped_observations += dropped;
        }
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

/// What observers are told of an operation.
fn observations(changes: &[Change], notices: &[Notice]) -> Vec<Observation> {
    let events = changes.iter().filter_map(|change| match change {
        Change::AppendEvents(events) => Some(Observation::Events(events.as_slice().into())),
        Change::PutIdentity(_)
        | Change::DeleteIdentity(_)
        | Change::PutTwin(_)
        | Change::PutSubscriptions(..)
        | Change::DeleteSubscriptions(_)
        | Change::PutPartitionHead(..)
        | Change::PutC2d(_)
        | Change::DeleteC2d(..)
        | Change::PutDocument(_)
        | Change::DeleteDocument(..)
        | Change::PutEntropy(_)
        | Change::Reset => None,
    });
    events
        .chain(notices.iter().cloned().map(Observation::Notice))
        .collect()
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.handle.cancel_call(id);
            let gone = Error::new(ErrorCode::RequestCanceled, "the caller has gone away");
            self.handle.record(self.operation, self.took, Some(&gone));
        }
    }
}
