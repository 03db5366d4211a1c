//! Who is connected, for how long, and what is left behind (`spec/device.md` 2).

use std::time::Duration;

use bytes::Bytes;
use iothub_backend::{IdentitySpec, IfMatch, Status};
use iothub_protocol::mqtt::packet::{ConnAckCode, QoS, Will};
use iothub_testkit::{
    MethodResponse, ScriptedDevice, TestHub, connection, json_message, telemetry,
};
use serde_json::json;

use crate::support::{DESIRED, METHODS, call, end, listening, secs};

/// The body of the will that [`with_will`] leaves with the hub.
const WILL: &str = "gone";

async fn with_will(hub: &TestHub) -> ScriptedDevice {
    let mut connect = hub.connect_packet("d1").await;
    connect.will = Some(Will {
        topic: "devices/d1/messages/events/why=will".into(),
        payload: Bytes::from_static(WILL.as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: false,
    });
    let mut device = hub.dial().await;
    device.connect(connect).await;
    device
}

#[tokio::test]
async fn newer_connection_takes_over() {
    let hub = TestHub::start().await;
    let mut older = listening(&hub, "d1").await;

    let mut newer = listening(&hub, "d1").await;

    older.expect_closed().await;
    let call = call(&hub, "d1", "who");
    let (_, rid, _) = newer.receive_call().await;
    newer.answer_call(&rid, 200, "1").await;
    assert_eq!(end(call).await.unwrap().status, 200);
}

#[tokio::test]
async fn session_that_is_not_clean_is_remembered() {
    let hub = TestHub::start().await;
    let mut connect = hub.connect_packet("d1").await;
    connect.clean_session = false;
    let mut device = hub.dial().await;
    assert!(
        !device.connect(connect.clone()).await,
        "there is nothing to remember yet"
    );
    device.subscribe(METHODS).await;
    device.subscribe(DESIRED).await;
    device.unsubscribe(DESIRED).await;
    drop(device);
    hub.wait_until_disconnected("d1").await;

    let mut device = hub.dial().await;
    assert!(device.connect(connect.clone()).await);
    let call = call(&hub, "d1", "still-there");
    let (_, rid, _) = device.receive_call().await;
    device.answer_call(&rid, 200, "1").await;
    assert_eq!(end(call).await.unwrap().status, 200);
    hub.backend()
        .twins()
        .patch_desired("d1", &json!({"a": 1}))
        .await
        .unwrap();
    device.expect_nothing().await;

    // A clean session forgets, for good.
    hub.scripted_device("d1").await.disconnect().await;
    assert!(!hub.dial().await.connect(connect).await);
}

#[tokio::test]
async fn client_comes_back_after_its_connection_was_cut() {
    let hub = TestHub::start().await;
    hub.expect(connection().on("d1").times(2));
    let device = hub.device("d1").await;
    device
        .on_method("ping", |_| async { MethodResponse::empty(200) })
        .await
        .unwrap();
    let mut desired = device.desired_updates().await.unwrap();

    hub.drop_connection("d1").await;
    hub.wait_until_connected("d1").await;

    device
        .send_telemetry(json_message(&json!("back")))
        .await
        .unwrap();
    hub.backend()
        .twins()
        .patch_desired("d1", &json!({"a": 1}))
        .await
        .unwrap();
    loop {
        // What was there when it came back may be told first.
        let update = desired.next().await.unwrap();
        if update.properties.values.contains_key("a") {
            break;
        }
    }
    let call = hub
        .backend()
        .methods()
        .invoke("d1", "ping")
        .connect_timeout(secs(5));
    assert_eq!(call.send().await.unwrap().status, 200);
}

#[tokio::test]
async fn deleted_device_is_disconnected_and_refused() {
    let hub = TestHub::start().await;
    let mut device = hub.scripted_device("d1").await;
    let mut module = hub.scripted_device("d1/m1").await;
    let mut other = hub.scripted_device("d2").await;
    let connect = hub.connect_packet("d1").await;

    hub.backend()
        .registry()
        .delete_device("d1", &IfMatch::Any)
        .await
        .unwrap();

    device.expect_closed().await;
    module.expect_closed().await;
    other.expect_nothing().await;
    let (_, code) = hub.dial().await.try_connect(connect).await;
    assert_eq!(code, ConnAckCode::NotAuthorized);
}

#[tokio::test]
async fn disabled_device_is_disconnected_until_it_is_enabled() {
    let hub = TestHub::start().await;
    let mut device = hub.scripted_device("d1").await;
    let connect = hub.connect_packet("d1").await;
    let registry = hub.backend().registry();
    let keys = registry.device("d1").await.unwrap().authentication;
    let spec = |status| IdentitySpec {
        status,
        authentication: match &keys {
            iothub_backend::Authentication::Sas { primary, secondary } => {
                let keys = (primary.clone(), secondary.clone());
                iothub_backend::AuthenticationSpec::Sas(Some(keys))
            }
            other => panic!("devices have keys, not {}", other.type_name()),
        },
        ..IdentitySpec::default()
    };

    let disabled = spec(Status::Disabled);
    registry
        .update_device("d1", &disabled, &IfMatch::Any)
        .await
        .unwrap();
    device.expect_closed().await;
    let (_, code) = hub.dial().await.try_connect(connect.clone()).await;
    assert_eq!(code, ConnAckCode::NotAuthorized);

    let enabled = spec(Status::Enabled);
    registry
        .update_device("d1", &enabled, &IfMatch::Any)
        .await
        .unwrap();
    hub.dial().await.connect(connect).await;
}

#[tokio::test]
async fn will_is_stored_when_the_connection_is_lost() {
    let hub = TestHub::start().await;
    let device = with_will(&hub).await;

    drop(device);

    let events = hub.telemetry_from("d1").wait_for(1).await;
    assert_eq!(events[0].body(), WILL.as_bytes());
    assert_eq!(events[0].property("why").unwrap(), "will");
}

#[tokio::test]
async fn will_is_stored_when_another_connection_takes_over() {
    let hub = TestHub::start().await;
    let mut device = with_will(&hub).await;

    let _newer = hub.scripted_device("d1").await;

    device.expect_closed().await;
    assert_eq!(
        hub.telemetry_from("d1").wait_for(1).await[0].body(),
        WILL.as_bytes()
    );
}

#[tokio::test]
async fn will_is_forgotten_when_the_device_says_goodbye() {
    let hub = TestHub::start().await;
    hub.expect(telemetry().on("d1").never());
    let device = with_will(&hub).await;

    device.disconnect().await;

    hub.wait_until_disconnected("d1").await;
}

#[tokio::test]
async fn registry_tells_who_is_connected() {
    let hub = TestHub::start().await;
    let device = hub.device("d1").await;
    assert!(
        hub.backend()
            .registry()
            .device("d1")
            .await
            .unwrap()
            .connected
    );
    assert_eq!(
        hub.backend().registry().connected_devices().await.unwrap(),
        1
    );

    device.close().await;

    hub.wait_until_disconnected("d1").await;
    assert!(
        !hub.backend()
            .registry()
            .device("d1")
            .await
            .unwrap()
            .connected
    );
}

#[tokio::test]
async fn hub_stops_within_a_second_with_everything_open() {
    let hub = TestHub::start().await;
    let client = hub.device("client").await;
    let mut raw = listening(&hub, "raw").await;
    let mut silent = hub.dial().await;
    let call = call(&hub, "raw", "unanswered");
    raw.receive_call().await;
    let mut events = hub.backend().events().from_latest().open().await.unwrap();

    tokio::time::timeout(secs(1), hub.shutdown())
        .await
        .expect("within a second");

    raw.expect_closed().await;
    silent.expect_closed().await;
    end(call).await.expect_err("there is no answer any more");
    // A reader of events waits for the hub to come back.
    let event = tokio::time::timeout(Duration::from_millis(100), events.next()).await;
    assert!(!matches!(event, Ok(Ok(Some(_)))));
    client.close().await;
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let hub = TestHub::start().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(hub.dial().await);
    }

    let device = hub.device("d1").await;
    device
        .send_telemetry(json_message(&json!("through")))
        .await
        .unwrap();

    assert_eq!(hub.telemetry_from("d1").so_far().len(), 1);
    drop(silent);
}

#[tokio::test]
async fn device_made_anew_has_nothing_of_the_old_one() {
    let hub = TestHub::start().await;
    let mut connect = hub.connect_packet("d1").await;
    connect.clean_session = false;
    let mut old = hub.dial().await;
    old.connect(connect.clone()).await;
    old.subscribe(METHODS).await;
    let registry = hub.backend().registry();
    hub.backend()
        .twins()
        .patch_desired("d1", &json!({"old": true}))
        .await
        .unwrap();
    let before = registry.device("d1").await.unwrap();

    registry.delete_device("d1", &IfMatch::Any).await.unwrap();
    old.expect_closed().await;
    let after = registry
        .create_device("d1", &IdentitySpec::default())
        .await
        .unwrap();

    assert_ne!(after.generation_id, before.generation_id);
    assert_ne!(after.authentication, before.authentication);
    let (_, code) = hub.dial().await.try_connect(connect).await;
    assert_eq!(
        code,
        ConnAckCode::NotAuthorized,
        "the old key is worth nothing"
    );
    let mut connect = hub.connect_packet("d1").await;
    connect.clean_session = false;
    assert!(
        !hub.dial().await.connect(connect).await,
        "the old session is forgotten"
    );
    let twin = hub.backend().twins().get("d1").await.unwrap();
    assert_eq!(twin.desired().get("old"), None);
}

#[tokio::test]
async fn silence_and_rubbish_on_the_tls_ports_keep_nobody_out() {
    let hub = TestHub::start().await;
    let mut peers = Vec::new();
    for port in [hub.ports().mqtts, hub.ports().https] {
        for rubbish in [
            &b""[..],
            b"GET / HTTP/1.1\r\n\r\n",
            &[0x16, 0x03, 0x01, 0xff],
            &[0; 32],
        ] {
            let mut peer = ScriptedDevice::dial(port).await;
            peer.send_bytes(rubbish).await;
            peers.push(peer);
        }
    }

    let builder = hub.device_builder("d1").await.mqtts_port(hub.ports().mqtts);
    let device = builder.connect().await.unwrap();
    device
        .send_telemetry(json_message(&json!(1)))
        .await
        .unwrap();
    let builder = hub
        .device_builder("d2")
        .await
        .websocket_port(hub.ports().https);
    let device = builder.connect().await.unwrap();
    device
        .send_telemetry(json_message(&json!(2)))
        .await
        .unwrap();

    assert_eq!(hub.telemetry_from("d1").so_far().len(), 1);
    assert_eq!(hub.telemetry_from("d2").so_far().len(), 1);
}

#[tokio::test]
async fn reset_leaves_an_empty_hub_that_works() {
    let hub = TestHub::start().await;
    let mut device = hub.scripted_device("d1").await;
    device.send_telemetry("d1", "", "old").await;

    let request = b"POST /_emulator/reset HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let answer = crate::support::http_raw(&hub, request).await;

    assert!(
        answer.starts_with(b"HTTP/1.0 2"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    device.expect_closed().await;
    assert!(
        hub.backend()
            .registry()
            .devices(10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(hub.telemetry_from("d1").so_far().is_empty());
    let mut device = hub.scripted_device("d1").await;
    device.send_telemetry("d1", "", "new").await;
    assert_eq!(hub.telemetry_from("d1").wait_for(1).await[0].body(), b"new");
}
