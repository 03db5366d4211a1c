//! What unmodified clients send, recorded once, is understood frame by frame. The recordings are
//! also what the fuzz targets begin with.

#![expect(clippy::unwrap_used, reason = "the recordings are known")]

use bytes::BytesMut;
use iothub_protocol::amqp::address::Address;
use iothub_protocol::amqp::cbs::PutToken;
use iothub_protocol::amqp::frame::{Frame, decode_frame, decode_header};
use iothub_protocol::amqp::management::ReadRequest;
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::performative::{Attach, Performative, Role};
use iothub_protocol::amqp::sasl::SaslFrame;
use iothub_protocol::amqp::selector::EventPosition;

/// A line for each header and frame.
fn told(stream: &[u8]) -> Vec<String> {
    let mut input = BytesMut::from(stream);
    let mut lines = Vec::new();
    while !input.is_empty() {
        if input.starts_with(b"AMQP") {
            let header = decode_header(&mut input).unwrap().unwrap();
            lines.push(format!("{header:?}"));
            continue;
        }
        lines.push(match decode_frame(&mut input, 65_536).unwrap() {
            Some(frame) => line(frame),
            None => panic!("{lines:?}, then a part of a frame"),
        });
    }
    lines
}

fn line(frame: Frame) -> String {
    let (performative, payload) = match frame {
        Frame::Sasl(SaslFrame::Init { mechanism, .. }) => return format!("init {mechanism}"),
        Frame::Sasl(other) => return format!("{other:?}"),
        Frame::Amqp {
            performative,
            payload,
            ..
        } => (performative, payload),
    };
    match performative {
        None => "empty".into(),
        Some(Performative::Open(open)) => {
            format!("open {}", open.hostname.unwrap_or_default())
        }
        Some(Performative::Begin(begin)) => format!("begin {}", begin.incoming_window),
        Some(Performative::Attach(attach)) => attached(&attach),
        Some(Performative::Flow(flow)) => match (flow.handle, flow.link_credit) {
            (Some(handle), Some(credit)) => format!("credit {credit} for {handle}"),
            _ => "flow".into(),
        },
        Some(Performative::Transfer(transfer)) => {
            let message = AmqpMessage::decode(payload).unwrap();
            let what = if let Ok(request) = PutToken::from_message(&message) {
                format!("token for {}", request.audience)
            } else if let Ok(request) = ReadRequest::from_message(&message) {
                format!("read {:?} of {}", request.subject, request.entity)
            } else {
                format!("message to {:?}", message.properties.to)
            };
            format!("{what} on {}", transfer.handle)
        }
        Some(Performative::Disposition(disposition)) => format!("{:?}", disposition.state),
        Some(Performative::Detach(detach)) => format!("detach {}", detach.handle),
        Some(Performative::End(_)) => "end".into(),
        Some(Performative::Close(_)) => "close".into(),
    }
}

fn attached(attach: &Attach) -> String {
    let source = attach.source.as_ref();
    let target = attach.target.as_ref();
    let (direction, address) = match attach.role {
        Role::Sender => ("to", target.and_then(|target| target.address.as_deref())),
        Role::Receiver => ("from", source.and_then(|source| source.address.as_deref())),
    };
    let address = Address::parse(address.unwrap());
    assert!(!matches!(address, Address::Unknown(_)), "{address}");
    let filter = source
        .map(|source| &source.filter)
        .filter(|map| !map.is_empty());
    let position = filter.map_or(String::new(), |filter| {
        format!(" {:?}", EventPosition::from_filter(filter).unwrap())
    });
    format!("attach {} {direction} {address}{position}", attach.handle)
}

macro_rules! streams {
    ($($name:ident: $($line:literal)*;)*) => {
        $(#[test]
        fn $name() {
            let stream = include_bytes!(
                concat!("../fuzz/seeds/amqp_frame/", stringify!($name))
            );
            assert_eq!(told(stream), &[$($line),*][..]);
        })*
    };
}

streams! {
    python_eventhub_management:
        "Sasl"
        "init ANONYMOUS"
        "Amqp"
        "open localhost"
        "begin 65536"
        "attach 2 from $cbs"
        "attach 1 to $cbs"
        "credit 10000 for 2"
        "credit 10000 for 1"
        "token for sb://localhost:35672/localhost on 1"
        "attach 4 from $management"
        "attach 3 to $management"
        "credit 10000 for 4"
        "credit 10000 for 3"
        "read Partition(\"0\") of localhost on 3"
        "detach 2"
        "detach 1"
        "end"
        "detach 3"
        "detach 4"
        "close";
    python_eventhub_receiver:
        "Sasl"
        "init ANONYMOUS"
        "Amqp"
        "open localhost"
        "begin 65536"
        "attach 2 from $cbs"
        "attach 1 to $cbs"
        "credit 10000 for 2"
        "credit 10000 for 1"
        "token for sb://localhost:35672/localhost/consumergroups/$Default on 1"
        "attach 3 from localhost/ConsumerGroups/$Default/Partitions/1 Earliest"
        "credit 0 for 3"
        "credit 300 for 3";
    python_uamqp_management:
        "Sasl"
        "init MSSBCBS"
        "Amqp"
        "open localhost"
        "begin 65536"
        "attach 0 to $cbs"
        "attach 1 from $cbs"
        "token for sb://localhost/localhost on 0"
        "credit 10000 for 1"
        "Some(Accepted)"
        "attach 3 from $management"
        "attach 2 to $management"
        "credit 10000 for 3"
        "read Partition(\"0\") of localhost on 2"
        "Some(Accepted)"
        "detach 0"
        "detach 1"
        "detach 2"
        "detach 3"
        "end"
        "close";
    node_service:
        "Amqp"
        "open localhost"
        "begin 2048"
        "attach 0 to $cbs"
        "attach 1 from $cbs"
        "token for localhost:35671 on 0"
        "credit 1000 for 1"
        "attach 2 to /messages/devicebound"
        "attach 3 from /messages/serviceBound/feedback"
        "attach 4 from /messages/serviceBound/filenotifications"
        "message to Some(\"/devices/d1/messages/devicebound\") on 2"
        "credit 1000 for 3"
        "credit 1000 for 4"
        "detach 2"
        "detach 3"
        "detach 4"
        "detach 0"
        "detach 1"
        "end"
        "close";
    node_device:
        "Amqp"
        "open localhost"
        "begin 2048"
        "attach 0 to $cbs"
        "attach 1 from $cbs"
        "token for localhost%3A35671%2Fdevices%2Fd1 on 0"
        "credit 1000 for 1"
        "attach 2 to /devices/d1/messages/events"
        "attach 3 from /devices/d1/messages/devicebound"
        "attach 4 to /devices/d1/methods/devicebound"
        "attach 5 to /devices/d1/twin"
        "detach 0"
        "detach 1"
        "detach 2";
}
