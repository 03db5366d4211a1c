//! The Event Hubs-compatible endpoint (`spec/amqp.md` 6): events in a hub, and readers of them.

mod management;
mod readers;
mod reading;
mod redirect;

use bytes::Bytes;
use iothub_emulator::Emulator;
use iothub_emulator::activity::OperationKind;
use iothub_emulator::config::{ClockSetting, Config};
use iothub_hub::Principal;
use iothub_protocol::amqp::connection::AttachLink;
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::selector::EventPosition;
use iothub_protocol::amqp::value::lookup;
use iothub_protocol::amqp::{AmqpError, DeliveryState, LinkId, Value};
use iothub_protocol::{ClientId, Message, sas};

use crate::client::Client;
use crate::hub::{HOST, in_an_hour, noon, policy_key, register};

/// The name of an emulator's event hub.
const ENTITY: &str = HOST;

/// An emulator with one partition whose clock stands at noon.
async fn emulator() -> Emulator {
    emulator_with(|_| {}).await
}

async fn emulator_with(change: impl FnOnce(&mut Config)) -> Emulator {
    let mut config = Config {
        clock: ClockSetting::Frozen(noon()),
        partitions: 1,
        ..Config::default()
    };
    change(&mut config);
    Emulator::start(config).await.unwrap()
}

/// Sends a device's messages, each of which is a body.
async fn send<B: Into<Bytes>>(
    emulator: &Emulator,
    device: &str,
    bodies: impl IntoIterator<Item = B>,
) {
    let id = ClientId::parse(device).unwrap();
    let messages: Vec<Message> = bodies
        .into_iter()
        .map(|body| Message {
            body: body.into(),
            ..Message::default()
        })
        .collect();
    let operation = OperationKind::SendTelemetry.on(&id);
    let sent = emulator.handle().call(operation, |hub, cx| {
        hub.ingest_from(cx, &Principal::operator(), &id, messages)
    });
    sent.await.unwrap();
}

/// An emulator with a device that has sent these bodies.
async fn emulator_with_events(bodies: &[&'static str]) -> Emulator {
    let emulator = emulator().await;
    register(&emulator, "d1").await;
    for body in bodies {
        send(&emulator, "d1", [*body]).await;
    }
    emulator
}

/// A token of the policy `service` for a resource.
fn token(emulator: &Emulator, resource: &str) -> String {
    let key = policy_key("service");
    sas::sign(resource, in_an_hour(emulator), Some("service"), &key)
}

/// A connection with a token for this resource.
async fn client_with_token(emulator: &Emulator, resource: &str) -> Client {
    let mut client = Client::connect(emulator).await;
    let answer = client.put_token(resource, &token(emulator, resource)).await;
    assert_eq!(answer.0, 200, "{answer:?}");
    client
}

impl Client {
    /// A reader of the only partition in `$Default`, to be changed.
    fn partition(&mut self) -> AttachLink {
        let node = format!("{ENTITY}/ConsumerGroups/$Default/Partitions/0");
        self.receiver(&node, 300)
    }

    /// A reader from this position.
    async fn read_from(&mut self, position: EventPosition) -> LinkId {
        let mut link = self.partition();
        link.source.filter = position.to_filter();
        self.attached(link).await
    }

    /// Attaches a link that is not refused.
    async fn attached(&mut self, link: AttachLink) -> LinkId {
        self.attach(link).await.unwrap().0
    }

    /// Attaches a link that is refused; answers why.
    async fn refused(&mut self, link: AttachLink) -> AmqpError {
        self.attach(link).await.unwrap_err()
    }

    /// Waits for so many events of a link, and accepts them.
    async fn messages(&mut self, link: LinkId, count: usize) -> Vec<AmqpMessage> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let (delivery, message) = self.receive(link).await;
            let state = DeliveryState::Accepted;
            self.machine.settle(link, delivery.id, state);
            messages.push(message);
        }
        messages
    }

    /// The bodies of so many events of a link.
    async fn bodies(&mut self, link: LinkId, count: usize) -> Vec<String> {
        let messages = self.messages(link, count).await;
        messages.iter().map(body).collect()
    }
}

fn body(message: &AmqpMessage) -> String {
    String::from_utf8(message.data().unwrap().to_vec()).unwrap()
}

fn annotation<'a>(message: &'a AmqpMessage, name: &str) -> &'a Value {
    lookup(&message.message_annotations, name).unwrap_or(&Value::Null)
}

/// The sequence numbers of events.
fn sequences(messages: &[AmqpMessage]) -> Vec<i64> {
    let sequence = |message| annotation(message, "x-opt-sequence-number");
    messages
        .iter()
        .map(|message| sequence(message).as_i64().unwrap())
        .collect()
}
