//! One observer: its stream, its timers, and what it may say.

use std::future::pending;
use std::time::Duration;

use bytes::BytesMut;
use iothub_protocol::Clock;
use iothub_protocol::Timestamp;
use iothub_protocol::mqtt::codec::{DecodeError, decode_client, encode_publish, encode_server};
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, QoS, ServerPacket, SubAckCode, Subscribe, Unsubscribe,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Host;
use super::channel::Message;
use super::subscriptions::Subscriptions;
use crate::transport::Peer;

/// How long an observer may take to say CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an observer may take to read what is sent to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an observer for whom there is no place may take to say CONNECT.
const PARTING: Duration = Duration::from_secs(1);
/// Bytes of a packet. Observers send nothing large.
const PACKET_LIMIT: usize = 64 * 1024;
/// Bytes of a password.
const PASSWORD_LIMIT: usize = 1024;
/// Messages that may wait for one observer's socket. When it is full, its links wait, and what they
/// then miss in the router's log is lost to this observer only.
const INBOX: usize = 64;
/// Bytes after which what waits is written first.
const WRITE_BURST: usize = 256 * 1024;
/// An MQTT 5 CONNACK with reason 0x84, Unsupported Protocol Version: such clients take no other
/// answer.
const CONNACK_V5_UNSUPPORTED: [u8; 5] = [0x20, 0x03, 0x00, 0x84, 0x00];

/// A message for one observer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Delivered {
    pub(super) message: Message,
    /// Whether it is the state as it was before the subscription.
    pub(super) retain: bool,
}

/// Serves an observer to its end.
pub(super) async fn serve<S>(host: &Host, stream: S, peer: &Peer, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (sender, inbox) = mpsc::channel(INBOX);
    let mut observer = Observer {
        host,
        stream,
        buffer: BytesMut::new(),
        out: BytesMut::new(),
        // Until it has said CONNECT.
        silence_limit: Some(CONNECT_TIMEOUT),
        last_packet: host.clock.now(),
        connected: false,
        subscriptions: Subscriptions::new(host.feed.clone(), sender),
        inbox,
    };
    let reason = match host.places.try_acquire() {
        Ok(_place) => observer.run(stop).await,
        Err(_) => {
            observer.hear_out(stop).await;
            observer.answer_connect(ConnAckCode::ServerUnavailable);
            let _ = observer.flush(stop).await;
            "there are too many observers".into()
        }
    };
    tracing::info!(peer = %peer.address, reason, "observer left");
    // Best effort: the peer may be gone already.
    let _ = observer.stream.shutdown().await;
    observer.subscriptions.end().await;
}

struct Observer<'a, S> {
    host: &'a Host,
    stream: S,
    buffer: BytesMut,
    out: BytesMut,
    silence_limit: Option<Duration>,
    last_packet: Timestamp,
    connected: bool,
    subscriptions: Subscriptions,
    inbox: mpsc::Receiver<Delivered>,
}

/// Why a connection ends, for people.
type Reason = String;

impl<S> Observer<'_, S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async fn run(&mut self, stop: &CancellationToken) -> Reason {
        let clock = self.host.clock.clone();
        let mut dropped = self.host.feed.dropped();
        let mut delivered = Vec::with_capacity(INBOX);
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
                _ = self.inbox.recv_many(&mut delivered, INBOX) => {
                    self.pass_on(&mut delivered, stop).await
                }
                error = self.subscriptions.failed() => Err(error),
                // Its sender lives in the feed.
                _ = dropped.changed() => Ok(()),
                () = silence => Err("silent for too long".into()),
            };
            if step.is_ok()
                && let Some(losses) = self.subscriptions.losses()
            {
                self.encode(&losses);
            }
            // What has been answered before the end is sent, a refusal above all.
            let flushed = self.flush(stop).await;
            if let Err(reason) = step.and(flushed) {
                return reason;
            }
        }
    }

    /// Takes what has been sent, for a moment: an answer is lost when what stands unread is thrown
    /// away.
    async fn hear_out(&mut self, stop: &CancellationToken) {
        let deadline = self.last_packet + PARTING;
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            // Whatever came is not looked at.
            _ = self.stream.read_buf(&mut self.buffer) => {}
            () = self.host.clock.sleep_until(deadline) => {}
        }
    }

    async fn handle_packets(&mut self) -> Result<(), Reason> {
        loop {
            match decode_client(&mut self.buffer, PACKET_LIMIT) {
                Ok(Some(packet)) => {
                    self.last_packet = self.host.clock.now();
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
            ClientPacket::Connect(connect) if !self.connected => self.handle_connect(&connect),
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

    /// Lets in whoever knows the password, if there is one, under any client id and user name.
    fn handle_connect(&mut self, connect: &Connect) -> Result<(), Reason> {
        let code = self.judge(connect);
        self.answer_connect(code);
        if code != ConnAckCode::Accepted {
            return Err(format!("CONNECT refused: {code:?}"));
        }
        self.connected = true;
        // MQTT 3.1.1 [MQTT-3.1.2-24]: one and a half times the keep-alive; 0 is no limit.
        let keep_alive = connect.keep_alive;
        self.silence_limit =
            (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1500));
        Ok(())
    }

    fn judge(&self, connect: &Connect) -> ConnAckCode {
        if let Some(wanted) = &self.host.password {
            let word = connect.password.as_deref().unwrap_or_default();
            if word.len() > PASSWORD_LIMIT || std::str::from_utf8(word).is_err() {
                return ConnAckCode::BadUserNameOrPassword;
            }
            if !wanted.is(word) {
                return ConnAckCode::NotAuthorized;
            }
        }
        // [MQTT-3.1.3-8]: nothing can be remembered for nobody.
        if connect.client_id.is_empty() && !connect.clean_session {
            return ConnAckCode::IdentifierRejected;
        }
        // A will is a message, and observers send none.
        if connect.will.is_some() {
            return ConnAckCode::NotAuthorized;
        }
        ConnAckCode::Accepted
    }

    async fn handle_subscribe(&mut self, subscribe: Subscribe) {
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        let mut begun = Vec::new();
        for (text, _) in subscribe.filters {
            codes.push(match self.subscriptions.begin(&text).await {
                Ok(subscription) => {
                    begun.push(subscription);
                    SubAckCode::Granted(QoS::AtMostOnce)
                }
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
        if let Some(losses) = self.subscriptions.losses_as_state(&begun) {
            self.encode(&losses);
        }
    }

    fn handle_unsubscribe(&mut self, unsubscribe: &Unsubscribe) {
        for text in &unsubscribe.filters {
            self.subscriptions.unsubscribe(text);
        }
        encode_server(
            &ServerPacket::UnsubAck(unsubscribe.packet_id),
            &mut self.out,
        );
    }

    async fn pass_on(
        &mut self,
        delivered: &mut Vec<Delivered>,
        stop: &CancellationToken,
    ) -> Result<(), Reason> {
        for one in delivered.drain(..) {
            self.encode(&one);
            if self.out.len() >= WRITE_BURST {
                self.flush(stop).await?;
            }
        }
        Ok(())
    }

    fn encode(&mut self, delivered: &Delivered) {
        let Message { topic, payload } = &delivered.message;
        let topic = std::str::from_utf8(topic).unwrap_or_default();
        let (out, qos) = (&mut self.out, QoS::AtMostOnce);
        if encode_publish(out, false, qos, delivered.retain, topic, 0, payload).is_err() {
            tracing::debug!(topic, "too long for a packet");
        }
    }

    /// A peer that does not read holds up its own connection, for a limited time.
    async fn flush(&mut self, stop: &CancellationToken) -> Result<(), Reason> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let clock = &self.host.clock;
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
                self.answer_connect(ConnAckCode::UnacceptableProtocolVersion);
            }
            DecodeError::TooLarge { .. } | DecodeError::Malformed(_) => {}
        }
    }

    fn answer_connect(&mut self, code: ConnAckCode) {
        let answer = ServerPacket::ConnAck {
            session_present: false,
            code,
        };
        encode_server(&answer, &mut self.out);
    }
}
