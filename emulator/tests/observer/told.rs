//! What is told as it happens.

use bytes::Bytes;
use iothub_emulator::activity::OperationKind;
use iothub_hub::{Feature, Guarantee, Principal};
use iothub_protocol::method::MethodRequest;
use rumqttc::{AsyncClient, MqttOptions};

use super::world::{ALONE, CONNECTED, World, delete, message, patch, register, send_c2d, within};

#[tokio::test]
async fn telemetry_arrives_as_it_was_sent_and_in_order() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("a#b").await;
    let mut watching = world.watching("hub/h/devices/+/telemetry").await;

    device.send(&["1", "", "{\"t\":3}"]).await;

    let topic = "hub/h/devices/a%23b/telemetry";
    for body in ["1", "", "{\"t\":3}"] {
        assert_eq!(watching.message().await, message(topic, body, false));
    }
    world.end().await;
}

#[tokio::test]
async fn a_stock_client_sees_state_first_and_then_what_happens() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let mut options = MqttOptions::new("anybody", "127.0.0.1", world.address.port());
    options.set_credentials("any", "thing");
    let (client, mut events) = AsyncClient::new(options, 8);
    client
        .subscribe("hub/#", rumqttc::QoS::AtLeastOnce)
        .await
        .unwrap();
    let mut next = async || loop {
        if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) =
            within(events.poll()).await.unwrap()
        {
            return (
                publish.topic,
                String::from_utf8(publish.payload.to_vec()).unwrap(),
                publish.retain,
            );
        }
    };

    let nothing = r#"{"dropped":0,"missed":0,"untold":0}"#;
    assert_eq!(next().await, message("hub/h/log/dropped", nothing, true));
    assert_eq!(
        next().await,
        message("hub/h/devices/d1/connection", CONNECTED, true)
    );
    device.send(&["hello"]).await;

    let mut told = [next().await, next().await];
    told.sort();
    let [telemetry, log] = told;
    assert_eq!(
        telemetry,
        message("hub/h/devices/d1/telemetry", "hello", false)
    );
    assert_eq!(log.0, "hub/h/log");
    let log: serde_json::Value = serde_json::from_str(&log.1).unwrap();
    assert_eq!(log["event"], "telemetry");
    assert_eq!(log["client"], "d1");
    assert_eq!(log["messages"], 1);
    world.end().await;
}

#[tokio::test]
async fn a_method_call_is_seen_with_its_answer() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let session = device.presence.connected.session;
    world
        .handle
        .call(OperationKind::Subscribe.on(&device.client), |hub, cx| {
            hub.subscribe(cx, session, &[(Feature::Methods, Guarantee::AtMostOnce)])
        })
        .await
        .unwrap();
    let mut watching = world.watching("hub/h/devices/d1/methods").await;
    let request = MethodRequest {
        payload: Some(Bytes::from_static(b"{ \"delay\": 5 }")),
        ..MethodRequest::new("reboot")
    };

    let (answer, ()) = tokio::join!(
        world
            .handle
            .invoke_method(&device.client, request, |_, _| Ok(Principal::operator())),
        device.answer_method(200, "{\"ok\":true}"),
    );

    answer.unwrap();
    let topic = "hub/h/devices/d1/methods";
    let called = r#"{"method":"reboot","payload":{ "delay": 5 }}"#;
    assert_eq!(watching.message().await, message(topic, called, false));
    let answered = r#"{"method":"reboot","status":200,"payload":{"ok":true}}"#;
    assert_eq!(watching.message().await, message(topic, answered, false));
    world.end().await;
}

#[tokio::test]
async fn reported_properties_are_told_and_kept() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let session = device.presence.connected.session;
    let patch = serde_json::json!({"fan": "on"});
    let patch = patch.as_object().unwrap();
    let mut watching = world.watching("hub/+/devices/d1/twin/reported").await;

    world
        .handle
        .call(
            OperationKind::PatchReported.on(&device.client),
            |hub, cx| hub.patch_reported(cx, session, patch, None),
        )
        .await
        .unwrap();

    let live = watching.message().await;
    let mut late = world.watching("hub/h/devices/d1/twin/#").await;
    let topic = "hub/h/devices/d1/twin/reported";
    assert!(live.1.contains(r#""fan":"on""#), "{live:?}");
    assert_eq!(live, message(topic, &live.1, false));
    assert_eq!(late.message().await, message(topic, &live.1, true));
    world.end().await;
}

#[tokio::test]
async fn the_log_has_a_line_for_each_thing_that_happens() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let mut observer = world.watching("hub/h/log").await;

    let device = world.device("d1").await;
    patch(&world.handle, &device.client, 1).await;
    device.send(&["a", "bc"]).await;
    send_c2d(&world.handle, &device.client, b"\xff").await;
    let client = device.client.clone();
    device.leave();
    delete(&world.handle, &client).await;

    let mut events = Vec::new();
    while events.last().is_none_or(|event| event != "deleted") {
        let (topic, line, retain) = observer.message().await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((topic.as_str(), retain), ("hub/h/log", false));
        assert_eq!(line["client"], "d1", "{line}");
        events.push(line["event"].as_str().unwrap().to_owned());
    }
    let told: Vec<_> = events.iter().map(String::as_str).collect();
    assert_eq!(
        told,
        [
            "created",
            "connected",
            "tagsChanged",
            "desiredChanged",
            "telemetry",
            "c2dSent",
            "disconnected",
            "deleted"
        ]
    );
    world.end().await;
}

#[tokio::test]
async fn a_cloud_to_device_message_is_seen_until_its_end() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let client = register(&world.handle, "d1").await;
    let mut observer = world.watching("hub/+/devices/d1/c2d").await;

    send_c2d(&world.handle, &client, b"hello").await;
    send_c2d(&world.handle, &client, b"\xff\x00").await;
    let purged = world
        .handle
        .call(OperationKind::PurgeC2d.on(&client), |hub, cx| {
            hub.purge_c2d(cx, &Principal::operator(), &client)
        })
        .await;

    assert!(purged.is_ok());
    let mut told = Vec::new();
    for _ in 0..4 {
        let (topic, payload, retain) = observer.message().await;
        assert_eq!((topic.as_str(), retain), ("hub/h/devices/d1/c2d", false));
        let payload: serde_json::Value = serde_json::from_str(&payload).unwrap();
        told.push(
            [&payload["state"], &payload["body"], &payload["bodyBase64"]].map(|it| it.to_string()),
        );
    }
    let row = |state: &str, body: &str, base64: &str| [state, body, base64].map(str::to_owned);
    assert_eq!(
        told,
        [
            row(r#""Enqueued""#, r#""hello""#, "null"),
            row(r#""Enqueued""#, "null", r#""/wA=""#),
            row(r#""Purged""#, r#""hello""#, "null"),
            row(r#""Purged""#, "null", r#""/wA=""#),
        ]
    );
    world.end().await;
}

#[tokio::test]
async fn what_is_deleted_is_told_as_gone_and_to_latecomers_not_at_all() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let client = register(&world.handle, "d1").await;
    let other = register(&world.handle, "d2").await;
    patch(&world.handle, &client, 7).await;
    let mut early = world.watching("hub/h/devices/d1/twin/desired").await;
    assert!(early.message().await.1.contains("7"));

    delete(&world.handle, &client).await;

    let topic = "hub/h/devices/d1/twin/desired";
    assert_eq!(early.message().await, message(topic, "", false));
    let mut late = world.watching("hub/h/devices/+/connection").await;
    assert_eq!(late.message().await.0, "hub/h/devices/d2/connection");
    world
        .handle
        .call(OperationKind::Control.hub_wide(), |hub, cx| {
            hub.reset(cx);
            Ok(())
        })
        .await
        .unwrap();
    let mut later = world.watching("hub/h/devices/#").await;
    let d3 = register(&world.handle, "d3").await;
    patch(&world.handle, &d3, 1).await;
    assert_eq!(later.message().await.0, "hub/h/devices/d3/twin/desired");
    assert_ne!(other, d3);
    world.end().await;
}

/// `mosquitto_sub`, where there is one: what people type.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_sub_sees_state_and_what_happens() {
    let _alone = ALONE.lock().await;
    let Ok(_) = std::process::Command::new("mosquitto_sub")
        .arg("--help")
        .output()
    else {
        return;
    };
    let world = World::with_password("h", Some("s3cret"));
    let device = world.device("d1").await;
    let port = world.address.port().to_string();
    let subscriber = |password: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new("mosquitto_sub");
        command
            .args(["-h", "127.0.0.1", "-p", &port, "-u", "any", "-P", password])
            .args(["-W", "20", "-v"])
            .args(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };

    let refused = subscriber("wrong", &["-t", "hub/#", "-C", "1"])
        .await
        .unwrap();
    let seen = subscriber("s3cret", &["-t", "hub/h/devices/#", "-C", "3"]);
    // It is not known when it has subscribed.
    let sending = async {
        loop {
            device.send(&["hello"]).await;
            tokio::task::yield_now().await;
        }
    };
    let seen = tokio::select! {
        seen = seen => seen.unwrap(),
        () = sending => unreachable!("it does not end"),
    };

    assert!(!refused.status.success());
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.to_lowercase().contains("not authorised"), "{error}");
    let seen = String::from_utf8(seen.stdout).unwrap();
    let lines: Vec<_> = seen.lines().collect();
    assert_eq!(
        lines,
        [
            r#"hub/h/devices/d1/connection {"state":"connected"}"#,
            "hub/h/devices/d1/telemetry hello",
            "hub/h/devices/d1/telemetry hello",
        ]
    );
    world.end().await;
}
