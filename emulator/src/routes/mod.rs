//! The endpoints of message routes that are files: a queue from the hub, and its writing.
//!
//! A message is queued once what the hub has decided is durable, and the operation that brought it
//! is answered when it is written: an acknowledged message is in its endpoints, or has been counted
//! as failed. A slow disk therefore holds up those who send to it and nobody else, and what waits
//! is bounded by how many of them there are. A crash in between leaves the message
//! unacknowledged, and its sender sends it again.

mod document;
mod file;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use iothub_hub::{Endpoint, Event};
use tokio::sync::{Notify, watch};

use crate::mailbox::Step;

pub(crate) use document::EventDocument;

/// Writes what is routed to files.
pub(crate) struct Sink {
    folder: OnceLock<Folder>,
    /// Guards what waits; held to add to it or to take from it.
    state: Mutex<State>,
    /// How many steps wait, for a look without the lock.
    waiting: AtomicUsize,
    /// Guards the files; held while they are written.
    writing: Mutex<()>,
    /// Whether [`Sink::run`] writes; otherwise whoever waits does.
    running: AtomicBool,
    wake: Notify,
    /// Bumped when something has been written, or [`Sink::run`] has ended.
    turns: watch::Sender<u64>,
    /// Guards the counts; held for a change or a look.
    failures: Mutex<BTreeMap<Arc<str>, Failures>>,
}

/// Where the files are, and how sure a write has to be.
struct Folder {
    path: PathBuf,
    hub_name: String,
    every_write_synced: bool,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Load>,
    /// Steps with something in the queue or in writing.
    pending: BTreeSet<Step>,
}

/// What one operation sends to one endpoint.
struct Load {
    step: Step,
    endpoint: Arc<Endpoint>,
    events: Vec<Event>,
}

/// What an endpoint did not take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Messages that were not written.
    pub messages: u64,
    /// Why the last of them was not.
    pub last: String,
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            folder: OnceLock::new(),
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            writing: Mutex::new(()),
            running: AtomicBool::new(false),
            wake: Notify::new(),
            turns: watch::Sender::new(0),
            failures: Mutex::default(),
        }
    }
}

impl Sink {
    /// Says where the files are; to be called once.
    pub(crate) fn open(&self, path: PathBuf, hub_name: &str, every_write_synced: bool) {
        // A second folder is not looked at: messages stay where the first ones are.
        let _ = self.folder.set(Folder {
            path,
            hub_name: hub_name.to_owned(),
            every_write_synced,
        });
    }

    /// Where the files are, if there are any.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.get().map(|folder| folder.path.as_path())
    }

    /// Queues what a step of the hub sends to an endpoint.
    pub(crate) fn push(&self, step: Step, endpoint: Arc<Endpoint>, events: Vec<Event>) {
        let mut state = self.lock();
        state.queue.push_back(Load {
            step,
            endpoint,
            events,
        });
        state.pending.insert(step);
        self.waiting.store(state.pending.len(), Ordering::SeqCst);
        drop(state);
        self.wake.notify_one();
    }

    /// Whether anything at all waits to be written.
    pub(crate) fn is_busy(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Waits until what the step sent is written. At once when it sent nothing.
    pub(crate) async fn written(self: &Arc<Self>, step: Step) {
        let mut turns = self.turns.subscribe();
        while self.lock().pending.contains(&step) {
            if self.running.load(Ordering::SeqCst) {
                // The sender is this sink's own and outlives the wait.
                let _ = turns.changed().await;
            } else {
                self.drain_aside().await;
            }
        }
    }

    /// Writes what comes until the future is dropped.
    pub(crate) async fn run(self: &Arc<Self>) {
        let running = Running::begin(self);
        loop {
            running.0.wake.notified().await;
            self.drain_aside().await;
        }
    }

    /// Writes everything that waits. Blocks on the disk.
    pub(crate) fn drain(&self) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let batch = std::mem::take(&mut self.lock().queue);
            if batch.is_empty() {
                return;
            }
            for load in &batch {
                if let Err(reason) = self.write(load) {
                    self.note_failure(load, reason);
                }
            }
            let mut state = self.lock();
            let still: BTreeSet<Step> = state.queue.iter().map(|load| load.step).collect();
            state.pending = still;
            self.waiting.store(state.pending.len(), Ordering::SeqCst);
            drop(state);
            self.turns.send_modify(|turn| *turn += 1);
        }
    }

    /// What endpoints did not take, by their names.
    pub(crate) fn failures(&self) -> BTreeMap<Arc<str>, Failures> {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn drain_aside(self: &Arc<Self>) {
        let sink = self.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || sink.drain()).await {
            tracing::error!(%error, "writing routed messages broke off");
        }
    }

    fn write(&self, load: &Load) -> Result<(), String> {
        let folder = self.folder.get().ok_or("there is no folder for files")?;
        file::append(folder, &load.endpoint, &load.events).map_err(|error| error.to_string())
    }

    fn note_failure(&self, load: &Load, reason: String) {
        let endpoint = load.endpoint.name.clone();
        tracing::error!(
            endpoint = &*endpoint,
            messages = load.events.len(),
            reason,
            "routed messages were not written"
        );
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = failures.entry(endpoint).or_default();
        failures.messages += load.events.len() as u64;
        failures.last = reason;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that [`Sink::run`] writes while it lives.
struct Running<'a>(&'a Sink);

impl<'a> Running<'a> {
    fn begin(sink: &'a Sink) -> Self {
        sink.running.store(true, Ordering::SeqCst);
        Self(sink)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::SeqCst);
        // Those who wait go on by themselves.
        self.0.turns.send_modify(|turn| *turn += 1);
    }
}
