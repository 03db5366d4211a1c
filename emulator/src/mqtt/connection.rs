//! The IO loop of one connection: its stream, its timers, and its calls of the hub.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iothub_hub::{End, LockToken, Settlement};
use iothub_protocol::http::twin_error_body;
use iothub_protocol::mqtt::codec::{decode_client, encode_server};
use iothub_protocol::mqtt::packet::{ClientPacket, Publish, QoS, ServerPacket};
use iothub_protocol::{Clock, Error, ErrorCode, Message, Timestamp, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::admission::{Admitted, admit, first_packet};
use super::session::{Request, Violation};
use crate::activity::OperationKind;
use crate::handle::HubHandle;
use crate::mailbox::{Mailbox, Step};
use crate::throttling::Load;
use crate::timeline::Tapped;
use crate::transport::{Peer, read_burst};

/// Serves a connection to its end.
pub(super) async fn serve<S>(
    handle: &HubHandle,
    settings: &Settings,
    mut stream: Tapped<S>,
    peer: &Peer,
    shutdown: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut buffer = BytesMut::new();
    let first = {
        let deadline = handle.clock().now() + settings.connect_timeout;
        tokio::select! {
            first = first_packet(settings, &mut stream, peer, &mut buffer) => first,
            () = handle.clock().sleep_until(deadline) => {
                tracing::info!(peer = %peer.address, "closed: no CONNECT in time");
                None
            }
            () = shutdown.cancelled() => None,
        }
    };
    let admitted = match first {
        // Not a branch above: dropped half-way, it would leave a session without a connection.
        // Boxed: what a login needs is not carried through the connection's idle days.
        Some(packet) => Box::pin(admit(handle, settings, &mut stream, peer, packet)).await,
        None => None,
    };
    let Some(admitted) = admitted else {
        // The answer, if there was one, has been written; the peer may be gone already.
        let _ = stream.shutdown().await;
        return;
    };

    let client = admitted.session.client().clone();
    stream.let_in(&client);
    let session = admitted.id;
    let mut connection = Connection {
        handle,
        settings,
        stream,
        buffer,
        out: BytesMut::new(),
        batch: Batch::default(),
        silence_limit: silence_limit(admitted.keep_alive, settings),
        last_packet: handle.clock().now(),
        admitted,
    };
    let ending = connection.run(shutdown).await;
    tracing::debug!(%client, ?ending, "connection ended");
    match &ending {
        Ending::Goodbye => handle.disconnect(session, &client, End::Goodbye),
        Ending::ByHub(code) => {
            tracing::info!(%client, code = code.name(), "disconnected by hub");
            // The hub knows already, unless it was the mailbox that overflowed.
            handle.disconnect(session, &client, End::Lost);
        }
        Ending::Lost(reason) => {
            tracing::info!(%client, reason, "connection lost");
            handle.disconnect_because(session, &client, End::Lost, Some(reason));
        }
        Ending::Shutdown => {
            let why = Some("the emulator stops");
            handle.disconnect_because(session, &client, End::Goodbye, why);
        }
    }
    // Best effort: the peer may be gone already.
    let _ = connection.stream.shutdown().await;
}

struct Connection<'a, S> {
    handle: &'a HubHandle,
    settings: &'a Settings,
    stream: S,
    buffer: BytesMut,
    out: BytesMut,
    batch: Batch,
    admitted: Admitted,
    silence_limit: Duration,
    last_packet: Timestamp,
}

/// Telemetry and acknowledgements of one read, each handed to the hub in one call.
#[derive(Default)]
struct Batch {
    messages: Vec<Message>,
    acks: Vec<u16>,
    arena: BytesMut,
    /// Locks of messages that the client has acknowledged.
    settled: Vec<LockToken>,
}

#[derive(Debug)]
enum Ending {
    Goodbye,
    ByHub(ErrorCode),
    Lost(String),
    Shutdown,
}

impl From<Violation> for Ending {
    fn from(violation: Violation) -> Self {
        Self::Lost(violation.0)
    }
}

/// One and a half times the keep-alive, at most the service's ceiling (`spec/device.md` 2.5).
fn silence_limit(keep_alive: u16, settings: &Settings) -> Duration {
    if keep_alive == 0 {
        return settings.keep_alive_ceiling;
    }
    let limit = Duration::from_millis(u64::from(keep_alive) * 1500);
    limit.min(settings.keep_alive_ceiling)
}

impl<S> Connection<'_, S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async fn run(&mut self, shutdown: &CancellationToken) -> Ending {
        let clock = self.handle.clock().clone();
        let mailbox = self.admitted.mailbox.clone();
        let mut alarm = clock.sleep_until(self.last_packet + self.silence_limit);
        // Packets may have come together with the CONNECT.
        let mut pending = !self.buffer.is_empty();
        loop {
            if !pending {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ending::Shutdown,
                    // Dropping it loses nothing: the mailbox is looked at below.
                    () = mailbox.changed() => {}
                    () = &mut alarm => {
                        let deadline = self.last_packet + self.silence_limit;
                        if clock.now() >= deadline {
                            return Ending::Lost("keep-alive expired".into());
                        }
                        alarm = clock.sleep_until(deadline);
                    }
                    read = read_burst(&mut self.stream, &mut self.buffer) => match read {
                        Ok(0) => return Ending::Lost("closed without DISCONNECT".into()),
                        Ok(_) => {}
                        Err(error) => return Ending::Lost(error.to_string()),
                    },
                }
            }
            pending = false;
            // Boxed: an idle connection does not hold the room that acting on packets takes.
            let ending = Box::pin(self.handle_burst()).await.err();
            self.drain_mailbox(None);
            let closed = mailbox.closed();
            if let Err(ending) = self.flush(shutdown, &mailbox).await {
                return ending;
            }
            if let Some(code) = closed {
                return Ending::ByHub(code);
            }
            if let Some(ending) = ending {
                return ending;
            }
        }
    }

    /// Acts on every whole packet in the buffer.
    async fn handle_burst(&mut self) -> Result<(), Ending> {
        let result = self.handle_packets().await;
        // What was sent before a packet that ends the connection still counts.
        let stored = self.store_batch().await;
        let settled = self.settle_batch().await;
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        result.and(stored).and(settled)
    }

    async fn handle_packets(&mut self) -> Result<(), Ending> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.last_packet = self.handle.clock().now();
        self.batch.arena = BytesMut::with_capacity(self.buffer.len());
        loop {
            match decode_client(&mut self.buffer, self.settings.packet_limit) {
                Ok(Some(ClientPacket::Publish(publish))) => self.handle_publish(publish).await?,
                Ok(Some(ClientPacket::PubAck(packet_id))) => {
                    let lock = self.admitted.session.handle_puback(packet_id);
                    self.batch.settled.extend(lock);
                }
                Ok(Some(packet)) => {
                    self.store_batch().await?;
                    self.settle_batch().await?;
                    self.handle_other(packet).await?;
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(Ending::Lost(format!("bad packet: {error:?}"))),
            }
        }
    }

    async fn handle_publish(&mut self, publish: Publish) -> Result<(), Ending> {
        let batch = &mut self.batch;
        let request = self
            .admitted
            .session
            .handle_publish(&publish, &mut batch.arena)?;
        if let Request::Telemetry(message) = request {
            batch.messages.push(message);
            if publish.qos == QoS::AtLeastOnce {
                batch.acks.push(publish.packet_id);
            }
            return Ok(());
        }
        self.store_batch().await?;
        match request {
            Request::Telemetry(_) => {}
            Request::MethodResponse { request, response } => {
                let session = self.admitted.id;
                let operation = OperationKind::AnswerMethod;
                let client = self.admitted.session.client().clone();
                let answered = self
                    .handle
                    .call_at(operation.on(&client), |hub, cx| {
                        hub.complete_method(cx, session, request, response)
                    })
                    .await;
                let step = self.step_of(answered.map(|((), step)| step))?;
                self.drain_mailbox(step);
                self.acknowledge(&publish);
            }
            Request::TwinGet { rid } => {
                let session = self.admitted.id;
                let document = self
                    .twin_call(OperationKind::GetOwnTwin, |hub, cx| {
                        hub.own_twin(cx, session)
                    })
                    .await;
                self.reply_twin(
                    &publish,
                    rid,
                    document.map(|(body, step)| (200, None, body, step)),
                );
            }
            Request::PatchReported {
                rid,
                version,
                patch,
            } => {
                let session = self.admitted.id;
                let patched = match json::parse_object(&patch) {
                    Err(error) => Err(error),
                    Ok(patch) => {
                        self.twin_call(OperationKind::PatchReported, |hub, cx| {
                            hub.patch_reported(cx, session, &patch, version)
                        })
                        .await
                    }
                };
                self.reply_twin(
                    &publish,
                    rid,
                    patched.map(|(version, step)| (204, Some(version), Bytes::new(), step)),
                );
            }
            Request::Ignore(what) => {
                tracing::warn!(client = %self.admitted.session.client(), "ignored: {what}");
                self.acknowledge(&publish);
            }
        }
        Ok(())
    }

    async fn twin_call<R>(
        &mut self,
        operation: OperationKind,
        f: impl FnOnce(&mut iothub_hub::Hub, &mut iothub_hub::Cx<'_>) -> Result<R, Error>,
    ) -> Result<(R, Step), Error> {
        if !self.admitted.has_api_version {
            return Err(Error::new(
                ErrorCode::ArgumentInvalid,
                "twin operations need an api-version in the user name",
            ));
        }
        let client = self.admitted.session.client();
        self.handle.call_at(operation.on(client), f).await
    }

    /// PUBACK first, then the reply (`spec/device.md` 7.1).
    fn reply_twin(
        &mut self,
        publish: &Publish,
        rid: &str,
        result: Result<(u16, Option<u64>, Bytes, Step), Error>,
    ) {
        let (status, version, body, step) = match result {
            Ok((status, version, body, step)) => (status, version, body, Some(step)),
            Err(error) => {
                let now = self.handle.clock().now();
                let body = twin_error_body(&error, &self.handle.tracking_id(), now);
                (error.code.http_status(), None, body.into(), None)
            }
        };
        self.drain_mailbox(step);
        self.acknowledge(publish);
        let session = &mut self.admitted.session;
        session.encode_twin_response(status, rid, version, body, &mut self.out);
    }

    async fn handle_other(&mut self, packet: ClientPacket) -> Result<(), Ending> {
        match packet {
            ClientPacket::Subscribe(subscribe) => {
                let (wanted, reply) = self.admitted.session.handle_subscribe(&subscribe)?;
                let session = self.admitted.id;
                let client = self.admitted.session.client().clone();
                let done = self
                    .handle
                    .call_at(OperationKind::Subscribe.on(&client), |hub, cx| {
                        hub.subscribe(cx, session, &wanted)
                    })
                    .await;
                let step = self.step_of(done.map(|((), step)| step))?;
                self.drain_mailbox(step);
                encode_server(&reply, &mut self.out);
            }
            ClientPacket::Unsubscribe(unsubscribe) => {
                let (unwanted, reply) = self.admitted.session.handle_unsubscribe(&unsubscribe);
                let session = self.admitted.id;
                let client = self.admitted.session.client().clone();
                let done = self
                    .handle
                    .call_at(OperationKind::Unsubscribe.on(&client), |hub, cx| {
                        hub.unsubscribe(cx, session, &unwanted)
                    })
                    .await;
                let step = self.step_of(done.map(|((), step)| step))?;
                self.drain_mailbox(step);
                encode_server(&reply, &mut self.out);
            }
            ClientPacket::PingReq => encode_server(&ServerPacket::PingResp, &mut self.out),
            ClientPacket::Disconnect => return Err(Ending::Goodbye),
            ClientPacket::Connect(_) => return Err(Ending::Lost("a second CONNECT".into())),
            ClientPacket::QoS2Handshake => {
                return Err(Ending::Lost("a packet of the QoS 2 handshake".into()));
            }
            ClientPacket::Publish(_) | ClientPacket::PubAck(_) => {
                unreachable!("PUBLISH and PUBACK are handled where packets are told apart")
            }
        }
        Ok(())
    }

    /// Hands the telemetry of this read to the hub, then acknowledges it.
    async fn store_batch(&mut self) -> Result<(), Ending> {
        if self.batch.messages.is_empty() {
            return Ok(());
        }
        let messages = std::mem::take(&mut self.batch.messages);
        let session = self.admitted.id;
        let client = self.admitted.session.client();
        let operation = OperationKind::SendTelemetry.on(client).of(messages.len());
        let operation = match self.handle.message_size() {
            None => operation,
            Some(unit) => {
                let sizes = messages.iter().map(Message::size);
                operation.weighing(Load::of_messages(unit, sizes))
            }
        };
        let stored = self
            .handle
            .call_at(operation, |hub, cx| hub.ingest(cx, session, messages))
            .await;
        // MQTT 3.1.1 has no way to refuse a PUBLISH: a refusal ends the connection.
        let step = self.step_of(stored.map(|((), step)| step))?;
        self.drain_mailbox(step);
        for packet_id in self.batch.acks.drain(..) {
            encode_server(&ServerPacket::PubAck(packet_id), &mut self.out);
        }
        Ok(())
    }

    /// Completes the messages that were acknowledged in this read.
    async fn settle_batch(&mut self) -> Result<(), Ending> {
        if self.batch.settled.is_empty() {
            return Ok(());
        }
        let locks = std::mem::take(&mut self.batch.settled);
        let session = self.admitted.id;
        let client = self.admitted.session.client();
        let settled = self
            .handle
            .call_at(
                OperationKind::SettleC2d.on(client).of(locks.len()),
                |hub, cx| hub.acknowledge_c2d(cx, session, &locks, Settlement::Complete),
            )
            .await;
        let step = self.step_of(settled.map(|(_, step)| step))?;
        self.drain_mailbox(step);
        Ok(())
    }

    /// An operation that MQTT cannot answer with a refusal ends the connection.
    fn step_of(&mut self, result: Result<Step, Error>) -> Result<Option<Step>, Ending> {
        match result {
            Ok(step) => Ok(Some(step)),
            Err(error) => {
                self.batch.acks.clear();
                match self.admitted.mailbox.closed() {
                    Some(code) => Err(Ending::ByHub(code)),
                    None => Err(Ending::Lost(error.to_string())),
                }
            }
        }
    }

    fn acknowledge(&mut self, publish: &Publish) {
        if publish.qos == QoS::AtLeastOnce {
            encode_server(&ServerPacket::PubAck(publish.packet_id), &mut self.out);
        }
    }

    /// Writes out what the hub has sent before the given step, or everything.
    fn drain_mailbox(&mut self, before: Option<Step>) {
        while let Some(delivery) = self.admitted.mailbox.take(before) {
            self.admitted
                .session
                .encode_delivery(delivery, &mut self.out);
        }
    }

    /// Sends what is to be sent. A peer that does not read does not hold up the end of its
    /// connection: the hub's word, the keep-alive and shutdown are heard meanwhile.
    async fn flush(
        &mut self,
        shutdown: &CancellationToken,
        mailbox: &Mailbox,
    ) -> Result<(), Ending> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let write = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        let clock = self.handle.clock();
        let deadline = clock.now() + self.silence_limit;
        tokio::select! {
            biased;
            written = write => {
                written.map_err(|error| Ending::Lost(format!("write: {error}")))
            }
            () = shutdown.cancelled() => Err(Ending::Shutdown),
            code = closed(mailbox) => Err(Ending::ByHub(code)),
            () = clock.sleep_until(deadline) => {
                Err(Ending::Lost("the peer does not read".into()))
            }
        }
    }
}

/// Completes when the hub has ended the session.
fn closed(mailbox: &Mailbox) -> Pin<Box<dyn Future<Output = ErrorCode> + Send + '_>> {
    Box::pin(async move {
        loop {
            if let Some(code) = mailbox.closed() {
                return code;
            }
            mailbox.changed().await;
        }
    })
}
