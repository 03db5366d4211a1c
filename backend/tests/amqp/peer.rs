//! The other side of a back end's connections: a hub and its event hub as far as the wire goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iothub_backend::{Backend, BackendBuilder};
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::cbs::{self, PutToken};
use iothub_protocol::amqp::connection::{
    AcceptLink, Connection, ConnectionConfig, DeliveryId, Event,
};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::management::{
    EventHubProperties, PartitionProperties, ReadRequest, Subject,
};
use iothub_protocol::amqp::message::{AmqpMessage, Body};
use iothub_protocol::amqp::performative::{Attach, Role};
use iothub_protocol::amqp::sasl::SaslCode;
use iothub_protocol::amqp::selector::EventPosition;
use iothub_protocol::amqp::value::{Symbol, Value};
use iothub_protocol::amqp::{AmqpError, DeliveryState, LinkId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub(crate) const CONNECTION_STRING: &str = "HostName=hub.example;SharedAccessKeyName=service;\
     SharedAccessKey=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";
/// How long a test waits for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// Listens for as long as the test runs.
pub(crate) struct Peer {
    pub(crate) address: String,
    story: Arc<Mutex<Story>>,
    changed: Arc<Notify>,
}

/// What the peer says and has heard.
pub(crate) struct Story {
    /// The status of answers to tokens.
    pub(crate) token_status: i32,
    pub(crate) tokens: Vec<PutToken>,
    pub(crate) connections: usize,
    pub(crate) attached: Vec<Attach>,
    /// Messages that were sent to devices.
    pub(crate) sent: Vec<AmqpMessage>,
    /// What becomes of them.
    pub(crate) outcome: DeliveryState,
    /// The events of partition 0; the number of each is its place plus `first`.
    pub(crate) events: Vec<AmqpMessage>,
    /// The number of the first event.
    pub(crate) first: i64,
    /// Messages of the queue that is read.
    pub(crate) queue: Vec<AmqpMessage>,
    pub(crate) settled: Vec<DeliveryState>,
    /// Raised to end all connections there are.
    pub(crate) cut: usize,
    /// What readers are detached with.
    pub(crate) detach: Option<AmqpError>,
}

impl Peer {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let story = Arc::new(Mutex::new(Story {
            token_status: 200,
            tokens: Vec::new(),
            connections: 0,
            attached: Vec::new(),
            sent: Vec::new(),
            outcome: DeliveryState::Accepted,
            events: Vec::new(),
            first: 0,
            queue: Vec::new(),
            settled: Vec::new(),
            cut: 0,
            detach: None,
        }));
        let changed = Arc::new(Notify::new());
        let (shared, notify) = (Arc::clone(&story), Arc::clone(&changed));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                let server = Server::new(stream, Arc::clone(&shared), Arc::clone(&notify));
                tokio::spawn(server.run());
            }
        });
        Self {
            address,
            story,
            changed,
        }
    }

    pub(crate) fn builder(&self) -> BackendBuilder {
        Backend::builder(CONNECTION_STRING).amqp_address(&self.address)
    }

    pub(crate) fn backend(&self) -> Backend {
        self.builder().build().unwrap()
    }

    pub(crate) fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap()
    }

    /// Changes what the peer says.
    pub(crate) fn tell(&self, tell: impl FnOnce(&mut Story)) {
        tell(&mut self.story());
        self.changed.notify_waiters();
    }

    /// Waits until it has heard what is wanted.
    pub(crate) async fn until<R>(&self, look: impl Fn(&Story) -> Option<R>) -> R {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if let Some(found) = look(&self.story()) {
                    return found;
                }
                changed.await;
            }
        };
        within(waiting).await
    }
}

/// What comes in time.
pub(crate) async fn within<R>(future: impl Future<Output = R>) -> R {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

/// A message with this body.
pub(crate) fn message(body: &str) -> AmqpMessage {
    AmqpMessage {
        body: Body::Data(vec![Bytes::copy_from_slice(body.as_bytes())]),
        ..AmqpMessage::default()
    }
}

/// One connection.
struct Server {
    stream: TcpStream,
    connection: Connection,
    story: Arc<Mutex<Story>>,
    changed: Arc<Notify>,
    links: BTreeMap<LinkId, Node>,
    cut: usize,
}

/// What a link is for.
enum Node {
    Responses(String),
    Requests(String),
    Messages,
    Reader { next: usize },
    Queue { next: usize },
}

impl Server {
    fn new(stream: TcpStream, story: Arc<Mutex<Story>>, changed: Arc<Notify>) -> Self {
        let config = ConnectionConfig {
            container_id: "peer".into(),
            hostname: None,
            max_frame_size: 4096,
            max_sessions: 10,
            max_links: 100,
            incoming_window: 100,
            idle_timeout: None,
            sasl_mechanisms: vec![Symbol::of("ANONYMOUS")],
            max_unfinished: 1 << 20,
        };
        let cut = story.lock().unwrap().cut;
        Self {
            stream,
            connection: Connection::server(config, Timestamp::UNIX_EPOCH),
            story,
            changed,
            links: BTreeMap::new(),
            cut,
        }
    }

    async fn run(mut self) {
        let mut input = BytesMut::with_capacity(4096);
        let changed = Arc::clone(&self.changed);
        loop {
            let changed = changed.notified();
            if self.story.lock().unwrap().cut > self.cut {
                return;
            }
            self.work();
            while let Some(chunk) = self.connection.next_output() {
                if self.stream.write_all(&chunk).await.is_err() {
                    return;
                }
            }
            if self.connection.is_closed() {
                return;
            }
            tokio::select! {
                read = self.stream.read_buf(&mut input) => {
                    if !matches!(read, Ok(1..)) {
                        return;
                    }
                    self.connection.receive(Timestamp::UNIX_EPOCH, &input);
                    input.clear();
                }
                () = changed => {}
            }
        }
    }

    fn work(&mut self) {
        let story = Arc::clone(&self.story);
        let mut story = story.lock().unwrap();
        let mut has_changed = false;
        while let Some(event) = self.connection.next_event() {
            has_changed = true;
            match event {
                Event::SaslInit { .. } => self.connection.sasl_outcome(SaslCode::Ok),
                Event::LinkAttached { link, attach, .. } => {
                    story.attached.push((*attach).clone());
                    self.attach(link, &attach, &story);
                }
                Event::LinkDetached { link, .. } => {
                    self.links.remove(&link);
                }
                Event::Delivery(delivery) => {
                    let message = AmqpMessage::decode(delivery.payload).unwrap();
                    let outcome = match &self.links[&delivery.link] {
                        Node::Messages => {
                            story.sent.push(message);
                            story.outcome.clone()
                        }
                        Node::Requests(node) => {
                            let answer = answer(&mut story, node, &message);
                            self.respond(&node.clone(), &answer);
                            DeliveryState::Accepted
                        }
                        _ => unreachable!("deliveries come on links that receive"),
                    };
                    self.connection.settle(delivery.link, delivery.id, outcome);
                }
                Event::Outcome {
                    link,
                    state: Some(state),
                    ..
                } if matches!(self.links.get(&link), Some(Node::Queue { .. })) => {
                    story.settled.push(state);
                }
                _ => {}
            }
        }
        self.push(&mut story);
        drop(story);
        if has_changed {
            self.changed.notify_waiters();
        }
    }

    fn attach(&mut self, link: LinkId, attach: &Attach, story: &Story) {
        let source = attach.source.as_ref().and_then(|it| it.address.clone());
        let target = attach.target.as_ref().and_then(|it| it.address.clone());
        let node = match (attach.role, source.as_deref(), target.as_deref()) {
            (Role::Sender, _, Some(node @ ("$cbs" | "$management"))) => {
                Node::Requests(node.to_owned())
            }
            (Role::Sender, ..) => Node::Messages,
            (Role::Receiver, Some(node @ ("$cbs" | "$management")), _) => {
                Node::Responses(node.to_owned())
            }
            (Role::Receiver, Some("/messages/events/$management"), _) => {
                let redirect = AmqpError::new(condition::LINK_REDIRECT, "look elsewhere")
                    .with_info(Symbol::of("hostname"), "events.example")
                    .with_info(Symbol::of("port"), Value::Int(5671))
                    .with_info(
                        Symbol::of("address"),
                        "amqps://events.example:5671/entity/$management",
                    );
                return self.connection.refuse_link(link, redirect);
            }
            (Role::Receiver, Some(address), _) if address.contains("/Partitions/") => {
                let filter = &attach.source.as_ref().unwrap().filter;
                Node::Reader {
                    next: start(story, filter),
                }
            }
            (Role::Receiver, ..) => Node::Queue { next: 0 },
        };
        let answer = AcceptLink {
            credit: 100,
            ..AcceptLink::default()
        };
        self.connection.accept_link(link, answer);
        self.links.insert(link, node);
    }

    fn respond(&mut self, node: &str, answer: &AmqpMessage) {
        let mut links = self.links.iter();
        let answers = links.find(|(_, it)| matches!(it, Node::Responses(name) if name == node));
        // Who asked may be gone.
        let Some((&link, _)) = answers else { return };
        send(&mut self.connection, link, answer, false);
    }

    /// Sends what there is to who reads.
    fn push(&mut self, story: &mut Story) {
        for (&link, node) in &mut self.links {
            let (messages, next) = match node {
                Node::Reader { next } => (&story.events, next),
                Node::Queue { next } => (&story.queue, next),
                Node::Responses(_) | Node::Requests(_) | Node::Messages => continue,
            };
            if let Some(error) = &story.detach
                && *next >= messages.len()
            {
                self.connection.detach(link, Some(error.clone()));
                continue;
            }
            while *next < messages.len() && self.connection.sendable(link) > 0 {
                send(&mut self.connection, link, &messages[*next], false).unwrap();
                *next += 1;
            }
        }
    }
}

/// The place of the first event that a reader wants.
fn start(story: &Story, filter: &[(Value, Value)]) -> usize {
    let wanted = match EventPosition::from_filter(&filter.to_vec()).unwrap() {
        EventPosition::Earliest => 0,
        EventPosition::Sequence {
            sequence,
            inclusive,
        } => sequence + i64::from(!inclusive) - story.first,
        other => panic!("no test asks for {other:?}"),
    };
    usize::try_from(wanted).unwrap_or_default()
}

fn answer(story: &mut Story, node: &str, request: &AmqpMessage) -> AmqpMessage {
    let id = request.properties.message_id.clone().unwrap();
    if node == "$cbs" {
        story.tokens.push(PutToken::from_message(request).unwrap());
        return cbs::response(&id, story.token_status, "so be it", Value::Null);
    }
    let request = ReadRequest::from_message(request).unwrap();
    assert_eq!(request.entity, "entity");
    let last = story.first + i64::try_from(story.events.len()).unwrap() - 1;
    let body = match request.subject {
        Subject::EventHub => EventHubProperties {
            name: request.entity,
            created_at: Timestamp::from_unix_seconds(1),
            partition_ids: vec!["0".into()],
        }
        .to_value(),
        Subject::Partition(partition) => PartitionProperties {
            name: request.entity,
            partition,
            begin_sequence_number: story.first,
            last_enqueued_sequence_number: last,
            last_enqueued_offset: last.to_string(),
            last_enqueued_time: Some(Timestamp::from_unix_seconds(2)),
            is_empty: story.events.is_empty(),
        }
        .to_value(),
    };
    cbs::response(&id, 200, "OK", body)
}

fn send(
    connection: &mut Connection,
    link: LinkId,
    message: &AmqpMessage,
    settled: bool,
) -> Option<DeliveryId> {
    let mut payload = BytesMut::new();
    message.encode(&mut payload);
    connection
        .send(link, &[7; 16], 0, payload.freeze(), settled)
        .ok()
}
