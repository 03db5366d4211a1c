//! One observer: its stream, its timers, and its subscriptions.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use iothub_protocol::mqtt::codec::{DecodeError, decode_client, encode_publish, encode_server};
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, QoS, ServerPacket, SubAckCode, Subscribe, Unsubscribe,
};
use iothub_protocol::{Clock, Timestamp};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::bus::{self, BusError, Link};
use super::feed::{Feed, Message, Watch};
use super::filter::Filter;
use crate::handle::HubHandle;
use crate::transport::Peer;

/// How long an observer may take to say CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an observer may take to read what is sent to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a packet. Observers send nothing large.
const PACKET_LIMIT: usize = 64 * 1024;
/// Subscriptions of one observer.
const MAX_SUBSCRIPTIONS: usize = 32;
/// Messages that may wait for one observer's socket. When it is full, its links wait, and what they
/// then miss in the router's log is lost to this observer only.
const INBOX: usize = 64;
/// Bytes after which what waits is written first.
const WRITE_BURST: usize = 256 * 1024;
/// An MQTT 5 CONNACK with reason 0x84, Unsupported Protocol Version: such clients take no other
/// answer.
const CONNACK_V5_UNSUPPORTED: [u8; 5] = [0x20, 0x03, 0x00, 0x84, 0x00];

/// Serves an observer to its end. Whoever connects may watch, under any client id: the bus is
/// read-only, and its listener is where the operator has put it.
pub(super) async fn serve<S>(
    handle: &HubHandle,
    feed: &Arc<Feed>,
    stream: S,
    peer: &Peer,
    stop: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (sender, inbox) = mpsc::channel(INBOX);
    let mut observer = Observer {
        handle,
        feed,
        stream,
        buffer: BytesMut::new(),
        out: BytesMut::new(),
        // Until it has said CONNECT.
        silence_limit: Some(CONNECT_TIMEOUT),
        last_packet: handle.clock().now(),
        connected: false,
        subscriptions: HashMap::new(),
        pumps: JoinSet::new(),
        sender,
        inbox,
    };
    let reason = observer.run(stop).await;
    tracing::info!(peer = %peer.address, reason, "observer left");
    // Best effort: the peer may be gone already.
    let _ = observer.stream.shutdown().await;
    observer.pumps.shutdown().await;
}

struct Observer<'a, S> {
    handle: &'a HubHandle,
    feed: &'a Arc<Feed>,
    stream: S,
    buffer: BytesMut,
    out: BytesMut,
    silence_limit: Option<Duration>,
    last_packet: Timestamp,
    connected: bool,
    /// What carries each filter; none when no topic can match it.
    subscriptions: HashMap<String, Option<AbortHandle>>,
    /// Carry messages from the bus to the inbox; ending by themselves, they bring bad news.
    pumps: JoinSet<BusError>,
    sender: mpsc::Sender<Message>,
    inbox: mpsc::Receiver<Message>,
}

/// Why a connection ends, for people.
type Reason = String;

impl<S> Observer<'_, S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async fn run(&mut self, stop: &CancellationToken) -> Reason {
        let clock = self.handle.clock().clone();
        let mut messages = Vec::with_capacity(INBOX);
        loop {
            let deadline = self.silence_limit.map(|limit| self.last_packet + limit);
            let silence = async {
                match deadline {
                    Some(deadline) => clock.sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            // Every branch can be dropped without loss.
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => Err("the hub is stopping".into()),
                read = self.stream.read_buf(&mut self.buffer) => match read {
                    Ok(0) => Err("closed without DISCONNECT".into()),
                    Ok(_) => self.handle_packets().await,
                    Err(error) => Err(error.to_string()),
                },
                _ = self.inbox.recv_many(&mut messages, INBOX) => {
                    self.pass_on(&mut messages, stop).await
                }
                Some(ended) = self.pumps.join_next(), if !self.pumps.is_empty() => match ended {
                    Ok(error) => Err(error.to_string()),
                    Err(stopped) if stopped.is_cancelled() => Ok(()),
                    Err(panicked) => Err(panicked.to_string()),
                },
                () = silence => Err("silent for too long".into()),
            };
            // What has been answered before the end is sent, a refusal above all.
            let flushed = self.flush(stop).await;
            if let Err(reason) = step.and(flushed) {
                return reason;
            }
        }
    }

    async fn handle_packets(&mut self) -> Result<(), Reason> {
        loop {
            match decode_client(&mut self.buffer, PACKET_LIMIT) {
                Ok(Some(packet)) => {
                    self.last_packet = self.handle.clock().now();
                    self.handle_packet(packet).await?;
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    if !self.connected {
                        self.refuse(&error);
                    }
                    return Err(error.to_string());
                }
            }
        }
    }

    async fn handle_packet(&mut self, packet: ClientPacket) -> Result<(), Reason> {
        match packet {
            ClientPacket::Connect(connect) if !self.connected => {
                self.connected = true;
                // MQTT 3.1.1 [MQTT-3.1.2-24]: one and a half times the keep-alive; 0 is no limit.
                let keep_alive = connect.keep_alive;
                self.silence_limit =
                    (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1500));
                let code = ConnAckCode::Accepted;
                encode_server(
                    &ServerPacket::ConnAck {
                        session_present: false,
                        code,
                    },
                    &mut self.out,
                );
                Ok(())
            }
            ClientPacket::Connect(_) => Err("a second CONNECT".into()),
            _ if !self.connected => Err("the first packet is not a CONNECT".into()),
            ClientPacket::Subscribe(subscribe) => {
                self.handle_subscribe(subscribe).await;
                Ok(())
            }
            ClientPacket::Unsubscribe(unsubscribe) => {
                self.handle_unsubscribe(&unsubscribe);
                Ok(())
            }
            ClientPacket::PingReq => {
                encode_server(&ServerPacket::PingResp, &mut self.out);
                Ok(())
            }
            ClientPacket::Disconnect => Err("disconnected".into()),
            ClientPacket::Publish(publish) => Err(format!(
                "a PUBLISH to {:?}: observers only watch",
                publish.topic()
            )),
            ClientPacket::PubAck(_) | ClientPacket::QoS2Handshake => {
                Err("an answer to what was never sent".into())
            }
        }
    }

    async fn handle_subscribe(&mut self, subscribe: Subscribe) {
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        for (text, _) in subscribe.filters {
            codes.push(match self.subscribe(&text).await {
                Ok(()) => SubAckCode::Granted(QoS::AtMostOnce),
                Err(reason) => {
                    tracing::info!(filter = ?text, reason, "observer's subscription refused");
                    SubAckCode::Failure
                }
            });
        }
        let answer = ServerPacket::SubAck {
            packet_id: subscribe.packet_id,
            codes,
        };
        encode_server(&answer, &mut self.out);
    }

    /// A filter that is subscribed to already begins anew, so that its retained messages come
    /// again ([MQTT-3.8.4-3]).
    async fn subscribe(&mut self, text: &str) -> Result<(), Reason> {
        let filter = Filter::parse(text).ok_or("not a filter below hub/")?;
        self.unsubscribe(text);
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return Err(format!("more than {MAX_SUBSCRIPTIONS} subscriptions"));
        }
        let shapes = filter.shapes();
        if shapes.is_empty() {
            self.subscriptions.insert(text.to_owned(), None);
            return Ok(());
        }
        let watch = self.feed.watch();
        let inward = shapes
            .into_iter()
            .map(|shape| self.feed.inward_filter(shape))
            .collect();
        let link = spawn_blocking(move || bus::attach(inward))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let pump = pump(link, watch, filter, self.feed.clone(), self.sender.clone());
        self.subscriptions
            .insert(text.to_owned(), Some(self.pumps.spawn(pump)));
        Ok(())
    }

    fn handle_unsubscribe(&mut self, unsubscribe: &Unsubscribe) {
        for text in &unsubscribe.filters {
            self.unsubscribe(text);
        }
        encode_server(
            &ServerPacket::UnsubAck(unsubscribe.packet_id),
            &mut self.out,
        );
    }

    fn unsubscribe(&mut self, text: &str) {
        if let Some(Some(pump)) = self.subscriptions.remove(text) {
            pump.abort();
        }
    }

    async fn pass_on(
        &mut self,
        messages: &mut Vec<Message>,
        stop: &CancellationToken,
    ) -> Result<(), Reason> {
        for message in messages.drain(..) {
            let topic = std::str::from_utf8(&message.topic).unwrap_or_default();
            let (qos, retain) = (QoS::AtMostOnce, message.retain);
            if encode_publish(
                &mut self.out,
                false,
                qos,
                retain,
                topic,
                0,
                &message.payload,
            )
            .is_err()
            {
                tracing::debug!(topic, "too long for a packet");
            }
            if self.out.len() >= WRITE_BURST {
                self.flush(stop).await?;
            }
        }
        Ok(())
    }

    /// A peer that does not read holds up its own connection, for a limited time.
    async fn flush(&mut self, stop: &CancellationToken) -> Result<(), Reason> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let clock = self.handle.clock();
        let deadline = clock.now() + WRITE_TIMEOUT;
        let write = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        tokio::select! {
            biased;
            written = write => written.map_err(|error| format!("write: {error}")),
            () = stop.cancelled() => Err("the hub is stopping".into()),
            () = clock.sleep_until(deadline) => Err("the peer does not read".into()),
        }
    }

    fn refuse(&mut self, error: &DecodeError) {
        match error {
            DecodeError::UnsupportedProtocol { name, level: 5 } if name == "MQTT" => {
                self.out.extend_from_slice(&CONNACK_V5_UNSUPPORTED);
            }
            DecodeError::UnsupportedProtocol { .. } => {
                let code = ConnAckCode::UnacceptableProtocolVersion;
                encode_server(
                    &ServerPacket::ConnAck {
                        session_present: false,
                        code,
                    },
                    &mut self.out,
                );
            }
            DecodeError::TooLarge { .. } | DecodeError::Malformed(_) => {}
        }
    }
}

/// Carries what matches `filter` from the bus to an observer, until the bus fails or nobody takes
/// it any more.
async fn pump(
    mut link: Link,
    _watch: Watch,
    filter: Filter,
    feed: Arc<Feed>,
    sender: mpsc::Sender<Message>,
) -> BusError {
    loop {
        let (topic, payload, retain) = match link.next().await {
            Ok(message) => message,
            Err(error) => return error,
        };
        let Some(topic) = feed.outward(&topic) else {
            continue;
        };
        if std::str::from_utf8(&topic).is_ok_and(|topic| filter.matches(topic))
            && sender
                .send(Message {
                    topic,
                    payload,
                    retain,
                })
                .await
                .is_err()
        {
            // The observer has gone, and takes this task with it.
            return BusError::Dead;
        }
    }
}
