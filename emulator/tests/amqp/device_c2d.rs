//! Cloud-to-device messages (`spec/amqp.md` 7.3).

use std::time::Duration;

use iothub_emulator::Emulator;
use iothub_emulator::activity::OperationKind;
use iothub_hub::Principal;
use iothub_protocol::amqp::connection::{AttachLink, Delivery};
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::performative::{ReceiverSettleMode, SenderSettleMode};
use iothub_protocol::amqp::value::lookup;
use iothub_protocol::amqp::{DeliveryState, Event, LinkId, Value};
use iothub_protocol::property_bag::PropertyBag;
use iothub_protocol::{ClientId, Message};

use crate::client::Client;
use crate::hub::{emulator, frozen_emulator, noon};

const ADDRESS: &str = "/devices/d1/messages/deviceBound";

/// Sends a message that asks for all feedback.
async fn send(emulator: &Emulator, client: &str, body: &str) {
    let client = ClientId::parse(client).unwrap();
    let bag = "%24.mid=m-1&%24.ct=text%2Fplain&iothub-ack=full&color=red";
    let message = Message {
        properties: PropertyBag::from_encoded(bag).unwrap(),
        body: body.to_owned().into(),
    };
    let operator = Principal::operator();
    emulator
        .handle()
        .call(OperationKind::SendC2d.on(&client), |hub, cx| {
            hub.send_c2d(cx, &operator, &client, message)
        })
        .await
        .unwrap();
}

/// Bodies of what waits for `d1`, with their delivery counts.
fn waiting(emulator: &Emulator) -> Vec<(String, u32)> {
    let client = ClientId::parse("d1").unwrap();
    let waiting = emulator.handle().inspect(|hub| hub.waiting_c2d(&client));
    let told = |it: &std::sync::Arc<iothub_hub::C2dMessage>| {
        let body = String::from_utf8(it.message.body.to_vec()).unwrap();
        (body, it.delivery_count)
    };
    waiting.iter().map(told).collect()
}

/// The statuses that back ends are told.
async fn feedback(emulator: &Emulator) -> Vec<&'static str> {
    let operator = Principal::operator();
    emulator.handle().advance(Duration::from_secs(15)).await;
    let received = emulator
        .handle()
        .call(OperationKind::ReceiveFeedback.hub_wide(), |hub, cx| {
            hub.receive_feedback(cx, &operator)
        })
        .await
        .unwrap();
    let records = received.map_or_else(Vec::new, |batch| batch.records);
    records.iter().map(|it| it.status.name()).collect()
}

fn body(message: &AmqpMessage) -> String {
    String::from_utf8(message.data().unwrap().to_vec()).unwrap()
}

async fn receive(device: &mut Client, link: LinkId) -> (Delivery, String) {
    let (delivery, message) = device.receive(link).await;
    let body = body(&message);
    (delivery, body)
}

#[tokio::test]
async fn a_message_has_the_annotations_that_net_reads_and_a_guid_for_a_tag() {
    let emulator = frozen_emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let link = device.attach_receiver(ADDRESS, 10).await.unwrap();

    send(&emulator, "d1", "hello").await;

    let (delivery, message) = device.receive(link).await;
    assert_eq!(body(&message), "hello");
    assert!(!delivery.settled);
    assert_eq!(delivery.tag.len(), 16);
    let annotations = &message.message_annotations;
    let enqueued = Value::Timestamp(noon().unix_millis());
    assert_eq!(lookup(annotations, "iothub-enqueuedtime"), Some(&enqueued));
    let count = lookup(annotations, "iothub-deliverycount");
    assert_eq!(count, Some(&Value::Ubyte(0)));
    let sequence = lookup(annotations, "x-opt-sequence-number");
    assert_eq!(sequence, Some(&Value::Ulong(1)));
    let token = uuid(&delivery.tag);
    let lock = lookup(annotations, "x-opt-lock-token");
    assert_eq!(lock, Some(&Value::String(token)));
    assert_eq!(message.properties.message_id, Some("m-1".into()));
    assert_eq!(
        message.properties.to.as_deref(),
        Some("/devices/d1/messages/deviceBound")
    );
    let application = &message.application_properties;
    assert_eq!(lookup(application, "iothub-ack"), Some(&"full".into()));
    assert_eq!(lookup(application, "color"), Some(&"red".into()));
}

#[tokio::test]
async fn each_outcome_does_what_it_says() {
    let emulator = frozen_emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let link = device.attach_receiver(ADDRESS, 10).await.unwrap();
    let rejected = || DeliveryState::Rejected(None);
    let modified = || DeliveryState::Modified {
        delivery_failed: true,
        undeliverable_here: false,
        annotations: Vec::new(),
    };

    send(&emulator, "d1", "1").await;
    let (delivery, _) = receive(&mut device, link).await;
    device
        .settle(link, delivery.id, DeliveryState::Accepted)
        .await;
    device.round_trip().await;
    assert_eq!(waiting(&emulator), []);
    assert_eq!(feedback(&emulator).await, ["Success"]);

    send(&emulator, "d1", "2").await;
    for (state, count) in [(DeliveryState::Released, 1), (modified(), 2)] {
        let (delivery, again) = receive(&mut device, link).await;
        assert_eq!(again, "2");
        device.settle(link, delivery.id, state).await;
        device.round_trip().await;
        assert_eq!(waiting(&emulator), [("2".to_owned(), count)]);
    }
    let (delivery, message) = device.receive(link).await;
    let count = lookup(&message.message_annotations, "iothub-deliverycount");
    assert_eq!(count, Some(&Value::Ubyte(2)));
    device.settle(link, delivery.id, rejected()).await;
    device.round_trip().await;
    assert_eq!(waiting(&emulator), []);
    assert_eq!(feedback(&emulator).await, ["Rejected"]);
}

#[tokio::test]
async fn no_more_is_sent_and_locked_than_there_is_credit() {
    let emulator = frozen_emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let link = device.attach_receiver(ADDRESS, 0).await.unwrap();
    for body in ["1", "2", "3", "4"] {
        send(&emulator, "d1", body).await;
    }
    assert_eq!(device.pending(link).await, None);

    device.grant(link, 2).await;
    assert_eq!(receive(&mut device, link).await.1, "1");
    assert_eq!(receive(&mut device, link).await.1, "2");
    assert_eq!(device.pending(link).await, None);

    device.grant(link, 1).await;
    assert_eq!(receive(&mut device, link).await.1, "3");
    assert_eq!(device.pending(link).await, None);

    // What was not sent is not locked: another may fetch it.
    let client = ClientId::parse("d1").unwrap();
    let operator = Principal::operator();
    let fetched = emulator
        .handle()
        .call(OperationKind::ReceiveC2d.on(&client), |hub, cx| {
            hub.receive_c2d(cx, &operator, &client, None)
        })
        .await
        .unwrap();
    let fetched = fetched.map(|it| it.message.message.body.clone());
    assert_eq!(fetched.as_deref(), Some(&b"4"[..]));
}

#[tokio::test]
async fn a_lock_that_is_lost_brings_the_message_again_uncounted() {
    let emulator = frozen_emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let wanted = AttachLink {
        rcv_settle_mode: ReceiverSettleMode::Second,
        ..device.receiver(ADDRESS, 10)
    };
    let (link, answer) = device.attach(wanted).await.unwrap();
    assert_eq!(answer.rcv_settle_mode, ReceiverSettleMode::Second);
    send(&emulator, "d1", "1").await;
    let (first, _) = receive(&mut device, link).await;

    emulator.handle().advance(Duration::from_secs(60)).await;

    let (second, again) = receive(&mut device, link).await;
    assert_eq!(again, "1");
    assert_ne!(first.tag, second.tag);
    assert_eq!(waiting(&emulator), [("1".to_owned(), 0)]);

    // Too late, and told so; then in time.
    device.machine.tell(link, first.id, DeliveryState::Accepted);
    match settled(&mut device, link, &first).await {
        DeliveryState::Rejected(Some(error)) => {
            assert_eq!(error.condition.as_str(), "com.microsoft:message-lock-lost");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(waiting(&emulator).len(), 1);
    device
        .machine
        .tell(link, second.id, DeliveryState::Accepted);
    let state = settled(&mut device, link, &second).await;
    assert_eq!(state, DeliveryState::Accepted);
    assert_eq!(waiting(&emulator), []);
}

/// Waits until the peer has settled a delivery that it sent.
async fn settled(device: &mut Client, link: LinkId, delivery: &Delivery) -> DeliveryState {
    let wanted = delivery.id;
    let state = device
        .wait("a settlement", |event| match event {
            Event::Outcome {
                link: of,
                delivery,
                state,
                settled: true,
            } if *of == link && *delivery == wanted => Some(state.clone()),
            _ => None,
        })
        .await;
    state.expect("a state")
}

#[tokio::test]
async fn what_a_detached_link_holds_returns_uncounted() {
    let emulator = frozen_emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    // The session goes on with this one.
    device
        .attach_sender("/devices/d1/messages/events")
        .await
        .unwrap();
    let link = device.attach_receiver(ADDRESS, 10).await.unwrap();
    send(&emulator, "d1", "1").await;
    receive(&mut device, link).await;

    device.detach(link).await;
    send(&emulator, "d1", "2").await;
    assert_eq!(
        waiting(&emulator),
        [("1".to_owned(), 0), ("2".to_owned(), 0)]
    );

    let link = device.attach_receiver(ADDRESS, 10).await.unwrap();
    assert_eq!(receive(&mut device, link).await.1, "1");
    assert_eq!(receive(&mut device, link).await.1, "2");
}

#[tokio::test]
async fn a_link_that_is_sent_everything_settled_completes_it() {
    let emulator = frozen_emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let wanted = AttachLink {
        snd_settle_mode: SenderSettleMode::Settled,
        ..device.receiver(ADDRESS, 10)
    };
    let (link, _) = device.attach(wanted).await.unwrap();

    send(&emulator, "d1", "1").await;

    let (delivery, _) = receive(&mut device, link).await;
    assert!(delivery.settled);
    assert_eq!(delivery.tag.len(), 16);
    device.round_trip().await;
    assert_eq!(waiting(&emulator), []);
    assert_eq!(feedback(&emulator).await, ["Success"]);
}

#[tokio::test]
async fn a_second_link_takes_the_place_of_the_first() {
    let emulator = frozen_emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let first = device.attach_receiver(ADDRESS, 10).await.unwrap();
    send(&emulator, "d1", "1").await;
    receive(&mut device, first).await;

    let second = device.attach_receiver(ADDRESS, 10).await.unwrap();

    let error = device.expect_detach(first).await.unwrap();
    assert_eq!(error.condition.as_str(), "amqp:link:stolen");
    assert_eq!(receive(&mut device, second).await.1, "1");
}

#[tokio::test]
async fn a_module_reads_on_either_address() {
    let emulator = emulator().await;
    crate::hub::register(&emulator, "d1").await;
    let mut module = Client::device(&emulator, "d1/m1").await;
    let inputs = module
        .attach_receiver("/devices/d1/modules/m1/messages/events", 10)
        .await
        .unwrap();

    send(&emulator, "d1/m1", "1").await;
    assert_eq!(receive(&mut module, inputs).await.1, "1");

    let direct = module
        .attach_receiver("/devices/d1/modules/m1/messages/devicebound", 10)
        .await
        .unwrap();
    send(&emulator, "d1/m1", "2").await;
    assert_eq!(receive(&mut module, direct).await.1, "2");
    let mut device = Client::connect(&emulator).await;
    let refused = device
        .attach_receiver("/devices/d1/messages/events", 1)
        .await;
    assert!(refused.is_err());
}

fn uuid(tag: &[u8]) -> String {
    iothub_protocol::amqp::mapping::uuid_text(tag.try_into().unwrap())
}
