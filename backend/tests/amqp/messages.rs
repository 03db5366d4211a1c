//! Messages to devices.

use std::time::Duration;

use iothub_backend::{Ack, ErrorCode, ErrorKind};
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::value::{Value, lookup};
use iothub_protocol::amqp::{AmqpError, DeliveryState};

use crate::peer::{Peer, within};

#[tokio::test]
async fn message_travels_with_its_properties() {
    let peer = Peer::listen().await;
    let expiry = Timestamp::parse_iso("2026-01-02T03:04:05Z").unwrap();

    let backend = peer.backend();
    let message = backend
        .c2d()
        .message("d1/m+1", "hi")
        .message_id("m1")
        .correlation_id("c1")
        .user_id("u1")
        .ack(Ack::Positive)
        .ack(Ack::Full)
        .expiry(expiry)
        .time_to_live(Duration::from_secs(7))
        .content_type("text/plain")
        .content_encoding("utf-8")
        .property("Level", "hoch ä");
    within(message.send()).await.unwrap();

    let story = peer.story();
    let [message] = &story.sent[..] else {
        panic!("{:?}", story.sent)
    };
    assert_eq!(message.data().unwrap(), "hi");
    assert_eq!(message.header.ttl, Some(7000));
    let properties = &message.properties;
    assert_eq!(properties.message_id, Some("m1".into()));
    assert_eq!(properties.correlation_id, Some("c1".into()));
    assert_eq!(properties.user_id.as_deref(), Some(&b"u1"[..]));
    let to = "/devices/d1/modules/m%2B1/messages/devicebound";
    assert_eq!(properties.to.as_deref(), Some(to));
    assert_eq!(properties.absolute_expiry_time, Some(expiry.unix_millis()));
    let symbol = |symbol: &Option<iothub_protocol::amqp::Symbol>| {
        symbol.as_ref().map(|it| it.as_str().to_owned())
    };
    assert_eq!(
        (
            symbol(&properties.content_type).as_deref(),
            symbol(&properties.content_encoding).as_deref()
        ),
        (Some("text/plain"), Some("utf-8"))
    );
    for (name, value) in [("iothub-ack", "full"), ("Level", "hoch ä")] {
        let found = lookup(&message.application_properties, name);
        assert_eq!(found.and_then(Value::as_text), Some(value), "{name}");
    }
    assert_eq!(message.application_properties.len(), 2);
}

#[tokio::test]
async fn rejected_message_is_a_refusal_with_its_code() {
    let peer = Peer::listen().await;
    let error = iothub_protocol::Error::new(ErrorCode::DeviceMaximumQueueDepthExceeded, "50");
    peer.tell(|story| story.outcome = DeliveryState::Rejected(Some(AmqpError::from(&error))));

    let backend = peer.backend();
    let refused = within(backend.c2d().message("d1", "x").send()).await;
    peer.tell(|story| {
        let error = AmqpError::new(condition::NOT_FOUND, "nobody");
        story.outcome = DeliveryState::Rejected(Some(error));
    });
    let missing = within(backend.c2d().message("d1", "x").send()).await;
    let nobody = backend.c2d().message("a b", "x").send().await;

    let code = ErrorCode::DeviceMaximumQueueDepthExceeded;
    assert_eq!(refused.unwrap_err().code(), Some(code));
    let missing = missing.unwrap_err();
    assert_eq!(missing.code(), Some(ErrorCode::GenericNotFound));
    assert!(missing.to_string().ends_with("nobody"), "{missing}");
    let invalid = ErrorKind::InvalidId("a b".into());
    assert_eq!(nobody.unwrap_err().kind(), &invalid);
    assert_eq!(peer.story().connections, 1);
}

#[tokio::test]
async fn messages_share_a_link_and_another_one_when_it_is_lost() {
    let peer = Peer::listen().await;
    let backend = peer.backend();
    let send = |body: &'static str| {
        let backend = backend.clone();
        tokio::spawn(async move { backend.c2d().message("d1", body).send().await })
    };

    let both = (send("one"), send("two"));
    within(both.0).await.unwrap().unwrap();
    within(both.1).await.unwrap().unwrap();
    peer.tell(|story| story.cut += 1);
    // The cut is noticed at some time; what is sent before may be lost with the connection.
    let after = async {
        while peer.story().connections < 2 {
            let _ = send("more").await.unwrap();
        }
        send("last").await.unwrap()
    };
    within(after).await.unwrap();

    let story = peer.story();
    let senders = story.attached.iter().filter(|attach| {
        let target = attach.target.as_ref().and_then(|it| it.address.as_deref());
        target == Some("/messages/devicebound")
    });
    assert_eq!((senders.count(), story.connections), (2, 2));
    assert!(story.sent.iter().any(|it| it.data().unwrap() == "last"));
}

#[tokio::test]
async fn hub_that_is_not_there_is_unreachable() {
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let backend = iothub_backend::Backend::builder(crate::peer::CONNECTION_STRING)
        .amqp_address(&address)
        .build()
        .unwrap();

    let sent = within(backend.c2d().message("d1", "x").send()).await;
    let read = within(backend.events().from_earliest().open()).await;
    let fed = within(backend.feedback().open()).await;

    let unreachable = ErrorKind::Unreachable(address);
    assert_eq!(sent.unwrap_err().kind(), &unreachable);
    assert_eq!(read.err().unwrap().kind(), &unreachable);
    assert_eq!(fed.err().unwrap().kind(), &unreachable);
}
