//! What happens in the hub, as topics and payloads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use iothub_hub::{C2dMessage, Event, EventSource, IdentityChange, Notice, Twin, TwinParts};
use iothub_protocol::method::MethodResponse;
use iothub_protocol::property_bag::SystemProperty;
use iothub_protocol::twin::Section;
use iothub_protocol::{ClientId, Error, Timestamp};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::channel::{Channel, Message};
use super::topics::Topics;
use crate::handle::Observation;

/// Turns observations into messages for the channels that somebody watches.
pub(super) struct Teller<'a> {
    pub(super) topics: &'a Topics,
    pub(super) now: Timestamp,
    /// By [`Channel::index`].
    pub(super) watched: [bool; Channel::ALL.len()],
    pub(super) out: &'a mut Vec<(Channel, Message)>,
}

/// Who is connected, or is not.
pub(super) fn connection_state(is_connected: bool, reason: Option<&str>) -> Bytes {
    let state = match (is_connected, reason) {
        (true, _) => json!({"state": "connected"}),
        (false, None) => json!({"state": "disconnected"}),
        (false, Some(reason)) => json!({"state": "disconnected", "reason": reason}),
    };
    state.to_string().into()
}

/// A section of a twin as its device sees it.
pub(super) fn section_state(section: &Section) -> Bytes {
    section.to_device_json().to_string().into()
}

impl Teller<'_> {
    pub(super) fn tell(&mut self, observation: &Observation) {
        match observation {
            Observation::Events(events) => self.tell_events(events),
            Observation::Notice(notice) => self.tell_notice(notice),
        }
    }

    /// That messages were lost on the way to the bus: they were too many at a time.
    pub(super) fn tell_loss(&mut self, lost: u64, total: u64) {
        let more = json!({"lost": lost, "total": total});
        self.log("dropped", None, || more);
    }

    fn tell_events(&mut self, events: &[Event]) {
        let by_sender =
            |a: &Event, b: &Event| a.origin.client == b.origin.client && a.source == b.source;
        for run in events.chunk_by(by_sender) {
            let client = &run[0].origin.client;
            if run[0].source != EventSource::Telemetry {
                // What such an event tells of, the bus tells of in its own way.
                let source = run[0].source.name();
                self.log(
                    "event",
                    Some(client),
                    || json!({"events": run.len(), "source": source}),
                );
                continue;
            }
            if self.is_watched(Channel::Telemetry) {
                let topic = self.topics.of(client, Channel::Telemetry);
                let messages = run.iter().map(|event| Message {
                    topic: topic.clone(),
                    payload: event.message.body.clone(),
                });
                let messages = messages.map(|message| (Channel::Telemetry, message));
                self.out.extend(messages);
            }
            self.log("telemetry", Some(client), || {
                let bytes: usize = run.iter().map(|event| event.message.body.len()).sum();
                json!({"messages": run.len(), "bytes": bytes})
            });
        }
    }

    fn tell_notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Connected(client, transport) => {
                self.send(client, Channel::Connection, || connection_state(true, None));
                self.log(
                    "connected",
                    Some(client),
                    || json!({"transport": transport}),
                );
            }
            Notice::Disconnected(client, reason) => {
                let reason = *reason;
                self.send(client, Channel::Connection, || {
                    connection_state(false, Some(reason))
                });
                self.log("disconnected", Some(client), || json!({"reason": reason}));
            }
            Notice::MethodInvoked {
                client,
                name,
                payload,
                ..
            } => {
                self.send(client, Channel::Methods, || method_call(name, payload));
                self.log("methodInvoked", Some(client), || json!({"method": &**name}));
            }
            Notice::MethodEnded {
                client,
                name,
                result,
                ..
            } => {
                self.send(client, Channel::Methods, || method_end(name, result));
                self.log("methodEnded", Some(client), || match result {
                    Ok(response) => json!({"method": &**name, "status": response.status}),
                    Err(error) => json!({"method": &**name, "error": error.code.name()}),
                });
            }
            Notice::TwinChanged { twin, written } => self.tell_twin(twin, *written),
            Notice::IdentityChanged { identity, how } => {
                self.tell_identity(&identity.client, *how);
            }
            Notice::C2dSent(message) => self.tell_c2d("c2dSent", message, "Enqueued"),
            Notice::C2dDelivered { message, .. } => {
                self.tell_c2d("c2dDelivered", message, "Delivered");
            }
            Notice::C2dReturned(message) => self.tell_c2d("c2dReturned", message, "Enqueued"),
            Notice::C2dEnded(message, status) => self.tell_c2d("c2dEnded", message, status.name()),
        }
    }

    fn tell_twin(&mut self, twin: &Twin, written: TwinParts) {
        let client = &twin.client;
        if written.tags {
            self.log("tagsChanged", Some(client), || json!({}));
        }
        let sections = [
            (
                written.desired,
                Channel::Desired,
                &twin.desired,
                "desiredChanged",
            ),
            (
                written.reported,
                Channel::Reported,
                &twin.reported,
                "reportedChanged",
            ),
        ];
        for (_, channel, section, event) in sections.into_iter().filter(|it| it.0) {
            self.send(client, channel, || section_state(section));
            self.log(event, Some(client), || json!({"version": section.version}));
        }
    }

    fn tell_identity(&mut self, client: &ClientId, how: IdentityChange) {
        let event = match how {
            IdentityChange::Created => "created",
            IdentityChange::Updated => "updated",
            IdentityChange::Deleted => {
                // As a broker tells that nothing is retained any more.
                for channel in [Channel::Connection, Channel::Desired, Channel::Reported] {
                    self.send(client, channel, Bytes::new);
                }
                "deleted"
            }
        };
        self.log(event, Some(client), || json!({}));
    }

    fn tell_c2d(&mut self, event: &str, message: &C2dMessage, state: &str) {
        let client = &message.client;
        let id = message.message.properties.system(SystemProperty::MessageId);
        let more = || json!({"sequence": message.sequence, "messageId": id, "state": state});
        self.send(client, Channel::C2d, || {
            let mut payload = more();
            let body = &message.message.body;
            match std::str::from_utf8(body) {
                Ok(text) => payload["body"] = text.into(),
                Err(_) => payload["bodyBase64"] = STANDARD.encode(body).into(),
            }
            payload.to_string().into()
        });
        self.log(event, Some(client), more);
    }

    fn is_watched(&self, channel: Channel) -> bool {
        self.watched[channel.index()]
    }

    fn send(&mut self, client: &ClientId, channel: Channel, payload: impl FnOnce() -> Bytes) {
        if self.is_watched(channel) {
            let topic = self.topics.of(client, channel);
            let payload = payload();
            self.out.push((channel, Message { topic, payload }));
        }
    }

    fn log(&mut self, event: &str, client: Option<&ClientId>, more: impl FnOnce() -> Value) {
        if !self.is_watched(Channel::Log) {
            return;
        }
        let mut line = json!({"time": self.now.to_iso(), "event": event});
        if let Some(client) = client {
            line["client"] = client.to_string().into();
        }
        if let (Value::Object(line), Value::Object(more)) = (&mut line, more()) {
            line.extend(more);
        }
        let message = Message {
            topic: self.topics.log(),
            payload: line.to_string().into(),
        };
        self.out.push((Channel::Log, message));
    }
}

fn method_call(name: &str, payload: &Bytes) -> Bytes {
    let (name, payload) = (Value::from(name), raw(payload));
    format!(r#"{{"method":{name},"payload":{payload}}}"#).into()
}

fn method_end(name: &str, result: &Result<MethodResponse, Error>) -> Bytes {
    match result {
        Ok(MethodResponse { status, payload }) => {
            let (name, payload) = (Value::from(name), raw(payload));
            format!(r#"{{"method":{name},"status":{status},"payload":{payload}}}"#).into()
        }
        Err(error) => {
            let error = json!({"method": name, "error": error.code.name()});
            error.to_string().into()
        }
    }
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
    use iothub_protocol::ErrorCode;

    use super::*;

    /// What a notice becomes when these channels are watched.
    fn told(notice: Notice, watched: &[Channel]) -> Vec<(String, String)> {
        let mut out = Vec::new();
        let mut teller = Teller {
            topics: &Topics::new("h"),
            now: Timestamp::UNIX_EPOCH,
            watched: Channel::ALL.map(|channel| watched.contains(&channel)),
            out: &mut out,
        };
        teller.tell(&Observation::Notice(notice));
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        out.into_iter()
            .map(|(_, message)| (text(&message.topic), text(&message.payload)))
            .collect()
    }

    fn client(text: &str) -> ClientId {
        ClientId::parse(text).unwrap()
    }

    fn ended(result: Result<MethodResponse, Error>) -> Notice {
        Notice::MethodEnded {
            call: CallId(1),
            client: client("d1"),
            name: "re\"boot".into(),
            result,
        }
    }

    #[test]
    fn only_what_somebody_watches_is_made() {
        let invoked = Notice::MethodInvoked {
            call: CallId(1),
            client: client("d1"),
            name: "reboot".into(),
            payload: Bytes::from_static(b"{ \"delay\":1.0 }"),
        };

        let methods = told(invoked.clone(), &[Channel::Methods]);
        let log = told(invoked.clone(), &[Channel::Log]);

        let call = r#"{"method":"reboot","payload":{ "delay":1.0 }}"#;
        assert_eq!(
            methods,
            [("hub/h/devices/d1/methods".to_owned(), call.to_owned())]
        );
        let line = r#"{"time":"1970-01-01T00:00:00.0000000Z","event":"methodInvoked","client":"d1","method":"reboot"}"#;
        assert_eq!(log, [("hub/h/log".to_owned(), line.to_owned())]);
        assert_eq!(told(invoked, &[Channel::Telemetry]), []);
    }

    #[test]
    fn the_end_of_a_call_is_its_answer_or_its_error() {
        let answer = MethodResponse {
            status: 200,
            payload: Bytes::new(),
        };
        let failure = Error::new(ErrorCode::DeviceNotOnline, "x");

        let answered = told(ended(Ok(answer)), &[Channel::Methods]);
        let failed = told(ended(Err(failure)), &[Channel::Methods]);

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
    fn a_disconnect_is_told_with_its_reason() {
        let told = told(
            Notice::Disconnected(client("d1"), "gone"),
            &[Channel::Connection],
        );

        let gone = r#"{"state":"disconnected","reason":"gone"}"#;
        assert_eq!(
            told,
            [("hub/h/devices/d1/connection".to_owned(), gone.to_owned())]
        );
    }
}
