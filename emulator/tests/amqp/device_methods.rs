//! Direct methods (`spec/amqp.md` 7.4).

use std::time::Duration;

use bytes::Bytes;
use iothub_emulator::Emulator;
use iothub_hub::Principal;
use iothub_protocol::amqp::connection::{AttachLink, Delivery};
use iothub_protocol::amqp::message::{AmqpMessage, Body, Properties};
use iothub_protocol::amqp::performative::SenderSettleMode;
use iothub_protocol::amqp::value::lookup;
use iothub_protocol::amqp::{DeliveryState, LinkId, Value};
use iothub_protocol::method::{MethodRequest, MethodResponse};
use iothub_protocol::{ClientId, Error, ErrorCode};
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::hub::{emulator, frozen_emulator};

const ADDRESS: &str = "/devices/d1/methods/devicebound";

/// Calls a method of `d1` and waits in a task.
fn call(
    emulator: &Emulator,
    name: &str,
    payload: Option<&str>,
) -> JoinHandle<Result<MethodResponse, Error>> {
    let handle = emulator.handle().clone();
    let request = MethodRequest {
        payload: payload.map(|it| it.to_owned().into()),
        ..MethodRequest::new(name)
    };
    tokio::spawn(async move {
        let client = ClientId::parse("d1").unwrap();
        handle
            .invoke_method(&client, request, |_, _| Ok(Principal::operator()))
            .await
    })
}

/// The pair of links of a device.
async fn links(device: &mut Client, mode: SenderSettleMode) -> (LinkId, LinkId) {
    let sender = AttachLink {
        snd_settle_mode: mode,
        ..device.sender(ADDRESS)
    };
    let receiver = AttachLink {
        snd_settle_mode: mode,
        ..device.receiver(ADDRESS, 10)
    };
    let (sender, _) = device.attach(sender).await.unwrap();
    let (receiver, _) = device.attach(receiver).await.unwrap();
    device.round_trip().await;
    (sender, receiver)
}

fn answer(correlation_id: Value, status: i32, body: &str) -> AmqpMessage {
    AmqpMessage {
        properties: Properties {
            correlation_id: Some(correlation_id),
            ..Properties::default()
        },
        application_properties: vec![("IoThub-status".into(), Value::Int(status))],
        body: Body::Data(vec![Bytes::copy_from_slice(body.as_bytes())]),
        ..AmqpMessage::default()
    }
}

async fn request(device: &mut Client, link: LinkId) -> (Delivery, AmqpMessage, [u8; 16]) {
    let (delivery, message) = device.receive(link).await;
    match message.properties.correlation_id {
        Some(Value::Uuid(id)) => (delivery, message, id),
        other => panic!("the correlation id is {other:?}"),
    }
}

#[tokio::test]
async fn a_call_goes_to_the_device_and_its_answer_to_the_caller() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let (sender, receiver) = links(&mut device, SenderSettleMode::Mixed).await;

    let waiting = call(&emulator, "reboot", Some(r#"{"delay": 1.0}"#));

    let (delivery, message, id) = request(&mut device, receiver).await;
    assert!(delivery.settled);
    assert_eq!(delivery.tag, &id[..]);
    let name = lookup(&message.application_properties, "IoThub-methodname");
    assert_eq!(name, Some(&"reboot".into()));
    assert_eq!(message.data().unwrap(), r#"{"delay": 1.0}"#);
    let outcome = device
        .send(sender, &answer(Value::Uuid(id), 201, r#"{"ok":true}"#))
        .await;
    assert_eq!(outcome, DeliveryState::Accepted);
    let expected = MethodResponse {
        status: 201,
        payload: r#"{"ok":true}"#.into(),
    };
    assert_eq!(waiting.await.unwrap(), Ok(expected));
}

#[tokio::test]
async fn an_answer_may_name_the_call_as_text_and_be_settled() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let (sender, receiver) = links(&mut device, SenderSettleMode::Settled).await;

    let waiting = call(&emulator, "m", None);

    let (delivery, message, id) = request(&mut device, receiver).await;
    assert!(delivery.settled);
    assert_eq!(message.data().unwrap(), "");
    let text = iothub_protocol::amqp::mapping::uuid_text(&id);
    device
        .send_settled(sender, &answer(Value::String(text), -7, ""))
        .await;
    let expected = MethodResponse {
        status: -7,
        payload: Bytes::new(),
    };
    assert_eq!(waiting.await.unwrap(), Ok(expected));
}

#[tokio::test]
async fn a_java_device_settles_its_calls() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let (sender, receiver) = links(&mut device, SenderSettleMode::Unsettled).await;

    let waiting = call(&emulator, "m", Some("1"));

    let (delivery, _, id) = request(&mut device, receiver).await;
    assert!(!delivery.settled);
    device
        .settle(receiver, delivery.id, DeliveryState::Accepted)
        .await;
    device
        .send(sender, &answer(Value::Uuid(id), 200, "null"))
        .await;
    assert_eq!(waiting.await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn nobody_is_online_before_a_link_has_credit_and_after_it_is_detached() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    device.attach_sender(ADDRESS).await.unwrap();
    let offline = |result: Result<MethodResponse, Error>| {
        assert_eq!(result.unwrap_err().code, ErrorCode::DeviceNotOnline);
    };
    offline(call(&emulator, "m", None).await.unwrap());

    let link = device.attach_receiver(ADDRESS, 0).await.unwrap();
    offline(call(&emulator, "m", None).await.unwrap());

    device.grant(link, 1).await;
    device.round_trip().await;
    let first = call(&emulator, "first", None);
    request(&mut device, link).await;
    // A device that listens may be out of credit for a while.
    let second = call(&emulator, "second", None);
    device.grant(link, 1).await;
    let (_, message, _) = request(&mut device, link).await;
    let name = lookup(&message.application_properties, "IoThub-methodname");
    assert_eq!(name, Some(&"second".into()));

    device.detach(link).await;
    offline(call(&emulator, "m", None).await.unwrap());
    first.abort();
    second.abort();
}

#[tokio::test]
async fn a_call_that_is_not_answered_times_out_and_what_comes_later_is_ignored() {
    let emulator = frozen_emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let (sender, receiver) = links(&mut device, SenderSettleMode::Mixed).await;
    let waiting = call(&emulator, "m", None);
    let (_, _, id) = request(&mut device, receiver).await;

    let without_status = AmqpMessage {
        application_properties: Vec::new(),
        ..answer(Value::Uuid(id), 0, "")
    };
    let outcome = device.send(sender, &without_status).await;
    assert!(matches!(outcome, DeliveryState::Rejected(Some(_))));
    emulator.handle().advance(Duration::from_secs(30)).await;

    let timed_out = waiting.await.unwrap().unwrap_err();
    assert_eq!(timed_out.code, ErrorCode::GatewayTimeout);
    let outcome = device.send(sender, &answer(Value::Uuid(id), 200, "")).await;
    assert_eq!(outcome, DeliveryState::Accepted);
}
