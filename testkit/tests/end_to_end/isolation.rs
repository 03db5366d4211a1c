//! No device sees another's methods, twins or topics, whatever it tries.

use iothub_protocol::mqtt::packet::{ClientPacket, ConnAckCode, QoS, Subscribe, Will};
use iothub_testkit::{TestHub, method, telemetry};
use serde_json::{Value, json};

use crate::support::{DESIRED, METHODS, TWIN_RESPONSES, call, end, listening};

#[tokio::test]
async fn nobody_publishes_in_anothers_name() {
    let hub = TestHub::start().await;
    let mut victim = hub.scripted_device("victim").await;
    let mut module = hub.scripted_device("victim/m1").await;
    hub.expect(telemetry().never());

    for (client, topic) in [
        ("d1", "devices/victim/messages/events/"),
        ("d1", "devices/victim/modules/m1/messages/events/"),
        ("d1", "devices/d1/../victim/messages/events/"),
        ("d1", "devices/D1/messages/events/"),
        ("d1", "devices/d1x/messages/events/"),
        ("d1", "devices/+/messages/events/"),
        ("d1", "devices/d1/modules/m1/messages/events/"),
        ("d1", "/devices/d1/messages/events/"),
        ("d1", "devices/victim/messages/devicebound/"),
        ("d1", "devices/d1/messages/devicebound/"),
        ("d1", "devices/victim/modules/m1/inputs/in/"),
        ("d1", "$iothub/methods/POST/reboot/?$rid=1"),
        ("d1", "$iothub/twin/res/200/?$rid=1"),
        ("d1", "$iothub/twin/PATCH/properties/desired/?$version=9"),
        ("d1", "hub/localhost/devices/victim"),
        ("d1", "$SYS/broker"),
        ("d1", "d1"),
        ("victim", "devices/victim/modules/m1/messages/events/"),
        ("victim/m2", "devices/victim/messages/events/"),
        ("victim/m2", "devices/victim/modules/m1/messages/events/"),
    ] {
        if client == "victim" {
            // Takes the victim's place, as only it can: the same device, not its module.
            drop(victim);
            victim = hub.scripted_device("victim").await;
            victim.publish(topic, "forged").await;
            victim.expect_closed().await;
            victim = hub.scripted_device("victim").await;
        } else {
            let mut intruder = hub.scripted_device(client).await;
            intruder.publish(topic, "forged").await;
            intruder.expect_closed().await;
        }
        victim.expect_nothing().await;
        module.expect_nothing().await;
    }
}

#[tokio::test]
async fn nobody_subscribes_to_more_than_its_own() {
    let hub = TestHub::start().await;
    let mut victim = listening(&hub, "victim").await;

    for filter in [
        "#",
        "+/#",
        "$iothub/#",
        "$iothub/methods/#",
        "$iothub/methods/POST/+",
        "$iothub/methods/+/#",
        "$iothub/+/POST/#",
        "$iothub/twin/#",
        "$iothub/twin/PATCH/#",
        "$share/group/$iothub/methods/POST/#",
        "devices/#",
        "devices/+/messages/devicebound/#",
        "devices/victim/messages/devicebound/#",
        "devices/victim/#",
        "devices/d1/#",
        "devices/d1/messages/events/#",
        "devices/d1/modules/m1/#",
        "devices/victim/modules/m1/#",
        "hub/#",
        "$SYS/#",
    ] {
        let mut intruder = hub.scripted_device("d1").await;
        let filters = vec![(filter.to_owned(), QoS::AtLeastOnce)];
        intruder
            .send(&ClientPacket::Subscribe(Subscribe {
                packet_id: 1,
                filters,
            }))
            .await;
        intruder.expect_closed().await;
    }

    // A filter that is its own in company of one that is not grants nothing either.
    let mut intruder = hub.scripted_device("d1").await;
    let filters = vec![
        (METHODS.into(), QoS::AtMostOnce),
        ("#".into(), QoS::AtMostOnce),
    ];
    intruder
        .send(&ClientPacket::Subscribe(Subscribe {
            packet_id: 1,
            filters,
        }))
        .await;
    intruder.expect_closed().await;
    victim.expect_nothing().await;
}

#[tokio::test]
async fn nobody_leaves_a_will_in_anothers_name() {
    let hub = TestHub::start().await;
    hub.device_connection_string("victim").await;
    hub.expect(telemetry().never());

    for topic in [
        "devices/victim/messages/events/",
        "$iothub/twin/GET/?$rid=1",
        "x",
    ] {
        let mut connect = hub.connect_packet("d1").await;
        let payload = "forged".into();
        let topic = topic.into();
        connect.will = Some(Will {
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
        });
        let (_, code) = hub.dial().await.try_connect(connect).await;
        assert_ne!(code, ConnAckCode::Accepted);
    }
}

#[tokio::test]
async fn nobody_answers_for_another() {
    let hub = TestHub::start().await;
    hub.expect(method("secret").on("victim").answered(500).never());
    let mut victim = listening(&hub, "victim").await;
    let mut intruders = [
        listening(&hub, "d1").await,
        listening(&hub, "victim/m1").await,
        listening(&hub, "d1/victim").await,
    ];
    let call = call(&hub, "victim", "secret");
    let (_, rid, _) = victim.receive_call().await;

    for intruder in &mut intruders {
        // Nobody else has heard of the call, and guessing its number does not help.
        intruder.expect_nothing().await;
        intruder.answer_call(&rid, 500, "\"forged\"").await;
        for guess in 0..32 {
            intruder
                .answer_call(&format!("{guess:x}"), 500, "\"forged\"")
                .await;
        }
        intruder.expect_nothing().await;
    }
    assert!(!call.is_finished());
    victim.answer_call(&rid, 200, "\"real\"").await;

    let answer = end(call).await.unwrap();
    assert_eq!(
        (answer.status, &answer.payload[..]),
        (200, &b"\"real\""[..])
    );
}

#[tokio::test]
async fn answer_of_an_earlier_connection_counts_for_nothing() {
    let hub = TestHub::start().await;
    let mut first = listening(&hub, "d1").await;
    let lost = call(&hub, "d1", "one");
    let (_, old_rid, _) = first.receive_call().await;
    drop(first);
    assert!(end(lost).await.is_err());

    let mut second = listening(&hub, "d1").await;
    let next = call(&hub, "d1", "two");
    let (name, rid, _) = second.receive_call().await;
    assert_eq!(name, "two");
    if old_rid != rid {
        second.answer_call(&old_rid, 500, "\"old\"").await;
    }
    second.answer_call(&rid, 200, "\"new\"").await;

    assert_eq!(end(next).await.unwrap().payload, "\"new\"");
}

#[tokio::test]
async fn nobody_sees_anothers_twin() {
    let hub = TestHub::start().await;
    let mut others = Vec::new();
    for client in ["d1", "victim/m1", "d1/victim"] {
        let mut other = hub.scripted_device(client).await;
        other.subscribe(DESIRED).await;
        other.subscribe(TWIN_RESPONSES).await;
        others.push((client, other));
    }
    let mut victim = hub.scripted_device("victim").await;
    victim.subscribe(DESIRED).await;
    victim.subscribe(TWIN_RESPONSES).await;

    hub.backend()
        .twins()
        .patch_desired("victim", &json!({"secret": 1}))
        .await
        .unwrap();
    assert!(
        victim
            .receive_publish()
            .await
            .0
            .starts_with(DESIRED.trim_end_matches('#'))
    );
    victim
        .publish(
            "$iothub/twin/PATCH/properties/reported/?$rid=5",
            r#"{"secret":2}"#,
        )
        .await;
    assert!(
        victim
            .receive_publish()
            .await
            .0
            .starts_with("$iothub/twin/res/204/?$rid=5")
    );

    for (client, other) in &mut others {
        other.expect_nothing().await;
        other.publish("$iothub/twin/GET/?$rid=5", "").await;
        let (topic, body) = other.receive_publish().await;
        assert_eq!(topic, "$iothub/twin/res/200/?$rid=5");
        assert!(
            !String::from_utf8_lossy(&body).contains("secret"),
            "{client}"
        );
        let topic = "$iothub/twin/PATCH/properties/reported/?$rid=6";
        other
            .publish(topic, format!("{{\"by\":\"{client}\"}}"))
            .await;
        other.receive_publish().await;
        victim.expect_nothing().await;
    }

    let twins = hub.backend().twins();
    assert_eq!(
        twins.get("victim").await.unwrap().reported().get("by"),
        None
    );
    for (client, _) in &others {
        assert_eq!(twins.get(*client).await.unwrap().reported()["by"], *client);
    }
}

#[tokio::test]
async fn nobody_connects_as_another() {
    let hub = TestHub::start().await;
    let mut victim = hub.scripted_device("victim").await;
    let own = hub.connect_packet("d1").await;
    let victims = hub.connect_packet("victim").await;
    let module = hub.connect_packet("victim/m1").await;

    let mut attempts = Vec::new();
    for key in [&own, &module] {
        // The victim's name with another's token.
        attempts.push((Some(key.password.clone()), victims.clone()));
    }
    for key in [&own, &victims] {
        attempts.push((Some(key.password.clone()), module.clone()));
    }
    let mut other_name = own.clone();
    other_name.client_id = "victim".into();
    attempts.push((None, other_name));
    let mut other_user = own.clone();
    other_user.username = victims.username.clone();
    attempts.push((None, other_user));
    let mut case = own.clone();
    case.client_id = "D1".into();
    case.username = own
        .username
        .as_ref()
        .map(|name| name.replace("/d1/", "/D1/"));
    attempts.push((None, case));
    attempts.push((Some(None), victims.clone()));
    attempts.push((Some(Some("".into())), victims.clone()));
    attempts.push((
        Some(Some("SharedAccessSignature sr=x&sig=y&se=1".into())),
        victims,
    ));

    for (password, mut connect) in attempts {
        if let Some(password) = password {
            connect.password = password;
        }
        let shown = format!("{connect:?}");
        let (_, code) = hub.dial().await.try_connect(connect).await;
        assert_eq!(code, ConnAckCode::NotAuthorized, "{shown}");
    }
    victim.expect_nothing().await;
}

#[tokio::test]
async fn call_of_a_device_is_delivered_to_it_alone() {
    let hub = TestHub::start().await;
    let mut devices = Vec::new();
    for client in ["d1", "d2", "d1/m1", "d2/m1"] {
        devices.push((client, listening(&hub, client).await));
    }

    for target in 0..devices.len() {
        let name = devices[target].0;
        let call = call(&hub, name, "mine");
        let (_, rid, _) = devices[target].1.receive_call().await;
        for (_, device) in &mut devices {
            device.expect_nothing().await;
        }
        devices[target]
            .1
            .answer_call(&rid, 200, json!(name).to_string())
            .await;
        let answer = end(call).await.unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&answer.payload).unwrap(),
            name
        );
    }
}
