//! Throttles and the daily quota as a device sees them over AMQP (`spec/amqp.md` 4.1,
//! `spec/device.md` 16.1).

use iothub_emulator::Emulator;
use iothub_emulator::activity::OperationKind;
use iothub_emulator::config::{ClockSetting, Config};
use iothub_emulator::throttling::Load;
use iothub_hub::{Limits, Sku, Tier};
use iothub_protocol::amqp::message::{AmqpMessage, Body, Properties};
use iothub_protocol::amqp::value::lookup;
use iothub_protocol::amqp::{DeliveryState, Symbol, Value};
use tokio::task::JoinHandle;

use crate::client::{Client, condition_of};
use crate::device_telemetry::{events, message};
use crate::hub::noon;

/// A hub whose clock stands.
async fn emulator_of(sku: Sku) -> Emulator {
    let config = Config {
        clock: ClockSetting::Frozen(noon()),
        limits: Limits {
            tier: Tier::new(sku, 1),
            ..Limits::default()
        },
        ..Config::default()
    };
    Emulator::start(config).await.unwrap()
}

/// Uses a throttle up, and fills the queue behind it.
async fn exhaust(emulator: &Emulator, kind: OperationKind) -> JoinHandle<()> {
    let perform = |count| {
        let handle = emulator.handle().clone();
        tokio::spawn(async move {
            let operation = kind.hub_wide().weighing(Load::of(count));
            handle.call(operation, |_, _| Ok(())).await.unwrap();
        })
    };
    perform(6000).await.unwrap();
    let filling = perform(1000);
    while waiting(emulator) == 0 {
        tokio::task::yield_now().await;
    }
    filling
}

fn waiting(emulator: &Emulator) -> u64 {
    let (_, meters, _) = emulator.handle().meters().unwrap();
    meters.iter().map(|meter| meter.waiting).sum()
}

#[tokio::test]
async fn telemetry_over_the_throttle_is_rejected() {
    let emulator = emulator_of(Sku::S1).await;
    let mut device = Client::device(&emulator, "d1").await;
    let link = device
        .attach_sender("/devices/d1/messages/events")
        .await
        .unwrap();
    let _filling = exhaust(&emulator, OperationKind::SendTelemetry).await;

    match device.send(link, &message("x")).await {
        DeliveryState::Rejected(Some(error)) => {
            let condition = "com.microsoft:device-container-throttled";
            assert_eq!(condition_of(&error), condition);
        }
        other => panic!("{other:?}"),
    }
    device.expect_alive().await;
}

#[tokio::test]
async fn telemetry_over_the_quota_is_rejected_and_nobody_new_is_let_in() {
    let emulator = emulator_of(Sku::F1).await;
    let mut device = Client::device(&emulator, "d1").await;
    let link = device
        .attach_sender("/devices/d1/messages/events")
        .await
        .unwrap();
    let all = Load {
        count: 1,
        messages: 8000,
    };
    let operation = OperationKind::SendTelemetry.hub_wide().weighing(all);
    let used = emulator.handle().call(operation, |_, _| Ok(())).await;
    used.unwrap();

    match device.send(link, &message("x")).await {
        DeliveryState::Rejected(Some(error)) => {
            assert_eq!(condition_of(&error), "com.microsoft:quota-exceeded");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(events(&emulator, "d1").len(), 0);
    let mut second = Client::device(&emulator, "d2").await;
    let refused = second.attach_sender("/devices/d2/messages/events").await;
    let error = refused.unwrap_err();
    assert_eq!(condition_of(&error), "com.microsoft:quota-exceeded");
}

#[tokio::test]
async fn a_twin_request_over_the_throttle_is_answered_429() {
    let emulator = emulator_of(Sku::S1).await;
    let mut device = Client::device(&emulator, "d1").await;
    let sender = device.attach_sender("/devices/d1/twin").await.unwrap();
    let receiver = device.attach_receiver("/devices/d1/twin", 1).await.unwrap();
    let _filling = exhaust(&emulator, OperationKind::GetOwnTwin).await;
    let get = AmqpMessage {
        message_annotations: vec![(Symbol::of("operation").into(), "GET".into())],
        properties: Properties {
            correlation_id: Some("g".into()),
            ..Properties::default()
        },
        body: Body::Data(vec![" ".into()]),
        ..AmqpMessage::default()
    };

    device.send_settled(sender, &get).await;

    let (_, reply) = device.receive(receiver).await;
    let status = lookup(&reply.message_annotations, "status");
    assert_eq!(status, Some(&Value::Int(429)));
    let body = String::from_utf8(reply.data().unwrap().to_vec()).unwrap();
    assert!(body.contains(r#""errorCode":429001"#), "{body}");
}
