//! Getting what was written to the disk, from a thread.

use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config::Durability;
use crate::store::{OnDurable, StoreError, Ticket};

/// How long a commit may be away from the disk under [`Durability::Periodic`].
const INTERVAL: Duration = Duration::from_secs(1);

/// What was written and is not on the disk yet. Shared by the store and its threads.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// Guards the lists below; never held during IO.
    state: Mutex<State>,
    /// There is something to do for the thread.
    wake: Condvar,
    /// A round is over.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    dirty: Vec<Arc<File>>,
    written: Ticket,
    synced: Ticket,
    /// Whether somebody is in a round, so that `synced` grows in order.
    busy: bool,
    closing: bool,
    /// After a sync that failed, nobody knows what is on the disk, and asking again does not help.
    failed: Option<String>,
}

/// The thread that syncs. Dropping it syncs what is left and waits for it.
pub(super) struct Syncer {
    sync: Arc<Unsynced>,
    call: Arc<Mutex<Option<Arc<OnDurable>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Unsynced {
    /// A file was written to. It is synced with the next commit.
    pub(super) fn mark(&self, file: &Arc<File>) {
        let mut state = self.lock();
        if state.failed.is_none() && !state.dirty.iter().any(|known| Arc::ptr_eq(known, file)) {
            state.dirty.push(file.clone());
        }
    }

    /// A commit was written, all of it. Answers its ticket.
    pub(super) fn committed(&self) -> Ticket {
        let mut state = self.lock();
        state.written.0 += 1;
        if state.written.0 == state.synced.0 + 1 {
            self.wake.notify_one();
        }
        state.written
    }

    /// The last commit that was written.
    pub(super) fn written(&self) -> Ticket {
        self.lock().written
    }

    /// The last commit that is on the disk, and all before it.
    pub(super) fn synced(&self) -> Ticket {
        self.lock().synced
    }

    /// Refuses once a sync has failed.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.lock().check()
    }

    /// Syncs everything that was written before the call.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        while state.busy {
            state = self.wait(&self.done, state);
        }
        state.check()?;
        let files = std::mem::take(&mut state.dirty);
        let ticket = state.written;
        state.busy = true;
        drop(state);
        let result = files.iter().try_for_each(|file| sync(file));
        let mut state = self.lock();
        state.busy = false;
        match result {
            Ok(()) => state.synced = ticket,
            Err(error) => {
                tracing::error!(%error, "syncing files failed, the store stops");
                state.dirty.clear();
                state.failed = Some(format!("syncing files failed: {error}"));
            }
        }
        self.done.notify_all();
        state.check()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wait<'a>(&self, on: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        on.wait(state)
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn check(&self) -> Result<(), StoreError> {
        match &self.failed {
            None => Ok(()),
            Some(reason) => Err(StoreError::Stopped {
                reason: reason.clone(),
            }),
        }
    }

    fn has_work(&self) -> bool {
        self.failed.is_none() && self.synced < self.written
    }
}

impl Syncer {
    /// Starts the thread.
    pub(super) fn start(sync: Arc<Unsynced>, durability: Durability) -> io::Result<Self> {
        let call = Arc::new(Mutex::new(None));
        let thread = {
            let (sync, call) = (sync.clone(), call.clone());
            thread::Builder::new()
                .name("store-sync".into())
                .spawn(move || run(&sync, &call, durability))?
        };
        Ok(Self {
            sync,
            call,
            thread: Some(thread),
        })
    }

    /// Whom to call after each round that made more durable.
    pub(super) fn on_durable(&self, call: OnDurable) {
        *self
            .call
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Arc::new(call));
    }

    /// Syncs everything and lets the thread end once it has told so. Does not wait for that: who
    /// is told may need a lock that the caller holds.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        let result = self.sync.flush();
        self.sync.lock().closing = true;
        self.sync.wake.notify_all();
        result
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        // A failure is in the log, and there is nobody left to tell.
        let _ = self.close();
        // The thread itself may be the last one to hold the store, while it tells somebody.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

fn run(sync: &Unsynced, call: &Mutex<Option<Arc<OnDurable>>>, durability: Durability) {
    let mut told = Ticket::default();
    loop {
        let mut state = sync.lock();
        while !state.has_work() && !state.closing && state.synced == told {
            state = sync.wait(&sync.wake, state);
        }
        if durability == Durability::Periodic && state.has_work() {
            // The machine's own time: the disk knows no other.
            let waited = sync
                .wake
                .wait_timeout_while(state, INTERVAL, |state| !state.closing);
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        let (has_work, closing) = (state.has_work(), state.closing);
        drop(state);
        // A failure is kept for the next commit, and the thread goes on until it is closed.
        let failed = has_work && sync.flush().is_err();
        let synced = sync.synced();
        if synced != told || failed {
            told = synced;
            let call = call
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
                .clone();
            if let Some(call) = call.filter(|_| durability == Durability::EveryCommit) {
                call();
            }
        } else if closing {
            return;
        }
    }
}

fn sync(file: &File) -> io::Result<()> {
    match file.sync_data() {
        // A directory, on systems that cannot.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn commits_become_durable_in_order_and_the_listener_is_told() {
        let sync = Arc::new(Unsynced::default());
        let syncer = Syncer::start(sync.clone(), Durability::EveryCommit).unwrap();
        let (sender, told) = mpsc::sync_channel(1000);
        {
            let sync = sync.clone();
            syncer.on_durable(Box::new(move || sender.send(sync.synced()).unwrap()));
        }
        let file = Arc::new(tempfile::tempfile().unwrap());

        for _ in 0..100 {
            sync.mark(&file);
            sync.committed();
        }
        drop(syncer);

        let told: Vec<_> = told.iter().collect();
        assert!(told.is_sorted(), "{told:?}");
        assert_eq!(told.last(), Some(&Ticket(100)));
    }

    #[test]
    fn closing_does_not_wait_for_a_listener_that_waits_for_the_closer() {
        let sync = Arc::new(Unsynced::default());
        let syncer = Syncer::start(sync.clone(), Durability::EveryCommit).unwrap();
        let lock = Arc::new(Mutex::new(()));
        {
            let lock = lock.clone();
            syncer.on_durable(Box::new(move || drop(lock.lock().unwrap())));
        }

        let guard = lock.lock().unwrap();
        sync.committed();
        while sync.synced() < Ticket(1) {
            thread::yield_now();
        }
        sync.committed();
        syncer.close().unwrap();

        assert_eq!(sync.synced(), Ticket(2));
        drop(guard);
    }
}
