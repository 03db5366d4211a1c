//! A connection over AMQP, with the project's own machine.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use iothub_protocol::amqp::cbs::{self, PutToken, SAS_KINDS};
use iothub_protocol::amqp::connection::{AttachLink, ClientSasl, ConnectionConfig};
use iothub_protocol::amqp::message::{AmqpMessage, Body};
use iothub_protocol::amqp::performative::{
    ReceiverSettleMode, Role, SenderSettleMode, Source, Target,
};
use iothub_protocol::amqp::value::{Map, Symbol, Value};
use iothub_protocol::amqp::{self, DeliveryState, Event, LinkId, SessionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::clock;
use crate::mqtt::Io;
use crate::target;

/// How long a server may take to answer a login.
const LOGIN_LIMIT: Duration = Duration::from_secs(30);
/// Bytes that are read at once.
const READ_SIZE: usize = 64 * 1024;

/// A connection with one session, on which a token has been accepted.
pub(crate) struct Connection {
    stream: Box<dyn Io>,
    input: BytesMut,
    pub(crate) machine: amqp::Connection,
    session: SessionId,
    links: u32,
    /// What happened while something else was waited for.
    kept: VecDeque<Event>,
}

impl Connection {
    /// Connects as device `n` of the fleet.
    pub(crate) async fn open(target: &target::Target, n: usize) -> anyhow::Result<Self> {
        let (audience, token) = target.device_token(n)?;
        Self::open_with(target, audience, token)
            .await
            .with_context(|| format!("log in as {}", target.device(n)))
    }

    /// Connects with a token for `audience`.
    pub(crate) async fn open_with(
        target: &target::Target,
        audience: String,
        token: String,
    ) -> anyhow::Result<Self> {
        let login = async {
            let stream = target.amqp()?.open().await?;
            let sasl = ClientSasl::Mechanism {
                name: Symbol::of("ANONYMOUS"),
                initial_response: Some(Bytes::new()),
            };
            let mut connection = Self {
                stream,
                input: BytesMut::new(),
                machine: amqp::Connection::client(config(), sasl, clock::wall()),
                session: SessionId(0),
                links: 0,
                kept: VecDeque::new(),
            };
            connection
                .until(|event| matches!(event, Event::Opened(_)).then_some(()))
                .await?;
            connection.session = connection.machine.begin();
            connection
                .until(|event| matches!(event, Event::SessionBegun(_)).then_some(()))
                .await?;
            connection.put_token(audience, token).await?;
            Ok(connection)
        };
        tokio::time::timeout(LOGIN_LIMIT, login)
            .await
            .context("the server does not answer")
            .flatten()
    }

    async fn put_token(&mut self, audience: String, token: String) -> anyhow::Result<()> {
        let answers = self.attach(Role::Receiver, "$cbs", 1, Map::new()).await?;
        let questions = self.attach(Role::Sender, "$cbs", 0, Map::new()).await?;
        let question = PutToken {
            kind: SAS_KINDS[0].to_owned(),
            audience,
            token,
            message_id: Value::Ulong(1),
            reply_to: None,
        };
        while self.machine.sendable(questions) == 0 {
            self.turn().await?;
        }
        let payload = encoded(&question.to_message());
        self.machine.send(questions, &[0], 0, payload, false)?;
        let answer = self
            .until(|event| match event {
                Event::Delivery(delivery) if delivery.link == answers => Some(delivery.clone()),
                _ => None,
            })
            .await?;
        self.machine
            .settle(answers, answer.id, DeliveryState::Accepted);
        match cbs::status_of(&AmqpMessage::decode(answer.payload)?) {
            Some((200, _)) => {}
            other => bail!("the server answers a token with {other:?}"),
        }
        self.machine.detach(answers, None);
        self.machine.detach(questions, None);
        self.kept.clear();
        self.flush().await
    }

    /// Attaches a link to `address` and waits for the answer.
    pub(crate) async fn attach(
        &mut self,
        role: Role,
        address: &str,
        credit: u32,
        filter: Map,
    ) -> anyhow::Result<LinkId> {
        self.attach_as(role, address, credit, filter, SenderSettleMode::Mixed)
            .await
    }

    /// As [`Connection::attach`], where it matters how the sender settles.
    pub(crate) async fn attach_as(
        &mut self,
        role: Role,
        address: &str,
        credit: u32,
        filter: Map,
        snd_settle_mode: SenderSettleMode,
    ) -> anyhow::Result<LinkId> {
        self.links += 1;
        let name = format!("fleet-{}", self.links);
        let here = Some(name.clone());
        let there = Some(address.to_owned());
        let (source, target) = match role {
            Role::Sender => (here, there),
            Role::Receiver => (there, here),
        };
        let attach = AttachLink {
            name,
            role,
            source: Source {
                address: source,
                filter,
                ..Source::default()
            },
            target: Target {
                address: target,
                ..Target::default()
            },
            snd_settle_mode,
            rcv_settle_mode: ReceiverSettleMode::First,
            credit,
            max_message_size: None,
            properties: Map::new(),
            desired_capabilities: Vec::new(),
        };
        let link = self.machine.attach(self.session, attach);
        self.until(|event| match event {
            Event::LinkAttached { link: attached, .. } if *attached == link => Some(()),
            _ => None,
        })
        .await?;
        Ok(link)
    }

    /// Writes what there is to say.
    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        while let Some(chunk) = self.machine.next_output() {
            self.stream.write_all(&chunk).await?;
        }
        Ok(self.stream.flush().await?)
    }

    /// Waits for more of what the server says.
    pub(crate) async fn receive(&mut self) -> anyhow::Result<()> {
        self.input.reserve(READ_SIZE);
        let count = self.stream.read_buf(&mut self.input).await?;
        ensure!(count > 0, "the server closes the connection");
        self.machine.receive(clock::wall(), &self.input);
        self.input.clear();
        Ok(())
    }

    /// Says what there is to say and waits for more.
    pub(crate) async fn turn(&mut self) -> anyhow::Result<()> {
        self.flush().await?;
        self.receive().await?;
        while self.next()?.is_some() {}
        Ok(())
    }

    /// What happened next, unless it is an end that nobody asked for.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<Event>> {
        match self.kept.pop_front() {
            Some(event) => Ok(Some(event)),
            None => self.fresh(),
        }
    }

    fn fresh(&mut self) -> anyhow::Result<Option<Event>> {
        match self.machine.next_event() {
            Some(Event::Closed(error) | Event::SessionEnded(_, error)) => {
                bail!("the server closes the connection: {error:?}")
            }
            Some(Event::LinkDetached {
                error: Some(error), ..
            }) => bail!("the server detaches a link: {error:?}"),
            event => Ok(event),
        }
    }

    /// Waits for an event, and keeps the others.
    async fn until<R>(&mut self, wanted: impl Fn(&Event) -> Option<R>) -> anyhow::Result<R> {
        loop {
            while let Some(event) = self.fresh()? {
                if let Some(found) = wanted(&event) {
                    return Ok(found);
                }
                self.kept.push_back(event);
            }
            self.flush().await?;
            self.receive().await?;
        }
    }

    /// Says good-bye and waits for the answer: everything that was sent has been read by then.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        self.machine.close(None);
        self.flush().await?;
        while !self.machine.is_closed() {
            self.input.reserve(READ_SIZE);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                break;
            }
            self.machine.receive(clock::wall(), &self.input);
            self.input.clear();
            while self.machine.next_event().is_some() {}
            self.flush().await?;
        }
        Ok(())
    }
}

/// A message that carries `size` bytes.
pub(crate) fn message(size: usize) -> Bytes {
    encoded(&AmqpMessage {
        body: Body::Data(vec![vec![b'x'; size].into()]),
        ..AmqpMessage::default()
    })
}

fn encoded(message: &AmqpMessage) -> Bytes {
    let mut payload = BytesMut::new();
    message.encode(&mut payload);
    payload.freeze()
}

fn config() -> ConnectionConfig {
    ConnectionConfig {
        container_id: "fleet".into(),
        hostname: Some("localhost".into()),
        max_frame_size: 64 * 1024,
        max_sessions: 1,
        max_links: 4096,
        incoming_window: 1 << 16,
        // As most of the SDKs have it: a server that says nothing is waited for.
        idle_timeout: None,
        sasl_mechanisms: Vec::new(),
        max_unfinished: 16 << 20,
    }
}
