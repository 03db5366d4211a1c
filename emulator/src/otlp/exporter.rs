//! The one task that exports: spans in batches, metrics from time to time. Nothing waits for it.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::collector::{Collector, Failure};
use super::{OtlpSettings, document};
use crate::activity::Span;
use crate::clock::{self, Stopwatch};
use crate::handle::HubHandle;
use crate::metrics;
use crate::stats::Totals;

/// Spans that wait; what is more is dropped and counted.
const QUEUE: usize = 8192;
/// Spans of one request.
const BATCH: usize = 512;
/// How long a span waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// How long a collector that has failed is left alone, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the last batch may take when the emulator stops.
const FAREWELL: Duration = Duration::from_millis(500);

struct Exporter {
    handle: HubHandle,
    collector: Collector,
    spans: mpsc::Receiver<Span>,
    batch: Vec<Span>,
    /// Since the oldest of the batch came; `None`: there is none.
    waiting: Option<Stopwatch>,
    /// Since the last metrics.
    told: Stopwatch,
    /// When the process began, by the world's clock.
    began: iothub_protocol::Timestamp,
    /// How long the collector is left alone after the next failure; `None`: it answers.
    pause: Option<Duration>,
}

/// Exports until `stop`.
pub(crate) async fn run(handle: HubHandle, settings: OtlpSettings, stop: CancellationToken) {
    let Some(spans) = handle.activity().export_spans(QUEUE) else {
        return;
    };
    let mut exporter = Exporter {
        handle,
        collector: Collector::new(settings),
        spans,
        batch: Vec::with_capacity(BATCH),
        waiting: None,
        told: Stopwatch::start(),
        began: clock::world_now(),
        pause: None,
    };
    tokio::select! {
        () = exporter.work() => {}
        () = stop.cancelled() => {}
    }
    // Who looks at a short run wants to see its end, too.
    if exporter.pause.is_none() {
        let _ = tokio::time::timeout(FAREWELL, exporter.finish()).await;
    }
}

impl Exporter {
    async fn work(&mut self) {
        loop {
            let interval = self.collector.settings().interval;
            if self.told.elapsed() >= interval {
                self.told = Stopwatch::start();
                self.send_metrics().await;
            }
            // Spans have their turn, however often metrics are due: a collector that is left alone
            // for longer than the interval owes metrics each time.
            self.take_what_came();
            // However many come meanwhile, the oldest waits no longer.
            let is_old = self.waiting.is_some_and(|since| since.elapsed() >= LINGER);
            if self.batch.len() == BATCH || is_old {
                self.send_spans().await;
                continue;
            }
            let due = interval.saturating_sub(self.told.elapsed());
            let left = self
                .waiting
                .map(|since| LINGER.saturating_sub(since.elapsed()));
            let room = BATCH - self.batch.len();
            tokio::select! {
                count = self.spans.recv_many(&mut self.batch, room) => {
                    if count == 0 {
                        return;
                    }
                    self.waiting.get_or_insert_with(Stopwatch::start);
                }
                () = clock::rest(left.map_or(due, |left| left.min(due))) => {}
            }
        }
    }

    fn take_what_came(&mut self) {
        while self.batch.len() < BATCH
            && let Ok(span) = self.spans.try_recv()
        {
            self.batch.push(span);
            self.waiting.get_or_insert_with(Stopwatch::start);
        }
    }

    async fn finish(&mut self) {
        while let Ok(span) = self.spans.try_recv() {
            self.batch.push(span);
        }
        self.send_spans().await;
        self.send_metrics().await;
    }

    async fn send_spans(&mut self) {
        self.waiting = None;
        if self.batch.is_empty() {
            return;
        }
        let document = document::traces(self.collector.settings(), &self.batch);
        let sent = self.collector.send_traces(&document).await;
        let count = self.batch.len() as u64;
        self.batch.clear();
        let activity = self.handle.activity();
        match &sent {
            Ok(()) => activity.count_spans(count, 0),
            Err(_) => activity.count_spans(0, count),
        }
        self.note(sent).await;
    }

    async fn send_metrics(&mut self) {
        let totals = Totals::of(&self.handle);
        let families = metrics::families(&totals);
        let document = document::metrics(
            self.collector.settings(),
            &families,
            self.began,
            clock::world_now(),
        );
        let sent = self.collector.send_metrics(&document).await;
        self.note(sent).await;
    }

    /// Says once that the collector fails, and once that it is back; leaves it alone in between,
    /// while the queue fills and what is too much is counted.
    async fn note(&mut self, sent: Result<(), Failure>) {
        match (sent, self.pause) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                self.pause = None;
                let dropped = self.handle.activity().span_counts().dropped;
                tracing::info!(dropped, "the OpenTelemetry collector takes spans again");
            }
            (Err(failure), before) => {
                if before.is_none() {
                    let endpoint = &self.collector.settings().traces;
                    tracing::warn!(
                        %endpoint,
                        %failure,
                        "the OpenTelemetry collector does not take what it is sent; spans are \
                         dropped and counted until it does"
                    );
                }
                let pause = before.map_or(LINGER, |before| (before * 2).min(LONGEST_PAUSE));
                self.pause = Some(pause);
                clock::rest(pause).await;
            }
        }
    }
}
