//! Operations for a collector of traces, when one is set: a bounded queue that drops and counts
//! what does not fit.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use iothub_protocol::http::TraceParent;
use iothub_protocol::{ClientId, ErrorCode, Timestamp};
use tokio::sync::mpsc;

use super::{OperationKind, Record, in_brief};
use crate::clock;

tokio::task_local! {
    /// The span of the caller's that what this task does belongs to.
    static PARENT: TraceParent;
}

/// An operation as a span of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// When it ended, by the world's clock.
    pub ended: Timestamp,
    /// When it ended, by the hub's clock.
    pub at: Timestamp,
    /// Which operation.
    pub kind: OperationKind,
    /// The device or module, where it was about one.
    pub client: Option<ClientId>,
    /// How many things it was about.
    pub items: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Why it was refused, if it was.
    pub refusal: Option<(ErrorCode, String)>,
    /// What caused it, if the caller said so.
    pub parent: Option<TraceParent>,
}

/// How it goes with the export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// Spans that the collector has taken.
    pub exported: u64,
    /// Spans that were lost: the queue was full, or the collector did not take them.
    pub dropped: u64,
}

#[derive(Debug, Default)]
pub(super) struct Spans {
    /// There once somebody exports.
    queue: OnceLock<mpsc::Sender<Span>>,
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// Does what belongs to a span of the caller's.
pub(crate) async fn caused_by<R>(parent: Option<TraceParent>, work: impl Future<Output = R>) -> R {
    match parent {
        None => work.await,
        Some(parent) => PARENT.scope(parent, work).await,
    }
}

impl Spans {
    /// What is recorded from now on; at most `capacity` wait. `None`: somebody exports already.
    pub(super) fn open(&self, capacity: usize) -> Option<mpsc::Receiver<Span>> {
        let (sender, receiver) = mpsc::channel(capacity);
        self.queue.set(sender).ok().map(|()| receiver)
    }

    pub(super) fn is_open(&self) -> bool {
        self.queue.get().is_some()
    }

    pub(super) fn record(&self, record: &Record<'_>) {
        let Some(queue) = self.queue.get() else {
            return;
        };
        let parent = PARENT.try_with(|parent| *parent).ok();
        if parent.is_some_and(|parent| !parent.sampled) {
            return;
        }
        match queue.try_reserve() {
            Ok(place) => place.send(Span {
                ended: clock::world_now(),
                at: record.at(),
                kind: record.kind,
                client: record.client.cloned(),
                items: record.items,
                elapsed: record.elapsed,
                refusal: record
                    .refusal
                    .map(|error| (error.code, in_brief(error.message()))),
                parent,
            }),
            Err(_) => self.count(0, 1),
        }
    }

    pub(super) fn count(&self, exported: u64, dropped: u64) {
        self.exported.fetch_add(exported, Ordering::Relaxed);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> SpanCounts {
        SpanCounts {
            exported: self.exported.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}
