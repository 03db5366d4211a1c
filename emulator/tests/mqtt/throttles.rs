//! Throttles and the daily quota as a device sees them (`spec/device.md` 2.4, 2.8, 16.1).

use std::time::Duration;

use iothub_emulator::activity::OperationKind;
use iothub_emulator::config::{ClockSetting, Config};
use iothub_emulator::throttling::Load;
use iothub_emulator::{Emulator, HubHandle};
use iothub_hub::{Limits, Sku, Throttle, Tier};
use iothub_protocol::mqtt::packet::{ClientPacket, ConnAckCode, QoS, ServerPacket};
use tokio::task::JoinHandle;

use crate::client::{Client, connect, noon, publish, register, subscribe, token};

const EVENTS: &str = "devices/d1/messages/events/";

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

/// So many operations of a kind, in the background when they have to wait.
fn perform(emulator: &Emulator, kind: OperationKind, load: Load) -> JoinHandle<()> {
    let handle: HubHandle = emulator.handle().clone();
    tokio::spawn(async move {
        let operation = kind.hub_wide().weighing(load);
        handle.call(operation, |_, _| Ok(())).await.unwrap();
    })
}

async fn use_up(emulator: &Emulator, kind: OperationKind, count: usize) {
    perform(emulator, kind, Load::of(count)).await.unwrap();
}

/// Fills the queue behind a throttle that is used up.
async fn fill(emulator: &Emulator, kind: OperationKind, count: usize) -> JoinHandle<()> {
    let filling = perform(emulator, kind, Load::of(count));
    while waiting(emulator, kind) < count as u64 {
        tokio::task::yield_now().await;
    }
    filling
}

fn waiting(emulator: &Emulator, kind: OperationKind) -> u64 {
    let throttle = match kind {
        OperationKind::SendTelemetry => Throttle::DeviceToCloud,
        OperationKind::GetOwnTwin => Throttle::TwinReads,
        other => panic!("not looked for: {other:?}"),
    };
    let (_, meters, _) = emulator.handle().meters().unwrap();
    let meter = meters.iter().find(|meter| meter.throttle == throttle);
    meter.unwrap().waiting
}

#[tokio::test]
async fn telemetry_over_the_throttle_waits_and_then_ends_the_connection() {
    let emulator = emulator_of(Sku::S1).await;
    let mut client = Client::online(&emulator, "d1").await;
    let mut other = Client::online(&emulator, "d2").await;
    use_up(&emulator, OperationKind::SendTelemetry, 6000).await;

    client
        .send(&publish(EVENTS, QoS::AtLeastOnce, 1, b"x"))
        .await;
    while waiting(&emulator, OperationKind::SendTelemetry) == 0 {
        tokio::task::yield_now().await;
    }
    emulator.handle().advance(Duration::from_millis(10)).await;
    assert_eq!(client.next().await, Some(ServerPacket::PubAck(1)));

    let _filling = fill(&emulator, OperationKind::SendTelemetry, 1000).await;
    let topic = "devices/d2/messages/events/";
    other.send(&publish(topic, QoS::AtLeastOnce, 1, b"x")).await;
    other.expect_close().await;
}

#[tokio::test]
async fn twin_requests_over_the_throttle_are_answered_429() {
    let emulator = emulator_of(Sku::S1).await;
    let mut client = Client::online(&emulator, "d1").await;
    let filter = ("$iothub/twin/res/#", QoS::AtMostOnce);
    client.send(&subscribe(1, &[filter])).await;
    client.next().await.unwrap();
    use_up(&emulator, OperationKind::GetOwnTwin, 6000).await;
    let _filling = fill(&emulator, OperationKind::GetOwnTwin, 1000).await;

    let get = publish("$iothub/twin/GET/?$rid=7", QoS::AtMostOnce, 0, b"");
    client.send(&get).await;

    let Some(ServerPacket::Publish(answer)) = client.next().await else {
        panic!("no answer");
    };
    assert_eq!(answer.topic(), "$iothub/twin/res/429/?$rid=7");
    let body = String::from_utf8(answer.payload.to_vec()).unwrap();
    assert!(body.contains(r#""errorCode":429001"#), "{body}");
    client.expect_alive().await;
}

#[tokio::test]
async fn who_connects_too_often_is_told_that_the_server_is_unavailable() {
    let emulator = emulator_of(Sku::S1).await;
    let key = register(&emulator, "d1").await;
    use_up(&emulator, OperationKind::Connect, 6000).await;
    let filling = perform(&emulator, OperationKind::Connect, Load::of(1000));
    tokio::task::yield_now().await;

    let mut client = Client::dial(&emulator).await;
    let packet = connect("d1", &token(&emulator, "d1", &key));
    client.send(&ClientPacket::Connect(packet)).await;

    assert_refused(&mut client).await;
    filling.abort();
}

#[tokio::test]
async fn when_the_messages_of_the_day_are_used_up_nothing_is_stored_until_midnight() {
    let emulator = emulator_of(Sku::F1).await;
    let mut client = Client::online(&emulator, "d1").await;
    let load = Load {
        count: 1,
        messages: 7999,
    };
    perform(&emulator, OperationKind::SendTelemetry, load)
        .await
        .unwrap();

    client
        .send(&publish(EVENTS, QoS::AtLeastOnce, 1, b"last"))
        .await;
    assert_eq!(client.next().await, Some(ServerPacket::PubAck(1)));
    client
        .send(&publish(EVENTS, QoS::AtLeastOnce, 2, b"x"))
        .await;
    client.expect_close().await;

    let key = register(&emulator, "d2").await;
    let mut refused = Client::dial(&emulator).await;
    let packet = connect("d2", &token(&emulator, "d2", &key));
    refused.send(&ClientPacket::Connect(packet)).await;
    assert_refused(&mut refused).await;

    emulator
        .handle()
        .advance(Duration::from_secs(24 * 3600))
        .await;
    Client::enter(&emulator, connect("d2", &token(&emulator, "d2", &key))).await;
}

async fn assert_refused(client: &mut Client) {
    assert_eq!(
        client.next().await,
        Some(ServerPacket::ConnAck {
            session_present: false,
            code: ConnAckCode::ServerUnavailable,
        })
    );
    client.expect_close().await;
}
