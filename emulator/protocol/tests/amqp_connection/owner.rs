//! An owner that takes every link, settles every delivery, and uses all its credit.

use bytes::Bytes;
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::DeliveryState;
use iothub_protocol::amqp::connection::{AcceptLink, Connection, Event};
use iothub_protocol::amqp::performative::Role;
use iothub_protocol::amqp::sasl::SaslCode;

/// Reads this, acts on everything, and writes. How many events there were, and how many bytes.
pub(crate) fn serve(machine: &mut Connection, now: Timestamp, input: &[u8]) -> (usize, usize) {
    machine.receive(now, input);
    let (mut events, mut written) = (0, 0);
    while let Some(event) = machine.next_event() {
        events += 1;
        act(machine, event);
    }
    machine.tick(now);
    while let Some(chunk) = machine.next_output() {
        assert!(!chunk.is_empty());
        written += chunk.len();
    }
    (events, written)
}

pub(crate) fn act(machine: &mut Connection, event: Event) {
    match event {
        Event::SaslInit { .. } => machine.sasl_outcome(SaslCode::Ok),
        Event::LinkAttached {
            link,
            ours: false,
            attach,
            ..
        } => machine.accept_link(
            link,
            AcceptLink {
                credit: if attach.role == Role::Sender { 20 } else { 0 },
                max_message_size: Some(10_000),
                ..AcceptLink::default()
            },
        ),
        Event::Delivery(delivery) if !delivery.settled => {
            machine.settle(delivery.link, delivery.id, DeliveryState::Accepted);
        }
        Event::Credit { link, drain, .. } => {
            for number in 0..machine.sendable(link).min(50) {
                let payload = Bytes::from(vec![b'x'; number as usize * 40]);
                let sent = machine.send(link, b"0123456789abcdef", 0, payload, number % 2 == 0);
                assert!(sent.is_ok(), "{sent:?} within the credit");
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
