//! A server's machine against a peer that says anything, frame by frame.

use bytes::{Bytes, BytesMut};
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::connection::{
    AcceptLink, Connection, ConnectionConfig, Delivery, Event, LinkId,
};
use iothub_protocol::amqp::frame::{
    Frame, ProtocolHeader, decode_frame, decode_header, encode_frame,
};
use iothub_protocol::amqp::performative::{
    Attach, Begin, Detach, Disposition, Flow, Open, Performative, ReceiverSettleMode, Role,
    SenderSettleMode, Source, Target, Transfer,
};
use iothub_protocol::amqp::{AmqpError, DeliveryState};

use crate::pair::{config, epoch};

/// The machine, and a peer without any rules.
pub(crate) struct Raw {
    pub(crate) machine: Connection,
    pub(crate) now: Timestamp,
}

impl Raw {
    /// Two that have not spoken.
    pub(crate) fn new(config: ConnectionConfig) -> Self {
        Self {
            machine: Connection::server(config, epoch()),
            now: epoch(),
        }
    }

    /// Two that have opened.
    pub(crate) fn open() -> Self {
        Self::open_with(config("server"), open())
    }

    /// Two that have opened with these settings.
    pub(crate) fn open_with(config: ConnectionConfig, open: Open) -> Self {
        let mut raw = Self::new(config);
        raw.bytes(&ProtocolHeader::Amqp.to_bytes());
        raw.say(0, Performative::Open(open));
        let mut output = BytesMut::from(&raw.chunk()[..]);
        assert_eq!(decode_header(&mut output), Ok(Some(ProtocolHeader::Amqp)));
        assert!(matches!(raw.machine.next_event(), Some(Event::Opened(_))));
        raw
    }

    /// Two that have a session, on the peer's channel 0.
    pub(crate) fn begun() -> Self {
        let mut raw = Self::open();
        raw.begin();
        raw
    }

    /// Begins a session on channel 0.
    pub(crate) fn begin(&mut self) {
        self.say(0, Performative::Begin(begin()));
        self.heard();
        self.told();
    }

    /// Attaches a link at this handle; the machine takes it with this answer.
    pub(crate) fn attach(&mut self, attach: Attach, answer: AcceptLink) -> LinkId {
        let link = self.ask(attach);
        self.machine.accept_link(link, answer);
        self.heard();
        link
    }

    /// Attaches a link at this handle.
    pub(crate) fn ask(&mut self, attach: Attach) -> LinkId {
        self.say(0, Performative::Attach(Box::new(attach)));
        match self.told().pop() {
            Some(Event::LinkAttached { link, .. }) => link,
            other => panic!("not a link: {other:?}"),
        }
    }

    /// Says bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.machine.receive(self.now, bytes);
    }

    /// Says a performative.
    #[expect(clippy::needless_pass_by_value, reason = "it is made where it is said")]
    pub(crate) fn say(&mut self, channel: u16, performative: Performative) {
        let mut out = BytesMut::new();
        encode_frame(channel, &performative, b"", &mut out);
        self.bytes(&out);
    }

    /// Says a transfer.
    pub(crate) fn transfer(&mut self, transfer: Transfer, payload: &[u8]) {
        let mut out = BytesMut::new();
        encode_frame(0, &Performative::Transfer(transfer), payload, &mut out);
        self.bytes(&out);
    }

    /// Says a flow of the session.
    pub(crate) fn flow(&mut self, flow: Flow) {
        self.say(0, Performative::Flow(flow));
    }

    /// Says an outcome of deliveries of the machine's.
    pub(crate) fn outcome(&mut self, first: u32, last: u32, settled: bool, state: DeliveryState) {
        let disposition = Disposition {
            role: Role::Receiver,
            first,
            last: Some(last),
            settled,
            state: Some(state),
            batchable: false,
        };
        self.say(0, Performative::Disposition(disposition));
    }

    /// The next chunk of the machine's.
    pub(crate) fn chunk(&mut self) -> Bytes {
        self.machine.next_output().expect("a chunk of output")
    }

    /// The frames of each of the machine's chunks.
    pub(crate) fn chunks(&mut self) -> Vec<Vec<(u16, Performative, Bytes)>> {
        std::iter::from_fn(|| self.machine.next_output())
            .map(|chunk| frames(&chunk))
            .collect()
    }

    /// What the machine has said, whatever the chunks.
    pub(crate) fn heard(&mut self) -> Vec<Performative> {
        self.chunks()
            .into_iter()
            .flatten()
            .map(|(_, performative, _)| performative)
            .collect()
    }

    /// What the machine has told its owner.
    pub(crate) fn told(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.machine.next_event()).collect()
    }

    /// The deliveries among it.
    pub(crate) fn deliveries(&mut self) -> Vec<Delivery> {
        self.told()
            .into_iter()
            .filter_map(|event| match event {
                Event::Delivery(delivery) => Some(delivery),
                _ => None,
            })
            .collect()
    }

    /// The error with which the machine has closed the connection.
    pub(crate) fn closed_with(&mut self) -> AmqpError {
        assert!(self.machine.is_closed());
        let Some(Event::Closed(Some(error))) = self.told().pop() else {
            panic!("no error was told");
        };
        let heard = self.heard();
        let Some(Performative::Close(close)) = heard.last() else {
            panic!("no close: {heard:?}");
        };
        assert_eq!(close.error.as_ref(), Some(&error));
        error
    }

    /// The error with which the machine has ended the session.
    pub(crate) fn ended_with(&mut self) -> AmqpError {
        let Some(Event::SessionEnded(_, Some(error))) = self.told().pop() else {
            panic!("no error was told");
        };
        let heard = self.heard();
        let Some(Performative::End(end)) = heard.last() else {
            panic!("no end: {heard:?}");
        };
        assert_eq!(end.error.as_ref(), Some(&error));
        error
    }

    /// The error with which the machine has detached a link.
    pub(crate) fn detached_with(&mut self) -> AmqpError {
        let Some(Event::LinkDetached {
            closed: true,
            error: Some(error),
            ..
        }) = self.told().pop()
        else {
            panic!("no error was told");
        };
        let heard = self.heard();
        let Some(Performative::Detach(detach)) = heard.last() else {
            panic!("no detach: {heard:?}");
        };
        assert_eq!((detach.closed, detach.error.as_ref()), (true, Some(&error)));
        error
    }
}

/// The frames of these bytes, but for signs of life.
pub(crate) fn frames(bytes: &[u8]) -> Vec<(u16, Performative, Bytes)> {
    let mut input = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decode_frame(&mut input, 1 << 20).expect("a frame") {
        if let Frame::Amqp {
            channel,
            performative: Some(performative),
            payload,
        } = frame
        {
            frames.push((channel, performative, payload));
        }
    }
    assert!(input.is_empty(), "half a frame: {input:?}");
    frames
}

/// An open without limits.
pub(crate) fn open() -> Open {
    Open {
        container_id: "peer".to_owned(),
        max_frame_size: u32::MAX,
        channel_max: u16::MAX,
        ..Open::default()
    }
}

/// A begin with wide windows.
pub(crate) fn begin() -> Begin {
    Begin {
        next_outgoing_id: 0,
        incoming_window: 1000,
        outgoing_window: 1000,
        handle_max: u32::MAX,
        ..Begin::default()
    }
}

/// An attach.
pub(crate) fn attach(handle: u32, role: Role) -> Attach {
    Attach {
        name: format!("link-{handle}"),
        handle,
        role,
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: ReceiverSettleMode::First,
        source: Some(Source::default()),
        target: Some(Target::default()),
        unsettled: Vec::new(),
        incomplete_unsettled: false,
        initial_delivery_count: (role == Role::Sender).then_some(0),
        max_message_size: None,
        offered_capabilities: Vec::new(),
        desired_capabilities: Vec::new(),
        properties: Vec::new(),
    }
}

/// A flow of a receiver that has seen `seen` transfers and deliveries.
pub(crate) fn credit(handle: u32, seen: u32, credit: u32) -> Flow {
    Flow {
        handle: Some(handle),
        delivery_count: Some(seen),
        link_credit: Some(credit),
        ..window(seen, 1000)
    }
}

/// A flow of a session that has seen `seen` transfers.
pub(crate) fn window(seen: u32, window: u32) -> Flow {
    Flow {
        next_incoming_id: Some(seen),
        incoming_window: window,
        next_outgoing_id: 0,
        outgoing_window: 1000,
        ..Flow::default()
    }
}

/// A delivery's only or first frame.
pub(crate) fn transfer(handle: u32, delivery: u32) -> Transfer {
    Transfer {
        handle,
        delivery_id: Some(delivery),
        delivery_tag: Some(Bytes::copy_from_slice(&delivery.to_be_bytes())),
        message_format: Some(0),
        settled: Some(false),
        ..Transfer::default()
    }
}

/// A detach.
pub(crate) fn detach(handle: u32, closed: bool) -> Performative {
    Performative::Detach(Detach {
        handle,
        closed,
        error: None,
    })
}
