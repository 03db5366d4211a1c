//! The device's view of its twin (`spec/device.md` 7): desired and reported properties.

use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// The twin as a device sees it: without tags and metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct Twin {
    /// What the back end wants.
    pub desired: Properties,
    /// What the device said.
    pub reported: Properties,
}

/// The properties of one section, and its version.
#[derive(Clone, Debug, PartialEq)]
pub struct Properties {
    /// Grows with each accepted change.
    pub version: u64,
    /// The values, without `$version`.
    pub values: Map<String, Value>,
}

/// The back end changed what it wants.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredUpdate {
    /// What changed; null stands for a property that is gone.
    pub properties: Properties,
    /// Whether these are all desired properties and not just the changed ones: after a connection
    /// was lost, the hub is asked what was missed in the meantime (`spec/device.md` 7.8).
    pub is_complete: bool,
}

/// Changes of desired properties, one after the other.
pub struct DesiredUpdates {
    receiver: broadcast::Receiver<DesiredUpdate>,
}

impl DesiredUpdates {
    pub(crate) fn new(receiver: broadcast::Receiver<DesiredUpdate>) -> Self {
        Self { receiver }
    }

    /// The next change; `None` once the client is closed. A reader that is 64 changes
    /// behind loses the oldest: a gap in the versions shows it, and the twin has them all.
    pub async fn next(&mut self) -> Option<DesiredUpdate> {
        loop {
            match self.receiver.recv().await {
                Ok(update) => return Some(update),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "desired property changes were not read in time");
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Tells desired changes to whoever listens, each version once.
pub(crate) struct DesiredFeed {
    sender: broadcast::Sender<DesiredUpdate>,
    last_version: Option<u64>,
}

impl DesiredFeed {
    pub(crate) fn new(sender: broadcast::Sender<DesiredUpdate>) -> Self {
        Self {
            sender,
            last_version: None,
        }
    }

    /// The hub notified of a change.
    pub(crate) fn changed(&mut self, properties: Properties) {
        // `spec/device.md` 7.4: versions that are known already are ignored.
        if self
            .last_version
            .is_some_and(|known| properties.version <= known)
        {
            return;
        }
        self.tell(DesiredUpdate {
            properties,
            is_complete: false,
        });
    }

    /// The desired properties as they are after a connection was lost.
    pub(crate) fn resynchronized(&mut self, properties: Properties) {
        // Another version, not a higher one: a twin that was made anew starts over.
        if self.last_version != Some(properties.version) {
            self.tell(DesiredUpdate {
                properties,
                is_complete: true,
            });
        }
    }

    fn tell(&mut self, update: DesiredUpdate) {
        self.last_version = Some(update.properties.version);
        // Nobody listening is no failure.
        let _ = self.sender.send(update);
    }
}

impl Twin {
    /// Reads the body of a GET reply (`spec/device.md` 7.3).
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut document: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let mut section = |name| match document.remove(name) {
            Some(Value::Object(values)) => Properties::from_map(values),
            _ => None,
        };
        Some(Self {
            desired: section("desired")?,
            reported: section("reported")?,
        })
    }
}

impl Properties {
    /// Reads the body of a desired notification (`spec/device.md` 7.4).
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        Self::from_map(serde_json::from_slice(body).ok()?)
    }

    fn from_map(mut values: Map<String, Value>) -> Option<Self> {
        let version = values.shift_remove("$version")?.as_u64()?;
        Some(Self { version, values })
    }
}

/// How many changes wait for a slow reader.
pub(crate) const BACKLOG: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(version: u64) -> Properties {
        Properties {
            version,
            values: Map::new(),
        }
    }

    fn feed() -> (DesiredFeed, broadcast::Receiver<DesiredUpdate>) {
        let (sender, receiver) = broadcast::channel(BACKLOG);
        (DesiredFeed::new(sender), receiver)
    }

    #[test]
    fn twin_is_read_without_its_versions_among_the_values() {
        let body = br#"{"desired":{"a":1,"$version":7},"reported":{"$version":12}}"#;

        let twin = Twin::parse(body).unwrap();

        assert_eq!(twin.desired.version, 7);
        assert_eq!(
            Value::from(twin.desired.values),
            serde_json::json!({"a": 1})
        );
        assert_eq!(twin.reported, properties(12));
    }

    #[test]
    fn body_that_is_no_twin_is_refused() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"desired":{},"reported":{"$version":1}}"#,
        ] {
            assert_eq!(Twin::parse(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn versions_that_are_known_are_not_told_again() {
        let (mut feed, mut receiver) = feed();

        for version in [2, 2, 1, 3] {
            feed.changed(properties(version));
        }

        assert_eq!(receiver.try_recv().unwrap().properties.version, 2);
        assert_eq!(receiver.try_recv().unwrap().properties.version, 3);
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn what_was_missed_while_away_is_told_completely_and_only_then() {
        let (mut feed, mut receiver) = feed();
        feed.changed(properties(2));
        receiver.try_recv().unwrap();

        feed.resynchronized(properties(2));
        assert!(receiver.try_recv().is_err());

        feed.resynchronized(properties(4));
        let update = receiver.try_recv().unwrap();
        assert_eq!(
            update,
            DesiredUpdate {
                properties: properties(4),
                is_complete: true
            }
        );
    }

    #[test]
    fn twin_that_was_made_anew_is_told() {
        let (mut feed, mut receiver) = feed();
        feed.changed(properties(9));
        receiver.try_recv().unwrap();

        feed.resynchronized(properties(1));

        assert_eq!(receiver.try_recv().unwrap().properties.version, 1);
    }
}
