//! Two machines joined by pipes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::connection::{
    AcceptLink, AttachLink, ClientSasl, Connection, ConnectionConfig, Delivery, Event, LinkId,
    SessionId,
};
use iothub_protocol::amqp::performative::{
    ReceiverSettleMode, Role, SenderSettleMode, Source, Target,
};
use iothub_protocol::amqp::sasl::SaslCode;
use iothub_protocol::amqp::value::Symbol;

/// A beginning of time.
pub(crate) fn epoch() -> Timestamp {
    Timestamp::from_unix_seconds(1_700_000_000)
}

/// Settings with no limit in the way.
pub(crate) fn config(name: &str) -> ConnectionConfig {
    ConnectionConfig {
        container_id: name.to_owned(),
        hostname: Some("localhost".to_owned()),
        max_frame_size: 64 * 1024,
        max_sessions: 256,
        max_links: 1024,
        incoming_window: 5000,
        idle_timeout: Some(Duration::from_secs(480)),
        sasl_mechanisms: ["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"]
            .map(Symbol::from)
            .to_vec(),
        max_unfinished: 4 << 20,
    }
}

/// A link to attach.
pub(crate) fn link(name: &str, role: Role, credit: u32) -> AttachLink {
    AttachLink {
        name: name.to_owned(),
        role,
        source: Source {
            address: Some("from".to_owned()),
            ..Source::default()
        },
        target: Target {
            address: Some("to".to_owned()),
            ..Target::default()
        },
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: ReceiverSettleMode::First,
        credit,
        max_message_size: None,
        properties: Vec::new(),
        desired_capabilities: Vec::new(),
    }
}

/// One half: a machine and what it has told.
pub(crate) struct Half {
    pub(crate) machine: Connection,
    pub(crate) events: VecDeque<Event>,
}

/// Two machines; every byte of one is read by the other.
pub(crate) struct Pair {
    pub(crate) client: Half,
    pub(crate) server: Half,
    pub(crate) now: Timestamp,
    /// Bytes of a read at most.
    pub(crate) piece: usize,
}

impl Pair {
    /// Two that have not spoken.
    pub(crate) fn new(
        client: ConnectionConfig,
        sasl: ClientSasl,
        server: ConnectionConfig,
    ) -> Self {
        let half = |machine| Half {
            machine,
            events: VecDeque::new(),
        };
        Self {
            client: half(Connection::client(client, sasl, epoch())),
            server: half(Connection::server(server, epoch())),
            now: epoch(),
            piece: usize::MAX,
        }
    }

    /// Two that have opened, without a security layer.
    pub(crate) fn open() -> Self {
        Self::open_with(config("client"), config("server"))
    }

    /// The same, with these settings.
    pub(crate) fn open_with(client: ConnectionConfig, server: ConnectionConfig) -> Self {
        let mut pair = Self::new(client, ClientSasl::None, server);
        pair.run();
        assert!(pair.client.machine.is_open() && pair.server.machine.is_open());
        pair.client.events.clear();
        pair.server.events.clear();
        pair
    }

    /// Lets bytes pass until neither side has any. Whoever authenticates is let in.
    pub(crate) fn run(&mut self) {
        loop {
            let sent = pass(&mut self.client, &mut self.server, self.now, self.piece)
                + pass(&mut self.server, &mut self.client, self.now, self.piece);
            if sent == 0 {
                return;
            }
        }
    }

    /// Attaches a link of the client's and lets the server take it with this answer.
    pub(crate) fn attach(
        &mut self,
        session: SessionId,
        link: AttachLink,
        answer: AcceptLink,
    ) -> (LinkId, LinkId) {
        let ours = self.client.machine.attach(session, link);
        self.run();
        let theirs = self.server.attached();
        self.server.machine.accept_link(theirs, answer);
        self.run();
        assert_eq!(self.client.attached(), ours);
        (ours, theirs)
    }

    /// Begins a session of the client's.
    pub(crate) fn session(&mut self) -> SessionId {
        let session = self.client.machine.begin();
        self.run();
        session
    }
}

fn pass(from: &mut Half, to: &mut Half, now: Timestamp, piece: usize) -> usize {
    let mut passed = 0;
    while let Some(chunk) = from.machine.next_output() {
        for part in chunk.chunks(piece) {
            to.machine.receive(now, part);
            to.drain();
        }
        passed += chunk.len();
    }
    from.drain();
    passed
}

impl Half {
    fn drain(&mut self) {
        while let Some(event) = self.machine.next_event() {
            if matches!(event, Event::SaslInit { .. }) {
                self.machine.sasl_outcome(SaslCode::Ok);
            }
            self.events.push_back(event);
        }
    }

    /// What has been told since the last question.
    pub(crate) fn told(&mut self) -> Vec<Event> {
        self.drain();
        self.events.drain(..).collect()
    }

    /// The next link that was attached; what was told before it is dropped.
    pub(crate) fn attached(&mut self) -> LinkId {
        self.drain();
        while let Some(event) = self.events.pop_front() {
            if let Event::LinkAttached { link, .. } = event {
                return link;
            }
        }
        panic!("no link was attached");
    }

    /// The deliveries among what has been told; the rest is dropped.
    pub(crate) fn deliveries(&mut self) -> Vec<Delivery> {
        self.told()
            .into_iter()
            .filter_map(|event| match event {
                Event::Delivery(delivery) => Some(delivery),
                _ => None,
            })
            .collect()
    }
}

/// A payload of this length whose bytes differ.
pub(crate) fn payload(length: usize) -> Bytes {
    (0..length).map(|index| (index % 251) as u8).collect()
}
