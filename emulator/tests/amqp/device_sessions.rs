//! Who is present: many on one connection, one in two places, and until when (`spec/amqp.md` 3,
//! 7.1).

use std::time::Duration;

use iothub_emulator::Emulator;
use iothub_emulator::activity::OperationKind;
use iothub_emulator::certificates::{KeyType, Validity, self_signed};
use iothub_hub::{ConnectRequest, Principal};
use iothub_protocol::amqp::connection::{AttachLink, ClientSasl};
use iothub_protocol::amqp::{DeliveryState, LinkId, Symbol, Value};
use iothub_protocol::registry::{AuthenticationSpec, IdentitySpec, IfMatch, Status};
use iothub_protocol::{ClientId, ErrorCode, Timestamp};

use crate::client::{Client, condition_of};
use crate::device_telemetry::{events, message};
use crate::hub::{self, emulator, frozen_emulator};
use crate::mqtt;
use crate::wire::Wire;

const MINUTE: Duration = Duration::from_secs(60);

/// Who is connected, and by what.
fn present(emulator: &Emulator) -> Vec<(String, &'static str)> {
    let connections = emulator.handle().inspect(|hub| hub.connections());
    let told = |it: &iothub_hub::SessionSummary| (it.client.to_string(), it.transport);
    connections.iter().map(told).collect()
}

async fn telemetry(client: &mut Client, device: &str) -> LinkId {
    let address = format!("/devices/{device}/messages/events");
    client.attach_sender(&address).await.unwrap()
}

#[tokio::test]
async fn ten_devices_share_a_connection_each_with_its_own_token() {
    let emulator = emulator().await;
    let mut client = Client::connect(&emulator).await;
    let mut links = Vec::new();
    for number in 0..10 {
        let device = format!("d{number}");
        let key = hub::register(&emulator, &device).await;
        let address = format!("/devices/{device}/messages/events");
        if number > 0 {
            let early = client.attach_sender(&address).await.unwrap_err();
            assert_eq!(condition_of(&early), "amqp:unauthorized-access");
        }
        let token = hub::device_token(&emulator, &device, &key);
        let answer = client.put_token(&hub::resource(&device), &token).await;
        assert_eq!(answer.0, 200);
        let session = client.machine.begin();
        let wanted = client.sender(&address);
        links.push(client.attach_in(session, wanted).await.unwrap().0);
    }
    assert_eq!(present(&emulator).len(), 10);

    for (number, &link) in links.iter().enumerate() {
        let sent = client.send(link, &message(&number.to_string())).await;
        assert_eq!(sent, DeliveryState::Accepted);
    }

    for number in 0..10 {
        let events = events(&emulator, &format!("d{number}"));
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].message.body, number.to_string());
    }
    client.detach(links[3]).await;
    assert_eq!(present(&emulator).len(), 9);
    assert!(!present(&emulator).contains(&("d3".to_owned(), "amqp")));
    drop(client);
}

#[tokio::test]
async fn a_session_lasts_from_the_first_link_to_the_last() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    assert_eq!(present(&emulator), [], "a token alone is no presence");

    let first = telemetry(&mut device, "d1").await;
    let second = device
        .attach_receiver("/devices/d1/messages/devicebound", 1)
        .await
        .unwrap();
    assert_eq!(present(&emulator), [("d1".to_owned(), "amqp")]);
    device.detach(first).await;
    assert_eq!(present(&emulator).len(), 1);
    device.detach(second).await;
    assert_eq!(present(&emulator), []);

    telemetry(&mut device, "d1").await;
    assert_eq!(present(&emulator).len(), 1);
}

#[tokio::test]
async fn a_link_for_another_device_is_refused() {
    let emulator = emulator().await;
    hub::register(&emulator, "d2").await;
    let mut device = Client::device(&emulator, "d1").await;

    for address in [
        "/devices/d2/messages/events",
        "/devices/nobody/twin",
        "/devices/d1/modules/m1/methods/devicebound",
    ] {
        let refused = device.attach_sender(address).await.unwrap_err();
        assert_eq!(condition_of(&refused), "amqp:unauthorized-access");
    }

    assert_eq!(present(&emulator), []);
    device.expect_alive().await;
}

#[tokio::test]
async fn the_newest_connection_wins_whatever_carries_it() {
    let emulator = emulator().await;
    let key = hub::register(&emulator, "d1").await;
    hub::register(&emulator, "d2").await;
    let token = hub::policy_token(&emulator, "device");
    let mut first = Client::connect(&emulator).await;
    first.put_token(hub::HOST, &token).await;
    let taken = telemetry(&mut first, "d1").await;
    let other = telemetry(&mut first, "d2").await;

    // By another protocol: only its own link goes.
    let client = ClientId::parse("d1").unwrap();
    let (presence, _) = emulator
        .handle()
        .connect(&client, |_, _| {
            Ok(ConnectRequest {
                client: client.clone(),
                principal: Principal::operator(),
                remember: false,
                will: None,
                model_id: None,
                transport: "other",
            })
        })
        .await
        .unwrap();
    let error = first.expect_detach(taken).await.unwrap();
    assert_eq!(condition_of(&error), "amqp:link:stolen");
    let sent = first.send(other, &message("x")).await;
    assert_eq!(sent, DeliveryState::Accepted);

    // And back, by another connection.
    let mut second = Client::connect(&emulator).await;
    let own = hub::device_token(&emulator, "d1", &key);
    second.put_token(&hub::resource("d1"), &own).await;
    let link = telemetry(&mut second, "d1").await;
    let code = ErrorCode::ConnectionForcefullyClosedOnNewConnection;
    assert_eq!(presence.mailbox.closed(), Some(code));
    assert_eq!(
        second.send(link, &message("y")).await,
        DeliveryState::Accepted
    );

    // The first connection takes it again by a new link.
    telemetry(&mut first, "d1").await;
    let error = second.expect_detach(link).await.unwrap();
    assert_eq!(condition_of(&error), "amqp:link:stolen");
    assert_eq!(present(&emulator).len(), 2);
}

#[tokio::test]
async fn mqtt_takes_a_device_from_amqp_and_amqp_from_mqtt() {
    let emulator = emulator().await;
    let key = hub::register(&emulator, "d1").await;
    let token = hub::device_token(&emulator, "d1", &key);
    let mut amqp = Client::connect(&emulator).await;
    amqp.put_token(&hub::resource("d1"), &token).await;
    let link = telemetry(&mut amqp, "d1").await;

    let (mut mqtt, _) = mqtt::Client::enter(&emulator, mqtt::connect("d1", &token)).await;
    let error = amqp.expect_detach(link).await.unwrap();
    assert_eq!(condition_of(&error), "amqp:link:stolen");
    assert_eq!(present(&emulator), [("d1".to_owned(), "mqtt")]);
    mqtt.expect_alive().await;

    telemetry(&mut amqp, "d1").await;
    mqtt.expect_close().await;
    assert_eq!(present(&emulator), [("d1".to_owned(), "amqp")]);
    amqp.expect_alive().await;
}

#[tokio::test]
async fn a_device_that_is_disabled_or_deleted_is_detached_and_stays_out() {
    let emulator = emulator().await;
    let mut client = Client::connect(&emulator).await;
    for device in ["d1", "d2", "d3"] {
        let key = hub::register(&emulator, device).await;
        let token = hub::device_token(&emulator, device, &key);
        client.put_token(&hub::resource(device), &token).await;
    }
    let disabled = telemetry(&mut client, "d1").await;
    let deleted = telemetry(&mut client, "d2").await;
    let untouched = telemetry(&mut client, "d3").await;
    let operator = Principal::operator();
    let id = |text: &str| ClientId::parse(text).unwrap();

    let (d1, d2) = (id("d1"), id("d2"));
    emulator
        .handle()
        .call(OperationKind::PutDevice.on(&d1), |hub, cx| {
            let spec = IdentitySpec {
                status: Status::Disabled,
                ..IdentitySpec::default()
            };
            hub.put_device(cx, &operator, &d1.device, spec, &IfMatch::Any)
        })
        .await
        .unwrap();
    emulator
        .handle()
        .call(OperationKind::DeleteDevice.on(&d2), |hub, cx| {
            hub.delete_device(cx, &operator, &d2.device, &IfMatch::Any)
        })
        .await
        .unwrap();

    let error = client.expect_detach(disabled).await.unwrap();
    assert_eq!(condition_of(&error), "amqp:unauthorized-access");
    let error = client.expect_detach(deleted).await.unwrap();
    assert_eq!(condition_of(&error), "amqp:not-found");
    for device in ["d1", "d2"] {
        let address = format!("/devices/{device}/messages/events");
        let refused = client.attach_sender(&address).await.unwrap_err();
        assert_eq!(condition_of(&refused), "amqp:unauthorized-access");
    }
    let sent = client.send(untouched, &message("x")).await;
    assert_eq!(sent, DeliveryState::Accepted);
}

#[tokio::test]
async fn a_token_that_is_renewed_in_time_keeps_the_session_and_one_that_expires_ends_it() {
    let emulator = frozen_emulator().await;
    let key = hub::register(&emulator, "d1").await;
    let mut client = Client::connect(&emulator).await;
    let token = hub::device_token(&emulator, "d1", &key);
    client.put_token(&hub::resource("d1"), &token).await;
    let link = telemetry(&mut client, "d1").await;

    pass(&emulator, &mut client, 50).await;
    let token = hub::device_token(&emulator, "d1", &key);
    let answer = client.put_token(&hub::resource("d1"), &token).await;
    assert_eq!(answer.0, 200);
    // The first token has expired, and the grace that sessions have.
    pass(&emulator, &mut client, 30).await;
    let sent = client.send(link, &message("x")).await;
    assert_eq!(sent, DeliveryState::Accepted);

    pass(&emulator, &mut client, 39).await;
    assert_eq!(present(&emulator).len(), 1);
    emulator.handle().advance(MINUTE).await;
    let error = client.expect_detach(link).await.unwrap();
    assert_eq!(condition_of(&error), "amqp:unauthorized-access");
    assert_eq!(present(&emulator), []);
}

#[tokio::test]
async fn a_token_that_expires_ends_only_its_own_devices_session() {
    let emulator = frozen_emulator().await;
    let mut client = Client::connect(&emulator).await;
    let mut links = Vec::new();
    for device in ["d1", "d2"] {
        let key = hub::register(&emulator, device).await;
        let token = hub::device_token(&emulator, device, &key);
        client.put_token(&hub::resource(device), &token).await;
        links.push((key, telemetry(&mut client, device).await));
    }
    pass(&emulator, &mut client, 50).await;
    let token = hub::device_token(&emulator, "d2", &links[1].0);
    client.put_token(&hub::resource("d2"), &token).await;

    pass(&emulator, &mut client, 20).await;

    let error = client.expect_detach(links[0].1).await.unwrap();
    assert_eq!(condition_of(&error), "amqp:unauthorized-access");
    let sent = client.send(links[1].1, &message("x")).await;
    assert_eq!(sent, DeliveryState::Accepted);
}

#[tokio::test]
async fn a_token_that_is_made_to_expire_ends_its_session_until_there_is_a_new_one() {
    let emulator = frozen_emulator().await;
    let mut client = Client::connect(&emulator).await;
    let mut links = Vec::new();
    for device in ["d1", "d2"] {
        let key = hub::register(&emulator, device).await;
        let token = hub::device_token(&emulator, device, &key);
        client.put_token(&hub::resource(device), &token).await;
        links.push((token, telemetry(&mut client, device).await));
    }

    let d1 = ClientId::parse("d1").unwrap();
    let expired = emulator
        .handle()
        .call(OperationKind::Control.hub_wide(), |hub, cx| {
            hub.expire_token(cx, &Principal::operator(), &d1)
        });
    expired.await.unwrap();

    let error = client.expect_detach(links[0].1).await.unwrap();
    assert_eq!(condition_of(&error), "amqp:unauthorized-access");
    let sent = client.send(links[1].1, &message("x")).await;
    assert_eq!(sent, DeliveryState::Accepted);
    let renewed = client.put_token(&hub::resource("d1"), &links[0].0).await;
    assert_eq!(renewed.0, 200);
    telemetry(&mut client, "d1").await;
    assert_eq!(present(&emulator).len(), 2);
}

/// Lets minutes pass in which the client gives signs of life.
async fn pass(emulator: &Emulator, client: &mut Client, minutes: u32) {
    for _ in 0..minutes {
        emulator.handle().advance(MINUTE).await;
        client.round_trip().await;
    }
}

#[tokio::test]
async fn a_certificate_is_enough_without_a_token() {
    let emulator = emulator().await;
    let validity = Validity {
        not_before: Timestamp::from_unix_seconds(1_600_000_000),
        not_after: Timestamp::from_unix_seconds(2_500_000_000),
    };
    let issued = self_signed("d1", KeyType::P256, validity).unwrap();
    let spec = IdentitySpec {
        authentication: AuthenticationSpec::SelfSigned {
            primary: issued.thumbprints().sha256_hex,
            secondary: None,
        },
        ..IdentitySpec::default()
    };
    hub::register_as(&emulator, "d1", spec).await;
    hub::register(&emulator, "d2").await;

    let wire = Wire::tls_as(&emulator, &issued.chain_pem, &issued.key_pem).await;
    let opened = Client::open(&emulator, wire, ClientSasl::None).await;
    let mut client = opened.unwrap().0;
    // A device with nothing to say yet has no link.
    emulator.handle().advance(Duration::from_secs(61)).await;
    let link = telemetry(&mut client, "d1").await;
    let sent = client.send(link, &message("x")).await;

    assert_eq!(sent, DeliveryState::Accepted);
    assert_eq!(
        events(&emulator, "d1")[0].origin.auth_method.to_json(),
        r#"{"scope":"device","type":"x509","issuer":"iothub","acceptingIpFilterRule":null}"#
    );
    let other = client.attach_sender("/devices/d2/messages/events").await;
    let refused = other.unwrap_err();
    assert_eq!(condition_of(&refused), "amqp:unauthorized-access");
}

#[tokio::test]
async fn a_model_is_announced_by_whichever_link_says_it() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let model = "dtmi:com:example:Thermostat;1";
    device
        .attach_receiver("/devices/d1/messages/devicebound", 1)
        .await
        .unwrap();
    let key = Value::Symbol(Symbol::of("com.microsoft:model-id"));
    let wanted = AttachLink {
        properties: vec![(key, model.into())],
        ..device.sender("/devices/d1/messages/events")
    };
    let (link, _) = device.attach(wanted).await.unwrap();

    device.send(link, &message("x")).await;

    let origin = &events(&emulator, "d1")[0].origin;
    assert_eq!(origin.model_id.as_deref(), Some(model));
    let client = ClientId::parse("d1").unwrap();
    let twin = emulator
        .handle()
        .inspect(|hub| hub.twin(&Principal::operator(), &client))
        .unwrap()
        .0;
    assert_eq!(twin["modelId"], model);
}

#[tokio::test]
async fn an_edge_that_speaks_for_another_is_refused_aloud() {
    let emulator = emulator().await;
    hub::register(&emulator, "leaf").await;
    let mut edge = Client::device(&emulator, "edge").await;
    let key = Value::Symbol(Symbol::of("com.microsoft:auth-chain"));
    let wanted = AttachLink {
        properties: vec![(key, "leaf;edge".into())],
        ..edge.sender("/devices/leaf/messages/events")
    };

    let refused = edge.attach(wanted).await.unwrap_err();

    assert_eq!(condition_of(&refused), "amqp:not-implemented");
    let told = emulator.handle().activity().not_emulated();
    assert!(
        told.keys().any(|what| what.contains("auth-chain")),
        "{told:?}"
    );
}
