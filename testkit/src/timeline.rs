//! What the hub was seen to do: for waiting, for expectations, and for telling a person.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iothub_emulator::HubHandle;
use iothub_emulator::handle::Observation;
use iothub_hub::{EventSource, IdentityChange, Notice};
use iothub_protocol::{Clock, Timestamp};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

/// How long anything is waited for, in real time, before the test fails.
pub const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// Observations on their way; more than any test makes between two looks.
const CAPACITY: usize = 65_536;

/// A record of one hub's life.
pub(crate) struct Timeline {
    handle: HubHandle,
    start: Timestamp,
    /// Guards the record; held for a look or an addition.
    log: Mutex<Log>,
    /// Changes whenever the record has grown.
    grown: watch::Sender<usize>,
}

struct Log {
    incoming: mpsc::Receiver<Observation>,
    entries: Vec<Entry>,
}

struct Entry {
    at: Timestamp,
    observation: Observation,
}

impl Timeline {
    /// Begins the record.
    pub(crate) fn of(handle: &HubHandle) -> Arc<Self> {
        let log = Log {
            incoming: handle.observe(CAPACITY),
            entries: Vec::new(),
        };
        Arc::new(Self {
            handle: handle.clone(),
            start: handle.clock().now(),
            log: Mutex::new(log),
            grown: watch::Sender::new(0),
        })
    }

    /// Writes down what happens, as it happens. Safe to drop half-way.
    pub(crate) async fn record(&self) {
        loop {
            let observation = poll_fn(|cx| self.lock().incoming.poll_recv(cx)).await;
            let Some(observation) = observation else {
                return;
            };
            self.add(&mut self.lock(), observation);
        }
    }

    /// Waits until `look` finds something.
    pub(crate) async fn wait_until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let mut grown = self.grown.subscribe();
        let mut appended = self.handle.appended();
        let found = async {
            loop {
                grown.borrow_and_update();
                appended.borrow_and_update();
                if let Some(found) = look() {
                    return found;
                }
                // An error means that nothing will change any more: the limit tells.
                tokio::select! {
                    Ok(()) = grown.changed() => {}
                    Ok(()) = appended.changed() => {}
                    else => std::future::pending().await,
                }
            }
        };
        self.limit(what, found).await
    }

    /// Waits for `future`, up to [`WAIT_LIMIT`].
    pub(crate) async fn limit<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        match tokio::time::timeout(WAIT_LIMIT, future).await {
            Ok(done) => done,
            Err(_) => panic!("waited {WAIT_LIMIT:?} in vain for {what}\n{self}"),
        }
    }

    /// How many of the observations from `since` on count.
    pub(crate) fn count(&self, since: usize, counts: impl Fn(&Observation) -> usize) -> usize {
        let mut log = self.lock();
        self.catch_up(&mut log);
        log.entries
            .iter()
            .skip(since)
            .map(|entry| counts(&entry.observation))
            .sum()
    }

    /// How many observations there are.
    pub(crate) fn len(&self) -> usize {
        let mut log = self.lock();
        self.catch_up(&mut log);
        log.entries.len()
    }

    /// Takes what has been told and not yet been written down.
    fn catch_up(&self, log: &mut Log) {
        while let Ok(observation) = log.incoming.try_recv() {
            self.add(log, observation);
        }
    }

    fn add(&self, log: &mut Log, observation: Observation) {
        log.entries.push(Entry {
            at: self.handle.clock().now(),
            observation,
        });
        self.grown.send_replace(log.entries.len());
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line per thing that happened, with the time since the hub's start.
impl std::fmt::Display for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut log = self.lock();
        self.catch_up(&mut log);
        writeln!(f, "what the hub saw:")?;
        if log.entries.is_empty() {
            writeln!(f, "  nothing")?;
        }
        for entry in &log.entries {
            let after = entry.at.since(self.start).as_secs_f64();
            for line in lines(&entry.observation) {
                writeln!(f, "  {after:>10.3} s  {line}")?;
            }
        }
        for (operation, _, refused) in self.handle.activity().counts() {
            if refused > 0 {
                writeln!(f, "  refused: {} x {refused}", operation.name())?;
            }
        }
        for (what, count) in self.handle.activity().not_emulated() {
            writeln!(f, "  not emulated: {what} x {count}")?;
        }
        match self.handle.dropped_observations() {
            0 => Ok(()),
            dropped => writeln!(f, "  and {dropped} things that were too many to write down"),
        }
    }
}

fn lines(observation: &Observation) -> Vec<String> {
    match observation {
        Observation::Events(events) => events
            .iter()
            .map(|event| {
                let (client, body) = (&event.origin.client, excerpt(&event.message.body));
                let mut line = match event.source {
                    EventSource::Telemetry => format!("{client} sent {body}"),
                    EventSource::DeviceLifecycle
                    | EventSource::TwinChange
                    | EventSource::ConnectionState
                    | EventSource::JobLifecycle
                    | EventSource::DigitalTwinChange => {
                        format!("{} of {client}: {body}", event.source.name())
                    }
                };
                let properties = event.message.properties.as_encoded();
                if !properties.is_empty() {
                    let _ = write!(line, "  ({properties})");
                }
                line
            })
            .collect(),
        Observation::Notice(notice) => sentences(notice),
    }
}

fn sentences(notice: &Notice) -> Vec<String> {
    let one = match notice {
        Notice::Connected(client, transport) => format!("{client} connected over {transport}"),
        Notice::Disconnected(client, why) => format!("{client} is gone: {why}"),
        Notice::MethodInvoked {
            client,
            name,
            payload,
            ..
        } => {
            format!("{name} called on {client} with {}", excerpt(payload))
        }
        Notice::MethodEnded {
            client,
            name,
            result: Ok(response),
            ..
        } => {
            let payload = excerpt(&response.payload);
            format!("{client} answered {name}: {} {payload}", response.status)
        }
        Notice::MethodEnded {
            client,
            name,
            result: Err(error),
            ..
        } => {
            format!("{name} on {client} failed: {error}")
        }
        Notice::TwinChanged { twin, written } => {
            let client = &twin.client;
            let tags = Value::Object(twin.tags.clone());
            let parts = [
                (written.tags, "tags", tags),
                (written.desired, "desired", twin.desired.to_device_json()),
                (written.reported, "reported", twin.reported.to_device_json()),
            ];
            return parts
                .into_iter()
                .filter(|it| it.0)
                .map(|(_, part, now)| {
                    format!(
                        "{part} of {client}: {}",
                        excerpt(now.to_string().as_bytes())
                    )
                })
                .collect();
        }
        Notice::IdentityChanged { identity, how } => {
            let how = match how {
                IdentityChange::Created => "created",
                IdentityChange::Updated => "changed",
                IdentityChange::Deleted => "deleted",
            };
            format!("{} was {how}", identity.client)
        }
        Notice::C2dSent(message) => {
            let body = excerpt(&message.message.body);
            format!("message {} to {}: {body}", message.sequence, message.client)
        }
        Notice::C2dDelivered {
            message,
            redelivered,
        } => {
            let again = if *redelivered { " again" } else { "" };
            let (client, sequence) = (&message.client, message.sequence);
            format!("message {sequence} handed to {client}{again}")
        }
        Notice::C2dReturned(message) => {
            let (client, sequence) = (&message.client, message.sequence);
            format!("message {sequence} to {client} is back in its queue")
        }
        Notice::C2dEnded(message, status) => {
            let (client, sequence) = (&message.client, message.sequence);
            format!("message {sequence} to {client} ended: {}", status.name())
        }
    };
    vec![one]
}

/// Bytes for a person: text where it is text, not too long.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    const LONGEST: usize = 160;
    if bytes.is_empty() {
        return "(nothing)".into();
    }
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], bytes.len()),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bodies_are_cut_at_a_character() {
        let long = "ä".repeat(200);

        assert_eq!(
            excerpt(long.as_bytes()),
            format!("{}... (400 bytes)", "ä".repeat(160))
        );
        assert_eq!(excerpt(b"short"), "short");
        assert_eq!(excerpt(b""), "(nothing)");
    }
}
