//! Feedback (`spec/amqp.md` 5.2).

use std::time::Duration;

use iothub_emulator::Emulator;
use iothub_emulator::activity::OperationKind;
use iothub_hub::Principal;
use iothub_protocol::amqp::message::{AmqpMessage, Body, Properties};
use iothub_protocol::amqp::value::lookup;
use iothub_protocol::amqp::{DeliveryState, Value};
use iothub_protocol::mqtt::packet::{ClientPacket, QoS, ServerPacket};
use iothub_protocol::property_bag::PropertyBag;
use iothub_protocol::{ClientId, Message};
use serde_json::json;

use crate::client::Client;
use crate::hub::{device_token, frozen_emulator, noon, register};
use crate::mqtt::{self, connect, subscribe};

pub(crate) const ADDRESS: &str = "/messages/serviceBound/feedback";

/// Sends d1 a message of this id, takes it away again, and closes the batch that tells of it.
pub(crate) async fn add(emulator: &Emulator, id: &str) {
    let client = ClientId::parse("d1").unwrap();
    let operator = Principal::operator();
    let bag = format!("$.mid={id}&iothub-ack=full");
    let message = Message {
        properties: PropertyBag::from_encoded(bag).unwrap(),
        body: "x".into(),
    };
    let handle = emulator.handle();
    let done = handle
        .call(OperationKind::PurgeC2d.on(&client), |hub, cx| {
            hub.send_c2d(cx, &operator, &client, message)?;
            hub.purge_c2d(cx, &operator, &client)
        })
        .await;
    assert_eq!(done.unwrap(), 1);
    handle.advance(Duration::from_secs(15)).await;
}

#[tokio::test]
async fn a_message_goes_to_its_device_and_its_feedback_to_the_back_end() {
    let emulator = frozen_emulator().await;
    let key = register(&emulator, "d1").await;
    let token = device_token(&emulator, "d1", &key);
    let (mut device, _) = mqtt::Client::enter(&emulator, connect("d1", &token)).await;
    let filter = "devices/d1/messages/devicebound/#";
    device
        .send(&subscribe(1, &[(filter, QoS::AtLeastOnce)]))
        .await;
    device.next().await;
    let mut client = Client::service(&emulator, "service").await;
    let sender = client.attach_sender("/messages/devicebound").await.unwrap();
    let receiver = client.attach_receiver(ADDRESS, 10).await.unwrap();

    let message = AmqpMessage {
        properties: Properties {
            message_id: Some("m1".into()),
            to: Some("/devices/d1/messages/devicebound".into()),
            ..Properties::default()
        },
        application_properties: vec![("iothub-ack".into(), "full".into())],
        body: Body::Data(vec!["x".into()]),
        ..AmqpMessage::default()
    };
    client.send(sender, &message).await;
    let Some(ServerPacket::Publish(publish)) = device.next().await else {
        panic!("expected a PUBLISH");
    };
    device.send(&ClientPacket::PubAck(publish.packet_id)).await;
    device.expect_alive().await;
    assert_eq!(client.pending(receiver).await, None, "the batch is open");
    emulator.handle().advance(Duration::from_secs(15)).await;

    let (delivery, batch) = client.receive(receiver).await;

    assert_eq!(delivery.tag.len(), 16);
    let hub_name = emulator.handle().inspect(|hub| hub.config().name.clone());
    assert_eq!(
        batch.properties.user_id.as_deref(),
        Some(hub_name.as_bytes())
    );
    let media_type = batch.properties.content_type.as_ref().unwrap();
    assert_eq!(
        media_type.as_str(),
        "application/vnd.microsoft.iothub.feedback.json"
    );
    assert_eq!(
        lookup(&batch.message_annotations, "iothub-enqueuedtime"),
        Some(&Value::Timestamp(noon().unix_millis() + 15_000))
    );
    let records: serde_json::Value = serde_json::from_slice(&batch.data().unwrap()).unwrap();
    let generation = records[0]["deviceGenerationId"].as_str();
    assert!(generation.is_some_and(|text| !text.is_empty()));
    assert_eq!(
        records,
        json!([{
            "originalMessageId": "m1",
            "description": "Success",
            "deviceGenerationId": generation,
            "deviceId": "d1",
            "enqueuedTimeUtc": noon().to_iso(),
            "statusCode": "Success",
        }])
    );
    client
        .settle(receiver, delivery.id, DeliveryState::Accepted)
        .await;
    assert_eq!(client.pending(receiver).await, None);
}
