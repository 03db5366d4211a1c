//! What happens in the hub, as topics and payloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use iothub_hub::{C2dMessage, Event, EventSource, Notice};
use iothub_protocol::property_bag::SystemProperty;
use iothub_protocol::{ClientId, Timestamp};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::handle::Observation;

/// What a topic level cannot hold, and the sign of the encoding itself, so that different names
/// stay different. Whatever is not ASCII is always encoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b'#').add(b'+').add(b'/').add(b'%');

/// Numbers the feeds of a process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// One hub's part of the bus.
pub(super) struct Feed {
    /// Keeps hubs that share the router apart, whatever their names: the first level of every topic
    /// within the router.
    number: u64,
    /// `hub/{name}`.
    root: String,
    /// Subscriptions that are alive.
    watchers: AtomicUsize,
}

/// A message as observers see it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    pub(super) retain: bool,
}

/// Counts as a watcher while it lives.
pub(super) struct Watch(Arc<Feed>);

impl Feed {
    pub(super) fn new(hub_name: &str) -> Self {
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            root: format!("hub/{}", utf8_percent_encode(hub_name, ENCODED)),
            watchers: AtomicUsize::new(0),
        }
    }

    pub(super) fn watch(self: &Arc<Self>) -> Watch {
        self.watchers.fetch_add(1, Ordering::SeqCst);
        Watch(self.clone())
    }

    /// A filter as the router sees it.
    pub(super) fn inward_filter(&self, shape: &str) -> String {
        format!("+/{shape}")
    }

    /// A topic as the router sees it.
    pub(super) fn inward(&self, topic: &[u8]) -> Bytes {
        let mut inward = format!("{}/", self.number).into_bytes();
        inward.extend_from_slice(topic);
        inward.into()
    }

    /// The topic as observers see it; `None` when it is another hub's.
    pub(super) fn outward(&self, topic: &Bytes) -> Option<Bytes> {
        let slash = topic.iter().position(|&b| b == b'/')?;
        let number = std::str::from_utf8(&topic[..slash]).ok()?;
        (number.parse() == Ok(self.number)).then(|| topic.slice(slash + 1..))
    }

    /// Appends what an observation becomes on the bus. What nobody keeps is not made while nobody
    /// watches.
    pub(super) fn tell(&self, observation: &Observation, now: Timestamp, out: &mut Vec<Message>) {
        let watched = self.watchers.load(Ordering::SeqCst) > 0;
        match observation {
            Observation::Events(events) if watched => self.tell_events(events, now, out),
            Observation::Events(_) => {}
            Observation::Notice(notice) => self.tell_notice(notice, now, watched, out),
        }
    }

    /// The retained message about a connection.
    pub(super) fn connection(&self, client: &ClientId, ended: Option<&str>) -> Message {
        let state = match ended {
            None => json!({"state": "connected"}),
            Some(reason) => json!({"state": "disconnected", "reason": reason}),
        };
        self.state(client, "connection", state.to_string())
    }

    fn tell_events(&self, events: &[Event], now: Timestamp, out: &mut Vec<Message>) {
        let by_sender =
            |a: &Event, b: &Event| a.origin.client == b.origin.client && a.source == b.source;
        for run in events.chunk_by(by_sender) {
            let client = &run[0].origin.client;
            if run[0].source != EventSource::Telemetry {
                // What such an event tells of, the bus tells of in its own way.
                let source = json!({"events": run.len(), "source": run[0].source.name()});
                out.push(self.log(now, "event", client, source));
                continue;
            }
            let topic = self.topic(client, "telemetry");
            out.extend(run.iter().map(|event| Message {
                topic: topic.clone(),
                payload: event.message.body.clone(),
                retain: false,
            }));
            let bytes: usize = run.iter().map(|event| event.message.body.len()).sum();
            let more = json!({"messages": run.len(), "bytes": bytes});
            out.push(self.log(now, "telemetry", client, more));
        }
    }

    fn tell_notice(&self, notice: &Notice, now: Timestamp, watched: bool, out: &mut Vec<Message>) {
        let log = match notice {
            Notice::Connected(client, _) => {
                out.push(self.connection(client, None));
                watched.then(|| self.log(now, "connected", client, json!({})))
            }
            Notice::Disconnected(client, reason) => {
                out.push(self.connection(client, Some(reason)));
                watched.then(|| self.log(now, "disconnected", client, json!({"reason": reason})))
            }
            Notice::MethodInvoked {
                client,
                name,
                payload,
                ..
            } if watched => {
                let call = format!(
                    r#"{{"method":{},"payload":{}}}"#,
                    quoted(name),
                    raw(payload)
                );
                out.push(self.passing(client, "methods", call));
                Some(self.log(now, "methodInvoked", client, json!({"method": &**name})))
            }
            Notice::MethodEnded {
                client,
                name,
                result,
                ..
            } if watched => {
                let (end, more) = match result {
                    Ok(response) => (
                        format!(
                            r#"{{"method":{},"status":{},"payload":{}}}"#,
                            quoted(name),
                            response.status,
                            raw(&response.payload)
                        ),
                        json!({"method": &**name, "status": response.status}),
                    ),
                    Err(error) => {
                        let error = json!({"method": &**name, "error": error.code.name()});
                        (error.to_string(), error)
                    }
                };
                out.push(self.passing(client, "methods", end));
                Some(self.log(now, "methodEnded", client, more))
            }
            Notice::MethodInvoked { .. } | Notice::MethodEnded { .. } => None,
            Notice::TwinChanged { twin, written } => {
                let sections = [
                    (
                        written.desired,
                        &twin.desired,
                        "twin/desired",
                        "desiredChanged",
                    ),
                    (
                        written.reported,
                        &twin.reported,
                        "twin/reported",
                        "reportedChanged",
                    ),
                ];
                for (_, section, topic, event) in sections.into_iter().filter(|it| it.0) {
                    let document = section.to_device_json().to_string();
                    out.push(self.state(&twin.client, topic, document));
                    if watched {
                        out.push(self.log(now, event, &twin.client, json!({})));
                    }
                }
                None
            }
            Notice::C2dSent(message) if watched => {
                Some(self.tell_c2d(now, "c2dSent", message, "Enqueued", out))
            }
            Notice::C2dEnded(message, status) if watched => {
                Some(self.tell_c2d(now, "c2dEnded", message, status.name(), out))
            }
            Notice::C2dSent(_)
            | Notice::C2dDelivered { .. }
            | Notice::C2dReturned(_)
            | Notice::C2dEnded(..)
            | Notice::IdentityChanged { .. } => None,
        };
        out.extend(log);
    }

    fn tell_c2d(
        &self,
        now: Timestamp,
        what: &str,
        message: &C2dMessage,
        state: &str,
        out: &mut Vec<Message>,
    ) -> Message {
        let client = &message.client;
        let id = message.message.properties.system(SystemProperty::MessageId);
        let body = String::from_utf8_lossy(&message.message.body);
        let more = json!({"sequence": message.sequence, "messageId": id, "state": state});
        let mut payload = more.clone();
        payload["body"] = body.into();
        out.push(self.passing(client, "c2d", payload.to_string()));
        self.log(now, what, client, more)
    }

    fn log(&self, now: Timestamp, what: &str, client: &ClientId, more: Value) -> Message {
        let mut line = json!({"time": now.to_iso(), "event": what, "client": client.to_string()});
        if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
            line.extend(more);
        }
        Message {
            topic: format!("{}/log", self.root).into(),
            payload: line.to_string().into(),
            retain: false,
        }
    }

    fn passing(&self, client: &ClientId, tail: &str, payload: impl Into<Bytes>) -> Message {
        Message {
            topic: self.topic(client, tail),
            payload: payload.into(),
            retain: false,
        }
    }

    fn state(&self, client: &ClientId, tail: &str, payload: impl Into<Bytes>) -> Message {
        Message {
            topic: self.topic(client, tail),
            payload: payload.into(),
            retain: true,
        }
    }

    fn topic(&self, client: &ClientId, tail: &str) -> Bytes {
        let device = utf8_percent_encode(client.device.as_str(), ENCODED);
        let root = &self.root;
        match &client.module {
            None => format!("{root}/devices/{device}/{tail}"),
            Some(module) => {
                let module = utf8_percent_encode(module.as_str(), ENCODED);
                format!("{root}/devices/{device}/modules/{module}/{tail}")
            }
        }
        .into()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::SeqCst);
    }
}

fn quoted(text: &str) -> Value {
    Value::from(text)
}

/// JSON as it was written; `null` for nothing, and text for what is no JSON.
fn raw(payload: &Bytes) -> String {
    if payload.is_empty() {
        return "null".to_owned();
    }
    match serde_json::from_slice::<&RawValue>(payload) {
        Ok(json) => json.get().to_owned(),
        Err(_) => Value::from(String::from_utf8_lossy(payload)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use iothub_hub::CallId;
    use iothub_protocol::method::MethodResponse;
    use iothub_protocol::{Error, ErrorCode};

    use super::*;

    fn told(feed: &Feed, notice: Notice) -> Vec<(String, String, bool)> {
        let mut out = Vec::new();
        feed.tell(
            &Observation::Notice(notice),
            Timestamp::UNIX_EPOCH,
            &mut out,
        );
        out.into_iter()
            .map(|message| {
                let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
                (text(&message.topic), text(&message.payload), message.retain)
            })
            .collect()
    }

    fn client(text: &str) -> ClientId {
        ClientId::parse(text).unwrap()
    }

    #[test]
    fn names_that_topics_cannot_hold_are_encoded() {
        let feed = Feed::new("höb/1");

        let told = told(
            &feed,
            Notice::Connected(client("a+b#c%d$e/$edgeHub"), "test"),
        );

        assert_eq!(
            told[0].0,
            "hub/h%C3%B6b%2F1/devices/a%2Bb%23c%25d$e/modules/$edgeHub/connection"
        );
    }

    #[test]
    fn state_is_told_to_nobody_too_and_the_rest_only_to_watchers() {
        let feed = Arc::new(Feed::new("h"));
        let invoked = || Notice::MethodInvoked {
            call: CallId(1),
            client: client("d1"),
            name: "reboot".into(),
            payload: Bytes::from_static(b"{ \"delay\":1.0 }"),
        };

        let unwatched = [
            told(&feed, Notice::Disconnected(client("d1"), "gone")),
            told(&feed, invoked()),
        ];
        let watch = feed.watch();
        let watched = told(&feed, invoked());
        drop(watch);

        let gone = r#"{"state":"disconnected","reason":"gone"}"#;
        assert_eq!(
            unwatched.concat(),
            [(
                "hub/h/devices/d1/connection".to_owned(),
                gone.to_owned(),
                true
            )]
        );
        let methods = "hub/h/devices/d1/methods".to_owned();
        let call = r#"{"method":"reboot","payload":{ "delay":1.0 }}"#.to_owned();
        assert_eq!(watched[0], (methods, call, false));
        assert_eq!(watched[1].0, "hub/h/log");
        assert_eq!(told(&feed, invoked()), []);
    }

    #[test]
    fn the_end_of_a_call_is_its_answer_or_its_error() {
        let feed = Arc::new(Feed::new("h"));
        let _watch = feed.watch();
        let ended = |result| Notice::MethodEnded {
            call: CallId(1),
            client: client("d1"),
            name: "re\"boot".into(),
            result,
        };

        let answer = MethodResponse {
            status: 200,
            payload: Bytes::new(),
        };
        let answered = told(&feed, ended(Ok(answer)));
        let failed = told(
            &feed,
            ended(Err(Error::new(ErrorCode::DeviceNotOnline, "x"))),
        );

        assert_eq!(
            answered[0].1,
            r#"{"method":"re\"boot","status":200,"payload":null}"#
        );
        assert_eq!(
            failed[0].1,
            r#"{"method":"re\"boot","error":"DeviceNotOnline"}"#
        );
    }

    #[test]
    fn a_topic_of_another_hub_is_nobodys_here() {
        let (one, other) = (Feed::new("h"), Feed::new("h"));
        let topic = Bytes::from_static(b"hub/h/log");

        let inward = one.inward(&topic);

        assert_eq!(one.outward(&inward), Some(topic));
        assert_eq!(other.outward(&inward), None);
    }
}
