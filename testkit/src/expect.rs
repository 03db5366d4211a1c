//! Expectations: what has to have happened by the end of a test.

use std::fmt;
use std::ops::RangeInclusive;

use iothub_emulator::handle::Observation;
use iothub_hub::Notice;
use iothub_protocol::ClientId;
use serde_json::Value;

/// Something that is to happen, and how often: at least once unless said.
#[derive(Clone, Debug)]
#[must_use = "hand it to `TestHub::expect`"]
pub struct Expectation {
    subject: Subject,
    client: Option<String>,
    payload: Option<Value>,
    status: Option<i32>,
    times: RangeInclusive<usize>,
}

#[derive(Clone, Debug)]
enum Subject {
    Method(String),
    Telemetry,
    Connection,
}

/// Calls of the method `name`, whoever is called and however it ends. Calls that the hub refuses at
/// once, because the device is not there, do not count.
pub fn method(name: impl Into<String>) -> Expectation {
    Expectation::of(Subject::Method(name.into()))
}

/// Stored device-to-cloud messages.
pub fn telemetry() -> Expectation {
    Expectation::of(Subject::Telemetry)
}

/// Accepted connections of devices and modules.
pub fn connection() -> Expectation {
    Expectation::of(Subject::Connection)
}

impl Expectation {
    fn of(subject: Subject) -> Self {
        Self {
            subject,
            client: None,
            payload: None,
            status: None,
            times: 1..=usize::MAX,
        }
    }

    /// Of this device (`"d1"`) or module (`"d1/m1"`) only.
    pub fn on(mut self, client: impl Into<String>) -> Self {
        self.client = Some(client.into());
        self
    }

    /// With this JSON as the call's payload or the message's body only.
    pub fn with(mut self, payload: Value) -> Self {
        self.payload = Some(payload);
        self
    }

    /// Calls that the device answered with this status only. What counts is the answer, so that
    /// [`Self::with`] is then about its payload.
    pub fn answered(mut self, status: i32) -> Self {
        self.status = Some(status);
        self
    }

    /// Exactly this often.
    pub fn times(mut self, count: usize) -> Self {
        self.times = count..=count;
        self
    }

    /// This often or more.
    pub fn at_least(mut self, count: usize) -> Self {
        self.times = count..=usize::MAX;
        self
    }

    /// This often or less.
    pub fn at_most(mut self, count: usize) -> Self {
        self.times = 0..=count;
        self
    }

    /// Not at all.
    pub fn never(self) -> Self {
        self.times(0)
    }

    pub(crate) fn is_met_by(&self, count: usize) -> bool {
        self.times.contains(&count)
    }

    /// How often `observation` is what is expected.
    pub(crate) fn count(&self, observation: &Observation) -> usize {
        match (&self.subject, observation) {
            (Subject::Telemetry, Observation::Events(events)) => events
                .iter()
                .filter(|event| self.fits(&event.origin.client, &event.message.body))
                .count(),
            (Subject::Connection, Observation::Notice(Notice::Connected(client, _))) => {
                usize::from(self.is_of(client))
            }
            (Subject::Method(wanted), Observation::Notice(notice)) => {
                usize::from(self.is_call(wanted, notice))
            }
            (Subject::Telemetry | Subject::Connection, Observation::Notice(_))
            | (Subject::Method(_) | Subject::Connection, Observation::Events(_)) => 0,
        }
    }

    fn is_call(&self, wanted: &str, notice: &Notice) -> bool {
        match (self.status, notice) {
            (
                None,
                Notice::MethodInvoked {
                    client,
                    name,
                    payload,
                    ..
                },
            ) => **name == *wanted && self.fits(client, payload),
            (
                Some(status),
                Notice::MethodEnded {
                    client,
                    name,
                    result: Ok(response),
                    ..
                },
            ) => {
                **name == *wanted
                    && response.status == status
                    && self.fits(client, &response.payload)
            }
            (_, _) => false,
        }
    }

    fn fits(&self, client: &ClientId, payload: &[u8]) -> bool {
        let same =
            |wanted: &Value| serde_json::from_slice::<Value>(payload).is_ok_and(|it| it == *wanted);
        self.is_of(client) && self.payload.as_ref().is_none_or(same)
    }

    fn is_of(&self, client: &ClientId) -> bool {
        self.client
            .as_ref()
            .is_none_or(|wanted| *wanted == client.to_string())
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Method(name) => write!(f, "calls of {name}")?,
            Subject::Telemetry => write!(f, "messages")?,
            Subject::Connection => write!(f, "connections")?,
        }
        if let Some(client) = &self.client {
            let preposition = if matches!(self.subject, Subject::Method(_)) {
                "on"
            } else {
                "of"
            };
            write!(f, " {preposition} {client}")?;
        }
        if let Some(status) = self.status {
            write!(f, " answered with {status}")?;
        }
        if let Some(payload) = &self.payload {
            write!(f, " with {payload}")?;
        }
        match (*self.times.start(), *self.times.end()) {
            (0, 0) => write!(f, ": none"),
            (0, usize::MAX) => write!(f, ": any number"),
            (least, usize::MAX) => write!(f, ": at least {least}"),
            (0, most) => write!(f, ": at most {most}"),
            (least, most) if least == most => write!(f, ": {least}"),
            (least, most) => write!(f, ": {least} to {most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_reads_as_a_sentence() {
        for (expectation, text) in [
            (method("reboot"), "calls of reboot: at least 1"),
            (
                method("reboot").on("d1").times(1),
                "calls of reboot on d1: 1",
            ),
            (
                method("r").answered(200).never(),
                "calls of r answered with 200: none",
            ),
            (
                telemetry().on("d1/m1").at_least(3),
                "messages of d1/m1: at least 3",
            ),
            (
                telemetry().with(serde_json::json!(1)).at_most(2),
                "messages with 1: at most 2",
            ),
            (connection().at_least(0), "connections: any number"),
        ] {
            assert_eq!(expectation.to_string(), text);
        }
    }
}
