//! The connection task: opens the connection, serves it, and opens it again.
//!
//! What packets mean is the [`Session`]'s; here is only when to read, write, wait and stop.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use iothub_protocol::method::MAX_PAYLOAD_SIZE;
use iothub_protocol::{Clock, Timestamp};
use rumqttc::{
    AsyncClient, ClientError, ConnectionError, Event, EventLoop, NetworkOptions, Packet, Publish,
    QoS, SubscribeReasonCode,
};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};

use crate::c2d::Receipt;
use crate::credentials::Credentials;
use crate::methods::Handlers;
use crate::operation::Command;
use crate::retry::Schedule;
use crate::session::{CallTicket, Incoming, Outgoing, Session, WINDOW};
use crate::transport::Transport;
use crate::{ConnectionState, Error, ErrorKind, MethodCall, MethodResponse};

/// One client's connection, with everything that outlives a single TCP connection.
pub(crate) struct Connection {
    pub(crate) transport: Transport,
    pub(crate) credentials: Credentials,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) schedule: Schedule,
    pub(crate) session: Session,
    pub(crate) handlers: Arc<Handlers>,
    /// Bounded: whoever asks for more than can be done waits.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Bounded: a receipt that finds no place is void, see [`crate::c2d`].
    pub(crate) receipts: mpsc::Receiver<Receipt>,
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) state: watch::Sender<ConnectionState>,
    pub(crate) calls: Calls,
}

/// Method handlers that are running.
#[derive(Default)]
pub(crate) struct Calls {
    running: JoinSet<MethodResponse>,
    tickets: HashMap<Id, CallTicket>,
}

/// A TCP connection that the hub accepted.
struct Link {
    events: EventLoop,
    requests: AsyncClient,
    renew_at: Option<Timestamp>,
}

/// Why a connection ends.
enum End {
    Closed,
    Renewed,
    Lost(Error),
}

/// What a connection is being brought to an orderly end for.
#[derive(Clone, Copy)]
enum Drain {
    Close,
    Renew,
}

type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl Connection {
    /// Runs until the client is closed or the hub refuses it for good. `first` is told how the
    /// first connection went.
    pub(crate) async fn run(mut self, first: oneshot::Sender<Result<(), Error>>) {
        let mut first = Some(first);
        let reason = self.stay_connected(&mut first).await;
        self.calls.abort().await;
        // Handlers often hold a clone of the client, and so would keep it alive.
        self.handlers.clear();
        let error = reason
            .clone()
            .unwrap_or_else(|| Error::new(ErrorKind::Closed));
        self.state.send_replace(ConnectionState::Closed { reason });
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            self.session.handle_command(command);
        }
        self.session.fail_all(&error);
        if let Some(first) = first {
            let _ = first.send(Err(error));
        }
    }

    /// Returns why it is over; nothing when the client was closed.
    async fn stay_connected(
        &mut self,
        first: &mut Option<oneshot::Sender<Result<(), Error>>>,
    ) -> Option<Error> {
        loop {
            let lost = match self.open().await? {
                Ok(link) => {
                    let opened_at = self.clock.now();
                    if let Some(first) = first.take() {
                        let _ = first.send(Ok(()));
                    }
                    self.state.send_replace(ConnectionState::Connected);
                    let end = self.serve(link).await;
                    if self.clock.now().since(opened_at) >= PROVEN_AFTER {
                        self.schedule.reset();
                    }
                    match end {
                        End::Closed => return None,
                        End::Renewed => continue,
                        End::Lost(error) => error,
                    }
                }
                Err(error) => error,
            };
            if lost.is_final() {
                return Some(lost);
            }
            let Some(delay) = self.schedule.next_delay(first.is_none()) else {
                return Some(lost);
            };
            self.pause(lost, delay).await?;
        }
    }

    /// Opens a connection and waits for the hub to accept it; `None` when the client is closed.
    async fn open(&mut self) -> Option<Result<Link, Error>> {
        self.state.send_if_modified(|state| {
            let was_connecting = matches!(state, ConnectionState::Connecting);
            *state = ConnectionState::Connecting;
            !was_connecting
        });
        let password = self.credentials.password(self.clock.now());
        let options = self.transport.options(&password.text);
        let (requests, mut events) = AsyncClient::new(options, REQUESTS);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT_LIMIT.as_secs());
        events.set_network_options(network);
        let accepted = tokio::select! {
            accepted = events.poll() => accepted,
            () = is_closing(&mut self.closing) => return None,
        };
        Some(match accepted {
            Ok(_connack) => Ok(Link {
                events,
                requests,
                renew_at: password.renew_at,
            }),
            Err(error) => Err(self.transport.explain(error)),
        })
    }

    /// Waits before the next attempt; `None` when the client is closed.
    async fn pause(&mut self, reason: Error, delay: Duration) -> Option<()> {
        tracing::info!(%reason, ?delay, client = %self.transport.client, "connect again");
        self.state
            .send_replace(ConnectionState::Retrying { reason, delay });
        let deadline = self.clock.now() + delay;
        tokio::select! {
            () = self.clock.sleep_until(deadline) => Some(()),
            () = is_closing(&mut self.closing) => None,
        }
    }

    /// Serves a connection until its end.
    async fn serve(&mut self, link: Link) -> End {
        let Link {
            mut events,
            requests,
            renew_at,
        } = link;
        let clock = Arc::clone(&self.clock);
        let mut renewal: Sleep<'_> = match renew_at {
            Some(renew_at) => clock.sleep_until(renew_at),
            None => Box::pin(pending()),
        };
        let mut drain: Option<Drain> = None;
        let mut drain_limit: Sleep<'_> = Box::pin(pending());
        let mut is_disconnecting = false;
        self.session.begin_link();

        loop {
            let event = {
                // Kept until it is complete: a write that was dropped half-way would be lost.
                let mut poll = pin!(events.poll());
                loop {
                    if let Err(error) = self.write(&requests) {
                        return End::Lost(error);
                    }
                    if drain.is_some() && !is_disconnecting && self.is_idle() {
                        is_disconnecting = requests.try_disconnect().is_ok();
                    }
                    let was_draining = drain.is_some();
                    tokio::select! {
                        event = &mut poll => break event,
                        command = self.commands.recv(),
                            if drain.is_none() && self.session.has_room() => match command {
                                Some(command) => self.session.handle_command(command),
                                // The last handle is gone.
                                None => drain = Some(Drain::Close),
                            },
                        Some(receipt) = self.receipts.recv() => {
                            self.session.handle_receipt(receipt);
                        }
                        Some(done) = self.calls.running.join_next_with_id() => {
                            if let Some((ticket, response)) = self.calls.finish(done) {
                                self.session.answer(&ticket, response);
                            }
                        }
                        () = is_closing(&mut self.closing), if drain.is_none() => {
                            drain = Some(Drain::Close);
                        }
                        () = &mut renewal, if drain.is_none() => drain = Some(Drain::Renew),
                        () = &mut drain_limit, if drain.is_some() => break Ok(DISCONNECTED),
                    }
                    if drain.is_some() && !was_draining {
                        drain_limit = clock.sleep_until(clock.now() + DRAIN_LIMIT);
                    }
                }
            };
            match (event, drain) {
                (Ok(DISCONNECTED) | Err(_), Some(Drain::Close)) => return End::Closed,
                (Ok(DISCONNECTED) | Err(_), Some(Drain::Renew)) => return End::Renewed,
                (Ok(event), _) => self.handle(event),
                (Err(error), None) => return self.lost(&mut events, error),
            }
        }
    }

    /// What came in before the connection broke still counts.
    fn lost(&mut self, events: &mut EventLoop, error: ConnectionError) -> End {
        while let Some(event) = events.state.events.pop_front() {
            self.handle(event);
        }
        End::Lost(self.transport.explain(error))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Outgoing(
                rumqttc::Outgoing::Publish(packet_id) | rumqttc::Outgoing::Subscribe(packet_id),
            ) => self.session.handle_written(packet_id),
            Event::Incoming(Packet::PubAck(puback)) => self.session.handle_published(puback.pkid),
            Event::Incoming(Packet::SubAck(suback)) => {
                // One filter is in each SUBSCRIBE.
                let is_granted = suback
                    .return_codes
                    .iter()
                    .all(|code| matches!(code, SubscribeReasonCode::Success(_)));
                self.session.handle_subscribed(suback.pkid, is_granted);
            }
            Event::Incoming(Packet::Publish(publish)) => self.handle_publish(publish),
            // Pings, and what answers our own requests without saying anything new.
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }

    fn handle_publish(&mut self, publish: Publish) {
        let incoming = Incoming {
            topic: &publish.topic,
            packet_id: (publish.qos != QoS::AtMostOnce).then_some(publish.pkid),
            payload: publish.payload,
        };
        let Some((call, ticket)) = self.session.handle_incoming(incoming) else {
            return;
        };
        if self.calls.running.len() < WINDOW {
            self.calls.start(&self.handlers, call, ticket);
        } else {
            let busy = json!({"message": "too many calls at once"});
            self.session
                .answer(&ticket, MethodResponse::json(429, &busy));
        }
    }

    /// Hands what is to be sent to the event loop. Fails when its queue is full, which the window
    /// prevents unless the hub floods us with calls; the connection is of no use then.
    fn write(&mut self, requests: &AsyncClient) -> Result<(), Error> {
        for outgoing in self.session.take_outgoing() {
            hand_over(requests, outgoing).map_err(|error| {
                let what = "more at once than can be answered".into();
                Error::caused_by(ErrorKind::UnexpectedAnswer(what), error)
            })?;
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.session.is_idle() && self.calls.running.is_empty()
    }
}

impl Calls {
    fn start(&mut self, handlers: &Arc<Handlers>, call: MethodCall, ticket: CallTicket) {
        let handlers = Arc::clone(handlers);
        // Also what a handler does before its first wait is done on its own task: it may panic.
        let task = self
            .running
            .spawn(async move { handlers.answer(call).await });
        self.tickets.insert(task.id(), ticket);
    }

    fn finish(
        &mut self,
        done: Result<(Id, MethodResponse), JoinError>,
    ) -> Option<(CallTicket, MethodResponse)> {
        let (id, response) = match done {
            Ok((id, response)) if response.payload.len() > MAX_PAYLOAD_SIZE => {
                (id, failure("the answer is larger than 128 KiB"))
            }
            Ok(done) => done,
            Err(error) => (error.id(), failure("the method's handler failed")),
        };
        Some((self.tickets.remove(&id)?, response))
    }

    async fn abort(&mut self) {
        self.running.shutdown().await;
        self.tickets.clear();
    }
}

fn hand_over(requests: &AsyncClient, outgoing: Outgoing) -> Result<(), ClientError> {
    match outgoing {
        Outgoing::Publish { topic, payload } => publish(requests, topic, QoS::AtLeastOnce, payload),
        Outgoing::PublishOnce { topic, payload } => {
            publish(requests, topic, QoS::AtMostOnce, payload)
        }
        Outgoing::Subscribe { filter } => requests.try_subscribe(filter, QoS::AtLeastOnce),
        Outgoing::Acknowledge { packet_id } => {
            let mut publish = Publish::new("", QoS::AtLeastOnce, []);
            publish.pkid = packet_id;
            requests.try_ack(&publish)
        }
    }
}

/// As `try_publish`, but for any topic: ids stand in topics as they are, also with `+` and `#`
/// (`spec/device.md` 2.2), and without a copy of the payload.
fn publish(
    requests: &AsyncClient,
    topic: String,
    qos: QoS,
    payload: Bytes,
) -> Result<(), ClientError> {
    let full = || {
        let publish = Publish::from_bytes("", qos, Bytes::new());
        ClientError::TryRequest(publish.into())
    };
    // Ready at once unless the queue is full.
    let handed = pin!(requests.publish_bytes(topic, qos, false, payload));
    match handed.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(full()),
    }
}

fn failure(message: &str) -> MethodResponse {
    MethodResponse::json(500, &json!({"message": message}))
}

/// Returns once the client is being closed, or nobody is left who could close it.
async fn is_closing(closing: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, and it goes with the last handle.
    let _ = closing.wait_for(|&is_closing| is_closing).await;
}

const DISCONNECTED: Event = Event::Outgoing(rumqttc::Outgoing::Disconnect);
/// Room for the window, a subscription of each feature, and as many acknowledgements again.
const REQUESTS: usize = 4 * WINDOW;
/// To open TCP and TLS and to be accepted.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How long an orderly end may take before it becomes a sudden one.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// A connection that lasts this long starts the pauses over. Shorter ones do not, so that two
/// clients of the same name, each taking over from the other, calm down.
const PROVEN_AFTER: Duration = Duration::from_secs(10);
