//! A running emulator, events in it, and a client of the endpoint.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use iothub_emulator::Emulator;
use iothub_emulator::activity::OperationKind;
use iothub_emulator::config::{ClockSetting, Config};
use iothub_hub::{Permission, Principal};
use iothub_protocol::amqp::cbs::{PutToken, SAS_KINDS, status_of};
use iothub_protocol::amqp::connection::{AttachLink, ClientSasl, ConnectionConfig, Delivery};
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::performative::{
    Attach, ReceiverSettleMode, Role, SenderSettleMode, Source, Target,
};
use iothub_protocol::amqp::selector::EventPosition;
use iothub_protocol::amqp::value::lookup;
use iothub_protocol::amqp::{
    AmqpError, Connection, DeliveryState, Event, LinkId, SessionId, Symbol, Value,
};
use iothub_protocol::registry::{IdentitySpec, IfMatch};
use iothub_protocol::{ClientId, Clock, Message, Timestamp, sas};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long to wait for something that must happen.
const LIMIT: Duration = Duration::from_secs(20);
/// The name of an emulator's event hub.
pub(crate) const ENTITY: &str = "localhost";

/// An emulator with one partition whose clock stands at [`noon`].
pub(crate) async fn emulator() -> Emulator {
    emulator_with(|_| {}).await
}

pub(crate) async fn emulator_with(change: impl FnOnce(&mut Config)) -> Emulator {
    let mut config = Config {
        clock: ClockSetting::Frozen(noon()),
        partitions: 1,
        ..Config::default()
    };
    change(&mut config);
    Emulator::start(config).await.unwrap()
}

pub(crate) fn noon() -> Timestamp {
    Timestamp::from_unix_seconds(1_900_000_000)
}

pub(crate) async fn register(emulator: &Emulator, device: &str) {
    let id = ClientId::parse(device).unwrap();
    let operation = OperationKind::PutDevice.on(&id);
    let put = emulator.handle().call(operation, |hub, cx| {
        let spec = IdentitySpec::default();
        hub.put_device(
            cx,
            &Principal::operator(),
            &id.device,
            spec,
            &IfMatch::Absent,
        )
    });
    put.await.unwrap();
}

/// Sends a device's messages, each of which is a body.
pub(crate) async fn send<B: Into<Bytes>>(
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

/// A registered device, and these bodies sent by it.
pub(crate) async fn emulator_with_events(bodies: &[&'static str]) -> Emulator {
    let emulator = emulator().await;
    register(&emulator, "d1").await;
    for body in bodies {
        send(&emulator, "d1", [*body]).await;
    }
    emulator
}

/// A token of the policy `service` for a resource, good for an hour.
pub(crate) fn token(emulator: &Emulator, resource: &str) -> String {
    let policies = Config::default().all_policies();
    let policy = policies
        .iter()
        .find(|policy| policy.name == "service")
        .unwrap();
    assert!(policy.permissions.contains(Permission::ServiceConnect));
    let expiry = emulator.handle().clock().now() + Duration::from_secs(3600);
    sas::sign(resource, expiry, Some(&policy.name), &policy.primary)
}

/// A connection with one session.
pub(crate) struct Client {
    stream: TcpStream,
    pub(crate) machine: Connection,
    pub(crate) session: SessionId,
    events: VecDeque<Event>,
    links: u32,
}

impl Client {
    /// A connection that has proved nothing.
    pub(crate) async fn dial(emulator: &Emulator) -> Self {
        let address = ("127.0.0.1", emulator.ports().amqp);
        let config = ConnectionConfig {
            container_id: "test".into(),
            hostname: Some("localhost".into()),
            max_frame_size: 64 * 1024,
            max_sessions: 10,
            max_links: 100,
            incoming_window: 5000,
            idle_timeout: None,
            sasl_mechanisms: Vec::new(),
            max_unfinished: 4 << 20,
        };
        let sasl = ClientSasl::Mechanism {
            name: Symbol::of("ANONYMOUS"),
            initial_response: None,
        };
        let mut client = Self {
            stream: TcpStream::connect(address).await.unwrap(),
            machine: Connection::client(config, sasl, noon()),
            session: SessionId(0),
            events: VecDeque::new(),
            links: 0,
        };
        while !matches!(client.event().await, Event::Opened(_)) {}
        client.session = client.machine.begin();
        while !matches!(client.event().await, Event::SessionBegun(_)) {}
        client
    }

    /// A connection with a token for this resource.
    pub(crate) async fn with_token(emulator: &Emulator, resource: &str) -> Self {
        let mut client = Self::dial(emulator).await;
        let put = PutToken {
            kind: SAS_KINDS[0].into(),
            audience: resource.into(),
            token: token(emulator, resource),
            message_id: Value::Ulong(1),
            reply_to: None,
        };
        let answer = client.ask("$cbs", &put.to_message()).await;
        assert_eq!(status_of(&answer).map(|it| it.0), Some(200), "{answer:?}");
        client
    }

    /// A connection with a token for the event hub, as its SDKs open one.
    pub(crate) async fn reader(emulator: &Emulator) -> Self {
        Self::with_token(emulator, &format!("sb://localhost/{ENTITY}")).await
    }

    /// Asks a node that answers: by a link there and one back.
    pub(crate) async fn ask(&mut self, node: &str, request: &AmqpMessage) -> AmqpMessage {
        let back = self.link(node, Role::Receiver, 10);
        let mut request = request.clone();
        request.properties.reply_to = Some(back.name.clone());
        let back = self.attach(back).await.0;
        let there = self.attach(self.link(node, Role::Sender, 0)).await.0;
        if self.machine.sendable(there) == 0 {
            self.wait_for(|event| matches!(event, Event::Credit { link, .. } if *link == there))
                .await;
        }
        let tag = [0; 16];
        self.machine
            .send_with(there, &tag, 0, false, |out| request.encode(out))
            .unwrap();
        let delivery = self.delivery(back).await;
        AmqpMessage::decode(delivery.payload).unwrap()
    }

    /// A link with this node.
    pub(crate) fn link(&self, node: &str, role: Role, credit: u32) -> AttachLink {
        let (source, target) = match role {
            Role::Receiver => (Some(node.to_owned()), None),
            Role::Sender => (None, Some(node.to_owned())),
        };
        AttachLink {
            name: format!("link-{}", self.links),
            role,
            source: Source {
                address: source,
                ..Source::default()
            },
            target: Target {
                address: target,
                ..Target::default()
            },
            snd_settle_mode: SenderSettleMode::Unsettled,
            rcv_settle_mode: ReceiverSettleMode::First,
            credit,
            max_message_size: None,
            properties: Vec::new(),
            desired_capabilities: Vec::new(),
        }
    }

    /// A reader of the only partition in `$Default`.
    pub(crate) fn partition_link(&self, position: Option<&EventPosition>) -> AttachLink {
        let node = format!("{ENTITY}/ConsumerGroups/$Default/Partitions/0");
        let mut link = self.link(&node, Role::Receiver, 300);
        if let Some(position) = position {
            link.source.filter = position.to_filter();
        }
        link
    }

    /// Attaches a link; answers what the other end says of it. One that it refuses is detached
    /// next: see [`Client::detached`].
    pub(crate) async fn attach(&mut self, link: AttachLink) -> (LinkId, Attach) {
        self.links += 1;
        let ours = self.machine.attach(self.session, link);
        let attached = self
            .wait_for(|event| matches!(event, Event::LinkAttached { link, .. } if *link == ours));
        match attached.await {
            Event::LinkAttached { attach, .. } => (ours, *attach),
            other => unreachable!("{other:?}"),
        }
    }

    /// Attaches a link that is refused; answers why.
    pub(crate) async fn refused(&mut self, link: AttachLink) -> AmqpError {
        let (link, _) = self.attach(link).await;
        self.detached(link).await
    }

    /// A reader from this position.
    pub(crate) async fn read_from(&mut self, position: EventPosition) -> LinkId {
        self.attach(self.partition_link(Some(&position))).await.0
    }

    /// Waits until the other end detaches a link with an error.
    pub(crate) async fn detached(&mut self, link: LinkId) -> AmqpError {
        let detached = self.wait_for(
            |event| matches!(event, Event::LinkDetached { link: gone, .. } if *gone == link),
        );
        match detached.await {
            Event::LinkDetached { error, .. } => error.expect("a reason"),
            other => unreachable!("{other:?}"),
        }
    }

    /// Waits for a delivery of a link, and accepts it.
    pub(crate) async fn delivery(&mut self, link: LinkId) -> Delivery {
        let arrived = self.wait_for(|event| match event {
            Event::Delivery(delivery) => delivery.link == link,
            Event::LinkDetached {
                link: gone, error, ..
            } if *gone == link => {
                panic!("detached: {error:?}")
            }
            _ => false,
        });
        let Event::Delivery(delivery) = arrived.await else {
            unreachable!("only a delivery is waited for");
        };
        self.machine
            .settle(link, delivery.id, DeliveryState::Accepted);
        delivery
    }

    /// Waits for so many events of a link.
    pub(crate) async fn messages(&mut self, link: LinkId, count: usize) -> Vec<AmqpMessage> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let delivery = self.delivery(link).await;
            messages.push(AmqpMessage::decode(delivery.payload).unwrap());
        }
        messages
    }

    /// The bodies of so many events of a link.
    pub(crate) async fn bodies(&mut self, link: LinkId, count: usize) -> Vec<String> {
        let messages = self.messages(link, count).await;
        messages.iter().map(body).collect()
    }

    /// What happens next.
    pub(crate) async fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            if let Some(event) = self.machine.next_event() {
                return event;
            }
            self.flush().await;
            let mut input = [0; 16 * 1024];
            let read = self.stream.read(&mut input);
            let read = tokio::time::timeout(LIMIT, read).await;
            let read = read.expect("nothing came in time").unwrap();
            assert_ne!(read, 0, "the connection was closed");
            self.machine.receive(noon(), &input[..read]);
        }
    }

    /// Writes what waits to be written.
    pub(crate) async fn flush(&mut self) {
        while let Some(chunk) = self.machine.next_output() {
            self.stream.write_all(&chunk).await.unwrap();
        }
    }

    /// Waits for something; what else happens is kept for later.
    async fn wait_for(&mut self, mut wanted: impl FnMut(&Event) -> bool) -> Event {
        let mut others = VecDeque::new();
        loop {
            let event = self.event().await;
            if wanted(&event) {
                others.append(&mut self.events);
                self.events = others;
                return event;
            }
            assert!(!matches!(event, Event::Closed(_)), "{event:?}");
            others.push_back(event);
        }
    }
}

pub(crate) fn body(message: &AmqpMessage) -> String {
    String::from_utf8(message.data().unwrap().to_vec()).unwrap()
}

pub(crate) fn annotation<'a>(message: &'a AmqpMessage, name: &str) -> &'a Value {
    lookup(&message.message_annotations, name).unwrap_or(&Value::Null)
}

/// The sequence numbers of events.
pub(crate) fn sequences(messages: &[AmqpMessage]) -> Vec<i64> {
    let sequence = |message| annotation(message, "x-opt-sequence-number");
    messages
        .iter()
        .map(|message| sequence(message).as_i64().unwrap())
        .collect()
}
