//! Devices and modules over HTTPS (`spec/device.md` 8 and 9).

use iothub_backend::{AuthenticationSpec, EmulatorCertificates, IdentitySpec, IfMatch};
use iothub_device::{
    ClientBuilder, ErrorKind, HttpDeviceClient, HttpModuleClient, Message, PropertyBag,
    SystemProperty,
};
use iothub_emulator::activity::OperationKind;
use iothub_emulator::certificates::{DeviceAuthority, Issued, KeyType, Validity, self_signed};
use iothub_hub::Principal;
use iothub_protocol::{ClientId, Timestamp};
use iothub_testkit::{ErrorCode, TestHub, json_message};
use serde_json::json;

use crate::support::secs;

const ALWAYS: Validity = Validity {
    not_before: Timestamp::from_unix_seconds(1_577_836_800),
    not_after: Timestamp::from_unix_seconds(2_524_521_600),
};

fn preset<C>(hub: &TestHub, builder: ClientBuilder<C>) -> ClientBuilder<C> {
    builder
        .https_port(hub.ports().https)
        .ca_pem(hub.ca_pem())
        .clock(hub.clock().shared())
}

async fn device(hub: &TestHub, id: &str) -> HttpDeviceClient {
    let connection_string = hub.device_connection_string(id).await;
    preset(hub, HttpDeviceClient::builder(&connection_string))
        .build()
        .unwrap()
}

fn by_certificate(hub: &TestHub, id: &str, certificate: &Issued) -> HttpDeviceClient {
    let connection_string = format!("HostName=localhost;DeviceId={id};x509=true");
    preset(hub, HttpDeviceClient::builder(&connection_string))
        .certificate(certificate.chain_pem.clone(), certificate.key_pem.clone())
        .build()
        .unwrap()
}

async fn register(hub: &TestHub, id: &str, authentication: AuthenticationSpec) {
    let spec = IdentitySpec {
        authentication,
        ..IdentitySpec::default()
    };
    let registry = hub.backend().registry();
    registry.create_device(id, &spec).await.unwrap();
}

async fn send_to(hub: &TestHub, client: &str, message: Message) {
    let client = ClientId::parse(client).unwrap();
    let operator = Principal::operator();
    hub.handle()
        .call(OperationKind::SendC2d.on(&client), |hub, cx| {
            hub.send_c2d(cx, &operator, &client, message)
        })
        .await
        .unwrap();
}

fn message(body: &str) -> Message {
    let mut properties = PropertyBag::new();
    properties.push_system(SystemProperty::MessageId, body);
    properties.push("k", "v+1%");
    Message {
        properties,
        body: body.to_owned().into(),
    }
}

#[tokio::test]
async fn telemetry_arrives_with_its_properties() {
    let hub = TestHub::start().await;
    let device = device(&hub, "d1").await;

    device.send_telemetry(message("one")).await.unwrap();
    device
        .send_telemetry_batch(&[message("two"), json_message(&json!({"three": 3}))])
        .await
        .unwrap();

    let events = hub.telemetry_from("d1").so_far();
    let bodies: Vec<_> = events.iter().map(|event| event.body().to_vec()).collect();
    assert_eq!(bodies, [&b"one"[..], b"two", br#"{"three":3}"#]);
    for (event, id) in events.iter().zip(["one", "two"]) {
        assert_eq!(event.system(SystemProperty::MessageId).as_deref(), Some(id));
        assert_eq!(event.property("k").as_deref(), Some("v+1%"));
    }
    assert_eq!(
        events[2].system(SystemProperty::ContentType).as_deref(),
        Some("application/json")
    );
}

#[tokio::test]
async fn a_module_sends_in_its_own_name() {
    let hub = TestHub::start().await;
    let connection_string = hub.module_connection_string("d1/m1").await;
    let module = preset(&hub, HttpModuleClient::builder(&connection_string))
        .build()
        .unwrap();

    module.send_telemetry(message("one")).await.unwrap();

    assert_eq!(hub.telemetry_from("d1/m1").so_far().len(), 1);
    assert!(hub.telemetry_from("d1").so_far().is_empty());
}

#[tokio::test]
async fn cloud_messages_are_locked_and_settled() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let device = device(&hub, "d1").await;
    for body in ["one", "two", "three"] {
        send_to(&hub, "d1", message(body)).await;
    }

    let one = device.receive().await.unwrap().unwrap();
    assert_eq!(one.message.body, "one");
    assert_eq!(one.message.properties.get("k").unwrap(), "v+1%");
    assert_eq!(one.delivery_count, 0);
    let two = device.receive().await.unwrap().unwrap();
    assert_eq!(two.message.body, "two");
    device.complete(&one).await.unwrap();
    let again = device.complete(&one).await.unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::DeviceMessageLockLost));
    device.abandon(&two).await.unwrap();
    let two = device.receive().await.unwrap().unwrap();
    assert_eq!(
        (two.message.body.as_ref(), two.delivery_count),
        (&b"two"[..], 1)
    );
    device.reject(&two).await.unwrap();
    let three = device.receive().await.unwrap().unwrap();
    assert_eq!(device.receive().await.unwrap(), None);

    // Whoever does not settle in a minute gets it again.
    hub.clock().advance(secs(61)).await;
    let lost = device.complete(&three).await.unwrap_err();
    assert_eq!(lost.code(), Some(ErrorCode::DeviceMessageLockLost));
    let three = device.receive().await.unwrap().unwrap();
    assert_eq!(three.message.body, "three");
    device.complete(&three).await.unwrap();
    assert_eq!(device.receive().await.unwrap(), None);
}

#[tokio::test]
async fn cloud_messages_arrive_over_a_lasting_connection_too() {
    let hub = TestHub::start().await;
    let device = hub.device("d1").await;
    send_to(&hub, "d1", message("early")).await;
    let mut messages = device.messages().await.unwrap();
    send_to(&hub, "d1", message("late")).await;

    for body in ["early", "late"] {
        let message = messages.next().await.unwrap();
        assert_eq!(message.body, body);
        assert_eq!(message.properties.get("k").unwrap(), "v+1%");
        assert_eq!(
            message
                .properties
                .system(SystemProperty::MessageId)
                .unwrap(),
            body
        );
    }
    let client = ClientId::parse("d1").unwrap();
    let settled = async {
        while hub
            .handle()
            .inspect(|hub| !hub.waiting_c2d(&client).is_empty())
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(iothub_testkit::WAIT_LIMIT, settled)
        .await
        .expect("what was taken is complete");
    // A connection that comes back brings nothing again.
    hub.drop_connection("d1").await;
    hub.wait_until_connected("d1").await;
    send_to(&hub, "d1", message("last")).await;
    assert_eq!(messages.next().await.unwrap().body, "last");
}

#[tokio::test]
async fn who_proves_nothing_is_refused() {
    let hub = TestHub::start().await;
    device(&hub, "d1").await;
    let key = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";
    let wrong_key = preset(
        &hub,
        HttpDeviceClient::builder(&format!(
            "HostName=localhost;DeviceId=d1;SharedAccessKey={key}"
        )),
    )
    .build()
    .unwrap();

    let by_key = wrong_key.send_telemetry(message("x")).await.unwrap_err();
    let stranger = self_signed("d1", KeyType::P256, ALWAYS).unwrap();
    let by_certificate = by_certificate(&hub, "d1", &stranger).receive().await;

    assert_eq!(by_key.code(), Some(ErrorCode::IotHubUnauthorizedAccess));
    let code = by_certificate.unwrap_err().code();
    assert_eq!(code, Some(ErrorCode::IotHubUnauthorizedAccess));
    assert!(hub.telemetry_from("d1").so_far().is_empty());
}

#[tokio::test]
async fn certificates_are_as_good_as_tokens() {
    let hub = TestHub::start().await;
    let root = DeviceAuthority::create("Test root", KeyType::P256).unwrap();
    let certificates =
        EmulatorCertificates::at(&format!("http://127.0.0.1:{}", hub.ports().http)).unwrap();
    certificates
        .put("root", root.certificate_pem(), Some(true), &IfMatch::Absent)
        .await
        .unwrap();
    let own = self_signed("whatever", KeyType::Rsa2048, ALWAYS).unwrap();
    let thumbprint = AuthenticationSpec::SelfSigned {
        primary: own.thumbprints().sha256_hex,
        secondary: None,
    };
    register(&hub, "own", thumbprint).await;
    register(&hub, "signed", AuthenticationSpec::CertificateAuthority).await;
    let intermediate = root.intermediate("Test intermediate", ALWAYS).unwrap();
    let signed = intermediate.issue("signed", KeyType::P256, ALWAYS).unwrap();
    let other = intermediate.issue("other", KeyType::P256, ALWAYS).unwrap();

    for (id, certificate) in [("own", &own), ("signed", &signed)] {
        let device = by_certificate(&hub, id, certificate);
        device.send_telemetry(message("x")).await.unwrap();
        device.upload_file("f.txt", "content").await.unwrap();
        assert_eq!(device.receive().await.unwrap(), None);
        assert_eq!(hub.telemetry_from(id).so_far().len(), 1);
    }
    for (id, certificate) in [("own", &signed), ("signed", &other), ("signed", &own)] {
        let device = by_certificate(&hub, id, certificate);
        let refused = device.send_telemetry(message("x")).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::IotHubUnauthorizedAccess));
    }
}

#[tokio::test]
async fn files_of_every_size_arrive() {
    let hub = TestHub::start().await;
    let lasting = hub.device("d1").await;
    let waking = device(&hub, "d1").await;
    let large: Vec<u8> = (0..9 * 1024 * 1024_u32).map(|n| n as u8).collect();

    waking.upload_file("empty", "").await.unwrap();
    waking.upload_file("f/x y#1.txt", "content").await.unwrap();
    lasting.upload_file("large", large).await.unwrap();

    let info = lasting.get_storage_info_for_blob("given up").await.unwrap();
    assert_eq!(info.blob_name, "d1/given up");
    lasting
        .notify_blob_upload_status(&info.correlation_id, false, 500, "changed my mind")
        .await
        .unwrap();
    let unknown = lasting
        .notify_blob_upload_status("nobody's", true, 200, "OK")
        .await
        .unwrap_err();
    assert_eq!(
        unknown.code(),
        Some(ErrorCode::InvalidFileUploadCorrelationId)
    );
    let nameless = waking.upload_file("", "x").await.unwrap_err();
    assert!(
        matches!(nameless.kind(), ErrorKind::Refused(refusal) if refusal.status == 400),
        "{nameless}"
    );
}
