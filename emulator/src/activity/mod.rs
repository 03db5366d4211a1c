//! One record per operation, and what it feeds: the log line, the counters, the latencies, the
//! ranking, the spans for a collector of traces.

mod histogram;
mod operations;
mod ranking;
mod spans;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use iothub_protocol::{ClientId, Clock, Error, ErrorCode, Timestamp};

use crate::clock::HubClock;
use histogram::Histogram;
pub use histogram::{BOUNDS, Latencies};
pub use operations::{Operation, OperationKind};
use ranking::Rankings;
pub use ranking::{Busy, Ranked, Slow, Watch};
use spans::Spans;
pub(crate) use spans::caused_by;
pub use spans::{Span, SpanCounts};
use tokio::sync::mpsc;

/// An operation that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The hub's clock, which only those ask who keep the record: hardly anybody does.
    pub clock: &'a HubClock,
    /// Which operation.
    pub kind: OperationKind,
    /// The device or module, where it was about one.
    pub client: Option<&'a ClientId>,
    /// How many things it was about: the messages of a burst; otherwise one.
    pub items: u64,
    /// How long it took, by a clock that nobody can stop: waiting for a fault, a throttle, a disk
    /// and the device included.
    pub elapsed: Duration,
    /// Why it was refused, if it was.
    pub refusal: Option<&'a Error>,
}

impl Record<'_> {
    /// When it ended, by the hub's clock.
    pub fn at(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Counts operations and what was asked for and is not emulated.
#[derive(Debug)]
pub struct Activity {
    /// By the number of the operation.
    meters: Vec<Meter>,
    /// Guards what was refused and why, and that nobody reads the meters while a refusal is half
    /// counted; held for one addition, and to read the meters.
    refusals: Mutex<Refusals>,
    /// Guards the counts of things that are not emulated; held for one addition.
    not_emulated: Mutex<BTreeMap<String, u64>>,
    /// All of them together, those included that are not told apart any more.
    not_emulated_requests: AtomicU64,
    rankings: Rankings,
    spans: Spans,
    /// How many read the numbers as a stream.
    watchers: AtomicU64,
}

/// What happened to one operation so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tally {
    /// Which operation.
    pub kind: OperationKind,
    /// How often it went through.
    pub succeeded: u64,
    /// How often it was refused.
    pub refused: u64,
    /// How many things those that went through were about, such as messages.
    pub items: u64,
    /// How long it took, refused or not.
    pub latencies: Latencies,
}

/// A refusal that is remembered for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// When, by the hub's clock.
    pub at: Timestamp,
    /// Which operation.
    pub kind: OperationKind,
    /// The device or module, where it was about one.
    pub client: Option<ClientId>,
    /// What was answered.
    pub code: ErrorCode,
    /// Why; at most 200 characters.
    pub detail: String,
}

/// Only what hardly ever changes is behind a lock: an operation that goes through touches two
/// numbers here, a burst three.
#[derive(Debug, Default)]
struct Meter {
    latency: Histogram,
    refused: AtomicU64,
    /// What operations that went through were about beyond one each.
    further_items: AtomicU64,
}

#[derive(Debug, Default)]
struct Refusals {
    by_code: BTreeMap<(OperationKind, ErrorCode), u64>,
    last: VecDeque<Refusal>,
}

/// Distinct things that are not emulated are counted up to this many, so that a hostile peer
/// cannot fill the memory with invented paths.
const NOT_EMULATED_CAPACITY: usize = 1000;
/// How many refusals are remembered.
const LAST_REFUSALS: usize = 20;
/// Characters of a refusal that are remembered.
const DETAIL_LIMIT: usize = 200;

impl Default for Activity {
    fn default() -> Self {
        Self {
            meters: OperationKind::ALL
                .iter()
                .map(|_| Meter::default())
                .collect(),
            refusals: Mutex::default(),
            not_emulated: Mutex::default(),
            not_emulated_requests: AtomicU64::new(0),
            rankings: Rankings::default(),
            spans: Spans::default(),
            watchers: AtomicU64::new(0),
        }
    }
}

impl Activity {
    /// Takes the record of an operation in.
    pub(crate) fn record(&self, record: &Record<'_>) {
        let meter = &self.meters[record.kind as usize];
        match record.refusal {
            None => {
                meter.latency.record(record.elapsed);
                if record.items > 1 {
                    let further = record.items - 1;
                    meter.further_items.fetch_add(further, Ordering::Relaxed);
                }
            }
            Some(error) => {
                let mut refusals = lock(&self.refusals);
                meter.latency.record(record.elapsed);
                meter.refused.fetch_add(1, Ordering::Relaxed);
                refusals.push(record, error);
            }
        }
        self.rankings.record(record);
        self.spans.record(record);
        log(record);
    }

    /// Records that something was asked for that is not emulated.
    pub fn record_not_emulated(&self, what: &str) {
        tracing::warn!("not emulated: {what}");
        self.not_emulated_requests.fetch_add(1, Ordering::Relaxed);
        let mut counts = lock(&self.not_emulated);
        if let Some(count) = counts.get_mut(what) {
            *count += 1;
        } else if counts.len() < NOT_EMULATED_CAPACITY {
            counts.insert(what.to_owned(), 1);
        }
    }

    /// What was asked for and is not emulated, with how often.
    pub fn not_emulated(&self) -> BTreeMap<String, u64> {
        lock(&self.not_emulated).clone()
    }

    /// How often something was asked for that is not emulated.
    pub fn not_emulated_requests(&self) -> u64 {
        self.not_emulated_requests.load(Ordering::Relaxed)
    }

    /// How often each operation succeeded and was refused.
    pub fn counts(&self) -> impl Iterator<Item = (OperationKind, u64, u64)> + '_ {
        let tallies = self.tallies().into_iter();
        tallies.map(|tally| (tally.kind, tally.succeeded, tally.refused))
    }

    /// What happened to each operation. No count is ever less than it was before.
    pub fn tallies(&self) -> Vec<Tally> {
        let _whole = lock(&self.refusals);
        let all = OperationKind::ALL.iter().zip(&self.meters);
        all.map(|(&kind, meter)| {
            let refused = meter.refused.load(Ordering::Relaxed);
            let further = meter.further_items.load(Ordering::Relaxed);
            let latencies = meter.latency.read();
            let succeeded = latencies.count().saturating_sub(refused);
            Tally {
                kind,
                succeeded,
                refused,
                items: succeeded + further,
                latencies,
            }
        })
        .collect()
    }

    /// How often each operation was refused, by what was answered.
    pub fn refusals(&self) -> BTreeMap<(OperationKind, ErrorCode), u64> {
        lock(&self.refusals).by_code.clone()
    }

    /// The newest refusals, the oldest of them first.
    pub fn last_refusals(&self) -> Vec<Refusal> {
        lock(&self.refusals).last.iter().cloned().collect()
    }

    /// Ranks clients and operations from now on, until the watch is dropped.
    pub fn watch(&self) -> Watch {
        self.rankings.watch()
    }

    /// Operations as spans from now on, of which at most `capacity` wait; `None`: somebody takes
    /// them already.
    pub(crate) fn export_spans(&self, capacity: usize) -> Option<mpsc::Receiver<Span>> {
        self.spans.open(capacity)
    }

    /// Whether spans are taken, so that it is worth asking what has caused an operation.
    pub(crate) fn exports_spans(&self) -> bool {
        self.spans.is_open()
    }

    /// Counts spans that were taken and that were lost.
    pub(crate) fn count_spans(&self, exported: u64, dropped: u64) {
        self.spans.count(exported, dropped);
    }

    /// How many spans were taken and how many lost.
    pub fn span_counts(&self) -> SpanCounts {
        self.spans.counts()
    }

    /// Somebody reads the numbers as a stream from now on, or no longer.
    pub(crate) fn count_watcher(&self, comes: bool) {
        if comes {
            self.watchers.fetch_add(1, Ordering::Relaxed);
        } else {
            self.watchers.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many read the numbers as a stream.
    pub fn watchers(&self) -> u64 {
        self.watchers.load(Ordering::Relaxed)
    }
}

impl Refusals {
    fn push(&mut self, record: &Record<'_>, error: &Error) {
        *self.by_code.entry((record.kind, error.code)).or_default() += 1;
        if self.last.len() == LAST_REFUSALS {
            self.last.pop_front();
        }
        self.last.push_back(Refusal {
            at: record.at(),
            kind: record.kind,
            client: record.client.cloned(),
            code: error.code,
            detail: in_brief(error.message()),
        });
    }
}

/// The log line of an operation.
fn log(record: &Record<'_>) {
    let operation = record.kind.name();
    let client = record.client.map(tracing::field::display);
    let items = record.items;
    match record.refusal {
        None => {
            let elapsed_us = microseconds(record.elapsed);
            tracing::debug!(operation, client, items, elapsed_us, "done");
        }
        Some(error) => {
            let elapsed_us = microseconds(record.elapsed);
            tracing::info!(operation, client, elapsed_us, %error, "refused");
        }
    }
}

/// What is remembered of a refusal's detail.
fn in_brief(detail: &str) -> String {
    detail.chars().take(DETAIL_LIMIT).collect()
}

/// Whole microseconds, as people and dashboards read them.
pub(crate) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(
        clock: &'a HubClock,
        kind: OperationKind,
        refusal: Option<&'a Error>,
    ) -> Record<'a> {
        Record {
            clock,
            kind,
            client: None,
            items: 1,
            elapsed: Duration::from_micros(15),
            refusal,
        }
    }

    fn tally(activity: &Activity, kind: OperationKind) -> Tally {
        let mut all = activity.tallies().into_iter();
        all.find(|tally| tally.kind == kind).unwrap()
    }

    #[test]
    fn an_operation_counts_once_with_all_that_it_was_about() {
        let activity = Activity::default();
        let clock = HubClock::frozen(Timestamp::UNIX_EPOCH);
        let single = record(&clock, OperationKind::SendTelemetry, None);
        let burst = Record {
            items: 64,
            ..single
        };

        activity.record(&burst);
        activity.record(&single);

        let tally = tally(&activity, OperationKind::SendTelemetry);
        assert_eq!((tally.succeeded, tally.refused, tally.items), (2, 0, 65));
        assert_eq!(tally.latencies.count(), 2);
    }

    #[test]
    fn more_than_is_told_apart_is_counted_all_the_same() {
        let activity = Activity::default();

        for number in 0..NOT_EMULATED_CAPACITY + 5 {
            activity.record_not_emulated(&format!("GET /{number}"));
        }

        assert_eq!(activity.not_emulated().len(), NOT_EMULATED_CAPACITY);
        let all = NOT_EMULATED_CAPACITY as u64 + 5;
        assert_eq!(activity.not_emulated_requests(), all);
    }

    #[test]
    fn refusals_are_counted_by_code_and_the_last_ones_remembered() {
        let activity = Activity::default();
        let long = "x".repeat(1000);
        let error = Error::new(ErrorCode::DeviceNotOnline, long);
        let clock = HubClock::frozen(Timestamp::UNIX_EPOCH);

        for _ in 0..30 {
            activity.record(&record(&clock, OperationKind::InvokeMethod, Some(&error)));
        }

        let counted = activity.refusals();
        let key = (OperationKind::InvokeMethod, ErrorCode::DeviceNotOnline);
        assert_eq!(counted.get(&key), Some(&30));
        let last = activity.last_refusals();
        assert_eq!(last.len(), LAST_REFUSALS);
        assert!(
            last.iter()
                .all(|refusal| refusal.detail.len() == DETAIL_LIMIT)
        );
        let tally = tally(&activity, OperationKind::InvokeMethod);
        assert_eq!((tally.succeeded, tally.refused, tally.items), (0, 30, 0));
    }
}
