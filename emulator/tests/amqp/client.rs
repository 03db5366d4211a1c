//! A client that does what it is told, over the same machine as the endpoint in the other role.
#![allow(dead_code, reason = "each set of tests uses its part of this")]

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iothub_emulator::Emulator;
use iothub_protocol::Clock;
use iothub_protocol::amqp::cbs::{PutToken, status_of};
use iothub_protocol::amqp::connection::{AttachLink, ClientSasl, Delivery, DeliveryId, SendError};
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::performative::{
    Attach, Open, ReceiverSettleMode, Role, SenderSettleMode, Source, Target,
};
use iothub_protocol::amqp::sasl::SaslCode;
use iothub_protocol::amqp::{
    AmqpError, Connection, ConnectionConfig, DeliveryState, Event, LinkId, SessionId, Symbol, Value,
};

use crate::hub;
use crate::wire::Wire;

/// How long to wait for something that must happen.
const LIMIT: Duration = Duration::from_secs(20);

/// A client, once its connection is open.
pub(crate) struct Client {
    wire: Wire,
    pub(crate) machine: Connection,
    now: iothub_protocol::Timestamp,
    /// What has happened and nobody has asked for.
    events: VecDeque<Event>,
    /// Whether the stream has ended.
    ended: bool,
    pub(crate) session: SessionId,
    /// Links to and from `$cbs`.
    cbs: Option<(LinkId, LinkId)>,
    last: u64,
}

/// Why a client was not let in.
#[derive(Debug, PartialEq)]
pub(crate) enum NotOpen {
    /// By the security layer.
    Sasl(SaslCode),
    /// The connection ended.
    Closed(Option<AmqpError>),
}

impl Client {
    /// A connection in the clear that has said nothing about who it is.
    pub(crate) async fn connect(emulator: &Emulator) -> Self {
        let wire = Wire::tcp(emulator).await;
        let opened = Self::open(emulator, wire, mechanism("ANONYMOUS", Some(b""))).await;
        opened.unwrap().0
    }

    /// A connection of a back end: [`Self::connect`] with a token of a policy for the hub.
    pub(crate) async fn service(emulator: &Emulator, policy: &str) -> Self {
        let mut client = Self::connect(emulator).await;
        let token = hub::policy_token(emulator, policy);
        let answer = client.put_token(hub::HOST, &token).await;
        assert_eq!(answer.0, 200, "{answer:?}");
        client
    }

    /// A connection of a reader of events: [`Self::connect`] with a token for the event hub.
    pub(crate) async fn reader(emulator: &Emulator) -> Self {
        let mut client = Self::connect(emulator).await;
        let token = hub::events_token(emulator, "service");
        let answer = client.put_token(&hub::events_resource(), &token).await;
        assert_eq!(answer.0, 200, "{answer:?}");
        client
    }

    /// A connection of a device or module, which is registered: [`Self::connect`] with its token.
    pub(crate) async fn device(emulator: &Emulator, id: &str) -> Self {
        let key = hub::register(emulator, id).await;
        let mut client = Self::connect(emulator).await;
        let token = hub::device_token(emulator, id, &key);
        let answer = client.put_token(&hub::resource(id), &token).await;
        assert_eq!(answer.0, 200, "{answer:?}");
        client
    }

    /// Opens a connection over this wire, and a session. Answers what the peer's open said, too.
    pub(crate) async fn open(
        emulator: &Emulator,
        wire: Wire,
        sasl: ClientSasl,
    ) -> Result<(Self, Box<Open>), NotOpen> {
        Self::open_with(emulator, wire, sasl, config()).await
    }

    /// As [`Self::open`], with other numbers.
    pub(crate) async fn open_with(
        emulator: &Emulator,
        wire: Wire,
        sasl: ClientSasl,
        config: ConnectionConfig,
    ) -> Result<(Self, Box<Open>), NotOpen> {
        let now = emulator.handle().clock().now();
        let mut machine = Connection::client(config, sasl, now);
        let session = machine.begin();
        let mut client = Self {
            wire,
            machine,
            now,
            events: VecDeque::new(),
            ended: false,
            session,
            cbs: None,
            last: 0,
        };
        let opened = client
            .wait("open", |event| match event {
                Event::SaslEnded(code) if *code != SaslCode::Ok => Some(Err(NotOpen::Sasl(*code))),
                Event::Opened(open) => Some(Ok(open.clone())),
                Event::Closed(error) => Some(Err(NotOpen::Closed(error.clone()))),
                _ => None,
            })
            .await;
        opened.map(|open| (client, open))
    }

    /// Puts a token for an audience; answers status and description.
    pub(crate) async fn put_token(&mut self, audience: &str, token: &str) -> (i32, String) {
        self.put("servicebus.windows.net:sastoken", audience, token)
            .await
    }

    /// Puts a token of any type.
    pub(crate) async fn put(&mut self, kind: &str, audience: &str, token: &str) -> (i32, String) {
        self.last += 1;
        let request = PutToken {
            kind: kind.to_owned(),
            audience: audience.to_owned(),
            token: token.to_owned(),
            message_id: Value::Ulong(self.last),
            reply_to: None,
        };
        let (answer, correlation_id) = self.ask_cbs(&request.to_message()).await;
        assert_eq!(correlation_id, Some(request.message_id));
        answer
    }

    /// Sends a request to `$cbs`; answers its status, and what the answer is correlated with.
    pub(crate) async fn ask_cbs(
        &mut self,
        request: &AmqpMessage,
    ) -> ((i32, String), Option<Value>) {
        let (requests, answers) = match self.cbs {
            Some(links) => links,
            None => {
                let answers = self.attach_receiver("$cbs", 10).await.unwrap();
                let requests = self.attach_sender("$cbs").await.unwrap();
                *self.cbs.insert((requests, answers))
            }
        };
        let outcome = self.send(requests, request).await;
        assert_eq!(outcome, DeliveryState::Accepted);
        let (delivery, answer) = self.receive(answers).await;
        if !delivery.settled {
            self.settle(answers, delivery.id, DeliveryState::Accepted)
                .await;
        }
        let status = status_of(&answer).expect("a status");
        (status, answer.properties.correlation_id)
    }

    /// Attaches a link that sends; `Err`: refused, by the detach that follows the answer.
    pub(crate) async fn attach_sender(&mut self, address: &str) -> Result<LinkId, AmqpError> {
        let link = self.sender(address);
        self.attach(link).await.map(|(link, _)| link)
    }

    /// Attaches a link that receives, with this credit.
    pub(crate) async fn attach_receiver(
        &mut self,
        address: &str,
        credit: u32,
    ) -> Result<LinkId, AmqpError> {
        let link = self.receiver(address, credit);
        self.attach(link).await.map(|(link, _)| link)
    }

    /// What [`Self::attach_sender`] attaches, to be changed.
    pub(crate) fn sender(&mut self, address: &str) -> AttachLink {
        let name = self.name("sender");
        let target = Target {
            address: Some(address.to_owned()),
            ..Target::default()
        };
        AttachLink {
            target,
            ..link(name, Role::Sender)
        }
    }

    /// What [`Self::attach_receiver`] attaches, to be changed.
    pub(crate) fn receiver(&mut self, address: &str, credit: u32) -> AttachLink {
        let name = self.name("receiver");
        let source = Source {
            address: Some(address.to_owned()),
            ..Source::default()
        };
        AttachLink {
            source,
            credit,
            ..link(name, Role::Receiver)
        }
    }

    fn name(&mut self, what: &str) -> String {
        self.last += 1;
        format!("{what}-{}", self.last)
    }

    /// Attaches a link; answers it and what the peer answered.
    pub(crate) async fn attach(
        &mut self,
        wanted: AttachLink,
    ) -> Result<(LinkId, Box<Attach>), AmqpError> {
        let session = self.session;
        self.attach_in(session, wanted).await
    }

    /// As [`Self::attach`], in another session.
    pub(crate) async fn attach_in(
        &mut self,
        session: SessionId,
        wanted: AttachLink,
    ) -> Result<(LinkId, Box<Attach>), AmqpError> {
        let link = self.machine.attach(session, wanted);
        let answer = self
            .wait("the answer to an attach", |event| match event {
                Event::LinkAttached {
                    link: answered,
                    attach,
                    ..
                } if *answered == link => Some(attach.clone()),
                _ => None,
            })
            .await;
        // The refusal of a link comes right behind the answer; whatever comes of a round trip comes
        // behind both.
        self.round_trip().await;
        match self.take(|event| detach_of(event, link)) {
            None => Ok((link, answer)),
            Some(error) => Err(error.expect("a refusal has an error")),
        }
    }

    /// Waits until the peer has acted on everything that was sent: it begins and ends a session.
    pub(crate) async fn round_trip(&mut self) {
        let session = self.machine.begin();
        self.wait("a session", |event| match event {
            Event::SessionBegun(begun) if *begun == session => Some(()),
            _ => None,
        })
        .await;
        self.machine.end(session, None);
        self.write().await;
    }

    /// Sends a message and waits for what becomes of it.
    pub(crate) async fn send(&mut self, link: LinkId, message: &AmqpMessage) -> DeliveryState {
        let delivery = self.transfer(link, 0, encoded(message), false).await;
        self.outcome(link, delivery).await
    }

    /// Sends a message that is settled already.
    pub(crate) async fn send_settled(&mut self, link: LinkId, message: &AmqpMessage) {
        self.transfer(link, 0, encoded(message), true).await;
    }

    /// Sends a payload, once there is credit.
    pub(crate) async fn transfer(
        &mut self,
        link: LinkId,
        format: u32,
        payload: Bytes,
        settled: bool,
    ) -> DeliveryId {
        self.last += 1;
        let tag = self.last.to_be_bytes();
        loop {
            match self
                .machine
                .send(link, &tag, format, payload.clone(), settled)
            {
                Ok(delivery) => {
                    self.write().await;
                    return delivery;
                }
                Err(SendError::NoCredit) => {
                    self.wait("credit", |event| match event {
                        Event::Credit { link: of, .. } if *of == link => Some(()),
                        _ => None,
                    })
                    .await;
                }
                Err(SendError::NoLink) => panic!("the link is gone: {:?}", self.events),
            }
        }
    }

    /// What became of a delivery that was sent.
    pub(crate) async fn outcome(&mut self, link: LinkId, delivery: DeliveryId) -> DeliveryState {
        let state = self
            .wait("an outcome", |event| match event {
                Event::Outcome {
                    link: of,
                    delivery: told,
                    state,
                    ..
                } if *of == link && *told == delivery => Some(Ok(state.clone())),
                Event::LinkDetached {
                    link: of, error, ..
                } if *of == link => Some(Err(error.clone())),
                _ => None,
            })
            .await;
        let state = state.unwrap_or_else(|error| panic!("detached instead: {error:?}"));
        state.expect("a state")
    }

    /// The next delivery of a link, and the message that it holds.
    pub(crate) async fn receive(&mut self, link: LinkId) -> (Delivery, AmqpMessage) {
        let delivery = self.delivery(link).await;
        let message = AmqpMessage::decode(delivery.payload.clone()).unwrap();
        (delivery, message)
    }

    /// The next delivery of a link.
    pub(crate) async fn delivery(&mut self, link: LinkId) -> Delivery {
        self.wait("a delivery", |event| delivery_of(event, link))
            .await
    }

    /// A delivery of a link that is there already, once the peer has acted on everything.
    pub(crate) async fn pending(&mut self, link: LinkId) -> Option<Delivery> {
        self.round_trip().await;
        self.take(|event| delivery_of(event, link))
    }

    /// Tells what becomes of a delivery.
    pub(crate) async fn settle(
        &mut self,
        link: LinkId,
        delivery: DeliveryId,
        state: DeliveryState,
    ) {
        self.machine.settle(link, delivery, state);
        self.write().await;
    }

    /// Lets the peer send so many deliveries from now on.
    pub(crate) async fn grant(&mut self, link: LinkId, credit: u32) {
        self.machine.grant(link, credit);
        self.write().await;
    }

    /// Detaches a link and waits for the answer to what has been said.
    pub(crate) async fn detach(&mut self, link: LinkId) {
        self.machine.detach(link, None);
        self.round_trip().await;
    }

    /// Why the peer detaches a link.
    pub(crate) async fn expect_detach(&mut self, link: LinkId) -> Option<AmqpError> {
        self.wait("a detach", |event| detach_of(event, link)).await
    }

    /// Why the peer closes the connection; the stream ends after it.
    pub(crate) async fn expect_close(&mut self) -> Option<AmqpError> {
        let error = self
            .wait("a close", |event| match event {
                Event::Closed(error) => Some(error.clone()),
                _ => None,
            })
            .await;
        self.write().await;
        while self.read().await {}
        error
    }

    /// Asserts that the connection lives.
    pub(crate) async fn expect_alive(&mut self) {
        self.round_trip().await;
    }

    /// Sends bytes past the machine.
    pub(crate) async fn write_raw(&mut self, bytes: &[u8]) {
        // An end of the connection shows in what is read.
        let _ = self.wire.write(bytes).await;
    }

    /// Sends these bytes again and again and reads nothing, until that fails.
    pub(crate) async fn write_until_broken(mut self, bytes: Bytes) {
        while self.wire.write(&bytes).await.is_ok() {}
    }

    /// The first event that `wanted` takes, waiting for it; others are kept.
    pub(crate) async fn wait<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        self.write().await;
        loop {
            if let Some(found) = self.take(&mut wanted) {
                return found;
            }
            if self.ended {
                panic!("the connection ended before {what}: {:?}", self.events);
            }
            self.read().await;
            self.write().await;
        }
    }

    /// The first event so far that `wanted` takes; others are kept.
    pub(crate) fn take<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> Option<T> {
        while let Some(event) = self.machine.next_event() {
            self.events.push_back(event);
        }
        let (at, found) = self
            .events
            .iter()
            .enumerate()
            .find_map(|(at, event)| Some((at, wanted(event)?)))?;
        self.events.remove(at);
        Some(found)
    }

    /// Writes what is to be written.
    pub(crate) async fn write(&mut self) {
        while let Some(chunk) = self.machine.next_output() {
            // An end of the connection shows in what is read.
            let _ = self.wire.write(&chunk).await;
        }
    }

    async fn read(&mut self) -> bool {
        let mut input = BytesMut::new();
        let read = tokio::time::timeout(LIMIT, self.wire.read(&mut input)).await;
        let read = read.unwrap_or_else(|_| panic!("nothing came in time: {:?}", self.events));
        self.ended = read == 0;
        self.machine.receive(self.now, &input);
        !self.ended
    }
}

/// The numbers of a client.
pub(crate) fn config() -> ConnectionConfig {
    ConnectionConfig {
        container_id: "test".to_owned(),
        hostname: Some(hub::HOST.to_owned()),
        max_frame_size: 64 * 1024,
        max_sessions: 1000,
        max_links: 10_000,
        incoming_window: 1000,
        idle_timeout: None,
        sasl_mechanisms: Vec::new(),
        max_unfinished: 16 * 1024 * 1024,
    }
}

pub(crate) fn mechanism(name: &str, initial_response: Option<&[u8]>) -> ClientSasl {
    ClientSasl::Mechanism {
        name: Symbol::from(name),
        initial_response: initial_response.map(Bytes::copy_from_slice),
    }
}

/// The first message of a login.
pub(crate) fn plain(user: &str, password: &str) -> ClientSasl {
    let response = format!("\0{user}\0{password}");
    mechanism("PLAIN", Some(response.as_bytes()))
}

pub(crate) fn encoded(message: &AmqpMessage) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.freeze()
}

/// The condition's name, for short assertions.
pub(crate) fn condition_of(error: &AmqpError) -> &str {
    error.condition.as_str()
}

fn link(name: String, role: Role) -> AttachLink {
    AttachLink {
        name,
        role,
        source: Source::default(),
        target: Target::default(),
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: ReceiverSettleMode::First,
        credit: 0,
        max_message_size: None,
        properties: Vec::new(),
        desired_capabilities: Vec::new(),
    }
}

fn detach_of(event: &Event, link: LinkId) -> Option<Option<AmqpError>> {
    match event {
        Event::LinkDetached {
            link: of, error, ..
        } if *of == link => Some(error.clone()),
        _ => None,
    }
}

fn delivery_of(event: &Event, link: LinkId) -> Option<Delivery> {
    match event {
        Event::Delivery(delivery) if delivery.link == link => Some(delivery.clone()),
        _ => None,
    }
}
