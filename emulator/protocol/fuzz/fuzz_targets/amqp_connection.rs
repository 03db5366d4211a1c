//! A server's AMQP connection, whose owner takes every link, settles every delivery and uses all
//! its credit: no panic, and no more events than were paid for.
//!
//! The first byte says how much of a client's real stream comes first, the next how many of its
//! bytes are changed; what follows the changes is sent as it is.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::DeliveryState;
use iothub_protocol::amqp::connection::{
    AcceptLink, AttachLink, ClientSasl, Connection, ConnectionConfig, Event,
};
use iothub_protocol::amqp::performative::{
    ReceiverSettleMode, Role, SenderSettleMode, Source, Target,
};
use iothub_protocol::amqp::sasl::SaslCode;
use iothub_protocol::amqp::value::Symbol;
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// What a client has said after each of its steps: with a security layer, and without.
static STREAMS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let anonymous = ClientSasl::Mechanism {
        name: Symbol::of("ANONYMOUS"),
        initial_response: None,
    };
    [ClientSasl::None, anonymous]
        .into_iter()
        .flat_map(stream)
        .collect()
});

fuzz_target!(|data: &[u8]| {
    let [stage, changes, rest @ ..] = data else {
        return;
    };
    let mut stream = STREAMS[usize::from(*stage) % STREAMS.len()].clone();
    let (changes, rest) = rest.split_at((usize::from(*changes) % 16 * 3).min(rest.len()));
    for change in changes.chunks_exact(3) {
        let index = usize::from(u16::from_be_bytes([change[0], change[1]]));
        if let Some(byte) = stream.get_mut(index) {
            *byte = change[2];
        }
    }
    let mut machine = Connection::server(config("server"), NOW);
    for part in [&stream[..], rest] {
        machine.receive(NOW, part);
        let events = serve(&mut machine);
        assert!(
            events <= part.len() + 1000,
            "{events} events for {}",
            part.len()
        );
        while machine.next_output().is_some() {}
    }
});

fn config(name: &str) -> ConnectionConfig {
    ConnectionConfig {
        container_id: name.to_owned(),
        hostname: None,
        max_frame_size: 4096,
        max_sessions: 4,
        max_links: 8,
        incoming_window: 20,
        idle_timeout: None,
        sasl_mechanisms: vec![Symbol::of("ANONYMOUS"), Symbol::of("PLAIN")],
        max_unfinished: 20_000,
    }
}

/// Acts on everything that has happened; how much that was.
fn serve(machine: &mut Connection) -> usize {
    let mut events = 0;
    while let Some(event) = machine.next_event() {
        events += 1;
        match event {
            Event::SaslInit { .. } => machine.sasl_outcome(SaslCode::Ok),
            Event::LinkAttached {
                link,
                ours: false,
                attach,
                ..
            } => {
                let answer = AcceptLink {
                    credit: if attach.role == Role::Sender { 20 } else { 0 },
                    max_message_size: Some(10_000),
                    ..AcceptLink::default()
                };
                machine.accept_link(link, answer);
            }
            Event::Delivery(delivery) => {
                machine.settle(delivery.link, delivery.id, DeliveryState::Accepted);
            }
            Event::Credit { link, drain, .. } => {
                for number in 0..machine.sendable(link).min(4) {
                    let payload = Bytes::from(vec![b'x'; number as usize * 2500]);
                    let sent = machine.send(link, b"0123456789abcdef", 0, payload, number % 2 == 0);
                    assert!(sent.is_ok());
                }
                if drain {
                    machine.drained(link);
                }
            }
            Event::Outcome {
                link,
                delivery,
                state,
                settled: false,
            } => machine.settle_sent(link, delivery, state.unwrap_or(DeliveryState::Accepted)),
            _ => {}
        }
    }
    events
}

/// What a client has said after each step of a conversation with such a server.
fn stream(sasl: ClientSasl) -> Vec<Vec<u8>> {
    let mut client = Connection::client(config("client"), sasl, NOW);
    let mut server = Connection::server(config("server"), NOW);
    let mut said = Vec::new();
    let mut streams = vec![Vec::new()];
    // A few rounds: two that use all credit never come to rest.
    let mut talk = |client: &mut Connection| {
        for _ in 0..3 {
            while let Some(chunk) = client.next_output() {
                said.extend_from_slice(&chunk);
                server.receive(NOW, &chunk);
            }
            serve(&mut server);
            while let Some(chunk) = server.next_output() {
                client.receive(NOW, &chunk);
            }
            serve(client);
            streams.push(said.clone());
        }
    };
    talk(&mut client);
    let session = client.begin();
    talk(&mut client);
    let link = |name: &str, role, credit| AttachLink {
        name: name.to_owned(),
        role,
        source: Source::default(),
        target: Target::default(),
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: ReceiverSettleMode::First,
        credit,
        max_message_size: None,
        properties: Vec::new(),
        desired_capabilities: Vec::new(),
    };
    let out = client.attach(session, link("out", Role::Sender, 0));
    talk(&mut client);
    client.attach(session, link("in", Role::Receiver, 10));
    talk(&mut client);
    let _ = client.send(out, b"tag", 0, Bytes::from(vec![b'x'; 9000]), false);
    talk(&mut client);
    client.detach(out, None);
    talk(&mut client);
    client.end(session, None);
    talk(&mut client);
    client.close(None);
    talk(&mut client);
    streams
}
