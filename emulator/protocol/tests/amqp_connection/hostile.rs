//! Bytes of any kind, at every stage: no panic, and no more work or memory than was paid for.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use iothub_protocol::amqp::connection::{ClientSasl, Connection, ConnectionConfig, Event};
use iothub_protocol::amqp::frame::{ProtocolHeader, encode_frame};
use iothub_protocol::amqp::performative::{
    Attach, Begin, Close, Detach, Disposition, End, Flow, Performative, Role, Transfer,
};
use iothub_protocol::amqp::value::Symbol;
use iothub_protocol::amqp::{AmqpError, DeliveryState};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::owner::serve;
use crate::pair::{config, epoch, link, payload};
use crate::raw::{attach, begin, open};

fn small() -> ConnectionConfig {
    ConnectionConfig {
        max_frame_size: 4096,
        max_sessions: 4,
        max_links: 8,
        incoming_window: 20,
        max_unfinished: 20_000,
        ..config("server")
    }
}

/// What a client says in a rich conversation.
static CONVERSATION: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let sasl = ClientSasl::Mechanism {
        name: Symbol::of("ANONYMOUS"),
        initial_response: None,
    };
    let mut client = Connection::client(config("client"), sasl, epoch());
    let mut server = Connection::server(small(), epoch());
    let mut said = Vec::new();
    let mut sent = false;
    let mut talk = |client: &mut Connection| {
        loop {
            let mut quiet = true;
            while let Some(chunk) = client.next_output() {
                quiet = false;
                said.extend_from_slice(&chunk);
                server.receive(epoch(), &chunk);
            }
            while let Some(event) = server.next_event() {
                // The first credit is used; whoever uses all of it never comes to rest.
                let is_credit = matches!(event, Event::Credit { .. });
                if !is_credit || !std::mem::replace(&mut sent, true) {
                    crate::owner::act(&mut server, event);
                }
            }
            while let Some(chunk) = server.next_output() {
                quiet = false;
                client.receive(epoch(), &chunk);
            }
            while let Some(event) = client.next_event() {
                if !matches!(event, Event::Credit { .. }) {
                    crate::owner::act(client, event);
                }
            }
            if quiet {
                return;
            }
        }
    };
    let session = client.begin();
    let out = client.attach(session, link("out", Role::Sender, 0));
    client.attach(session, link("in", Role::Receiver, 10));
    talk(&mut client);
    for length in [0, 10, 5000, 9000] {
        let settled = length == 10;
        assert!(
            client
                .send(out, b"tag", 0, payload(length), settled)
                .is_ok()
        );
        talk(&mut client);
    }
    client.detach(out, None);
    client.end(session, None);
    client.close(None);
    talk(&mut client);
    said
});

/// Frames of the start, each a stage: header, open, begin, links of both directions.
fn stages() -> Vec<Vec<u8>> {
    let mut out = BytesMut::from(&ProtocolHeader::Amqp.to_bytes()[..]);
    let mut stages = vec![
        Vec::new(),
        ProtocolHeader::Sasl.to_bytes().to_vec(),
        out.to_vec(),
    ];
    let mut push = |performative| {
        encode_frame(0, &performative, b"", &mut out);
        stages.push(out.to_vec());
    };
    push(Performative::Open(open()));
    push(Performative::Begin(begin()));
    push(Performative::Attach(Box::new(attach(0, Role::Sender))));
    push(Performative::Attach(Box::new(attach(1, Role::Receiver))));
    stages
}

/// What was sent may cost so many events and bytes; beyond it stands what a link or an unsettled
/// delivery costs once.
fn check_cost(input: usize, (events, written): (usize, usize)) {
    assert!(events <= input + 1000, "{events} events for {input} bytes");
    assert!(
        written <= 600 * input + 1_000_000,
        "{written} bytes for {input}"
    );
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0_u32..4, 1 => 0_u32..100, 1 => any::<u32>()]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Sender), Just(Role::Receiver)]
}

fn state() -> impl Strategy<Value = Option<DeliveryState>> {
    prop_oneof![
        Just(None),
        Just(Some(DeliveryState::Accepted)),
        Just(Some(DeliveryState::Released)),
        Just(Some(DeliveryState::Received {
            section_number: 0,
            section_offset: 5
        })),
        Just(Some(DeliveryState::Rejected(None))),
    ]
}

fn error() -> impl Strategy<Value = Option<AmqpError>> {
    option::of(Just(AmqpError::new(Symbol::of("amqp:not-found"), "")))
}

fn performative() -> impl Strategy<Value = Performative> {
    prop_oneof![
        1 => (option::weighted(0.1, 0_u16..3), number(), number(), number()).prop_map(
            |(remote_channel, next, window, handle_max)| Performative::Begin(Begin {
                remote_channel,
                next_outgoing_id: next,
                incoming_window: window,
                handle_max,
                ..Begin::default()
            })
        ),
        3 => (number(), role(), option::of(number())).prop_map(|(handle, role, count)| {
            Performative::Attach(Box::new(Attach {
                name: format!("link-{}", handle % 5),
                initial_delivery_count: count,
                ..attach(handle, role)
            }))
        }),
        6 => (
            (option::of(number()), number(), option::of(number())),
            (option::of(number()), option::of(number()), any::<bool>(), any::<bool>()),
        )
            .prop_map(|((next, window, handle), (count, credit, drain, echo))| {
                Performative::Flow(Flow {
                    next_incoming_id: next,
                    incoming_window: window,
                    handle,
                    delivery_count: count,
                    link_credit: credit,
                    drain,
                    echo,
                    ..Flow::default()
                })
            }),
        8 => (
            (number(), option::of(number()), option::of(any::<bool>())),
            (any::<bool>(), proptest::bool::weighted(0.1), state()),
        )
            .prop_map(|((handle, delivery_id, settled), (more, aborted, state))| {
                Performative::Transfer(Transfer {
                    handle,
                    delivery_id,
                    delivery_tag: delivery_id.map(|_| Bytes::from_static(b"t")),
                    settled,
                    more,
                    aborted,
                    state,
                    ..Transfer::default()
                })
            }),
        4 => (role(), number(), option::of(number()), any::<bool>(), state()).prop_map(
            |(role, first, last, settled, state)| Performative::Disposition(Disposition {
                role,
                first,
                last,
                settled,
                state,
                batchable: false,
            })
        ),
        2 => (number(), any::<bool>(), error()).prop_map(|(handle, closed, error)| {
            Performative::Detach(Detach {
                handle,
                closed,
                error,
            })
        }),
        1 => error().prop_map(|error| Performative::End(End { error })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_bytes_at_any_stage(
        stage in any::<Index>(),
        noise in vec(any::<u8>(), 0..600),
        piece in 1_usize..200,
    ) {
        let stages = stages();
        let mut machine = Connection::server(small(), epoch());
        serve(&mut machine, epoch(), &stages[stage.index(stages.len())]);
        for part in noise.chunks(piece) {
            check_cost(part.len(), serve(&mut machine, epoch(), part));
        }
    }

    #[test]
    fn a_conversation_with_changed_bytes(
        changes in vec((any::<Index>(), any::<u8>()), 1..20),
        piece in 1_usize..3000,
    ) {
        let mut said = CONVERSATION.clone();
        for (index, byte) in changes {
            *index.get_mut(&mut said) = byte;
        }
        let mut machine = Connection::server(small(), epoch());
        for part in said.chunks(piece) {
            check_cost(part.len(), serve(&mut machine, epoch(), part));
        }
    }

    #[test]
    fn frames_in_any_order(
        frames in vec((0_u16..3, performative(), 0_usize..3000), 0..120),
    ) {
        let mut machine = Connection::server(small(), epoch());
        serve(&mut machine, epoch(), &stages()[6]);
        for (channel, performative, length) in frames {
            let mut out = BytesMut::new();
            let transfer = matches!(performative, Performative::Transfer(_));
            let body = payload(if transfer { length } else { 0 });
            encode_frame(if channel < 2 { 0 } else { 1 }, &performative, &body, &mut out);
            check_cost(out.len(), serve(&mut machine, epoch(), &out));
        }
        let mut out = BytesMut::new();
        encode_frame(0, &Performative::Close(Close::default()), b"", &mut out);
        serve(&mut machine, epoch(), &out);
        prop_assert!(machine.is_closed());
    }
}

#[test]
fn the_conversation_is_understood() {
    let mut machine = Connection::server(small(), epoch());
    let (events, _) = serve(&mut machine, epoch(), &CONVERSATION);
    assert!(machine.is_closed());
    assert!(events > 10, "{events}");
}

/// Ranges of outcomes, again and again: each delivery's is told twice at most.
#[test]
fn outcomes_do_not_multiply() {
    let mut machine = Connection::server(config("server"), epoch());
    serve(&mut machine, epoch(), &stages()[6]);
    let mut out = BytesMut::new();
    let flow = crate::raw::credit(1, 0, 1000);
    encode_frame(0, &Performative::Flow(flow), b"", &mut out);
    serve(&mut machine, epoch(), &out);
    out.clear();
    for settled in [false; 1000].into_iter().chain([true; 1000]) {
        let disposition = Disposition {
            role: Role::Receiver,
            first: 0,
            last: Some(u32::MAX / 2),
            settled,
            state: Some(DeliveryState::Accepted),
            batchable: false,
        };
        encode_frame(0, &Performative::Disposition(disposition), b"", &mut out);
    }
    let (events, _) = serve(&mut machine, epoch(), &out);
    assert!(events <= 50, "{events}");
}
