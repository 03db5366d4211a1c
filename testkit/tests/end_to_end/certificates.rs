//! Devices and modules that prove themselves by certificates (`spec/device.md` 11).

use iothub_backend::{AuthenticationSpec, EmulatorCertificates, IdentitySpec, IfMatch};
use iothub_device::{
    ClientBuilder, ConnectRefusal, DeviceClient, Error, ErrorKind, ModuleClient, RetryPolicy,
};
use iothub_emulator::certificates::{DeviceAuthority, Issued, KeyType, Validity, self_signed};
use iothub_protocol::Timestamp;
use iothub_testkit::{TestHub, json_message};
use serde_json::json;

use crate::support::secs;

/// A way to the hub on which a client can show a certificate.
#[derive(Clone, Copy, Debug)]
enum Way {
    Mqtts,
    WebSocket,
}

const WAYS: [Way; 2] = [Way::Mqtts, Way::WebSocket];
/// Any clock's time.
const ALWAYS: Validity = Validity {
    not_before: Timestamp::from_unix_seconds(1_577_836_800),
    not_after: Timestamp::from_unix_seconds(2_524_521_600),
};

fn authority() -> DeviceAuthority {
    DeviceAuthority::create("Test root", KeyType::P256).unwrap()
}

fn certificates(hub: &TestHub) -> EmulatorCertificates {
    EmulatorCertificates::at(&format!("http://127.0.0.1:{}", hub.ports().http)).unwrap()
}

/// Registers the authority, on trust.
async fn trust(hub: &TestHub, authority: &DeviceAuthority) {
    certificates(hub)
        .put(
            "root",
            authority.certificate_pem(),
            Some(true),
            &IfMatch::Absent,
        )
        .await
        .unwrap();
}

fn by_authority() -> IdentitySpec {
    IdentitySpec {
        authentication: AuthenticationSpec::CertificateAuthority,
        ..IdentitySpec::default()
    }
}

async fn register(hub: &TestHub, device: &str, spec: &IdentitySpec) {
    let registry = hub.backend().registry();
    registry.create_device(device, spec).await.unwrap();
}

fn dial<C>(
    hub: &TestHub,
    way: Way,
    builder: ClientBuilder<C>,
    certificate: &Issued,
) -> ClientBuilder<C> {
    let builder = builder
        .ca_pem(hub.ca_pem())
        .clock(hub.clock().shared())
        .certificate(certificate.chain_pem.clone(), certificate.key_pem.clone())
        .retry(RetryPolicy {
            first_connection_attempts: 1,
            ..RetryPolicy::default()
        });
    match way {
        Way::Mqtts => builder.mqtts_port(hub.ports().mqtts),
        Way::WebSocket => builder.websocket_port(hub.ports().https),
    }
}

async fn connect(
    hub: &TestHub,
    way: Way,
    device: &str,
    certificate: &Issued,
) -> Result<DeviceClient, Error> {
    let connection_string = format!("HostName=localhost;DeviceId={device};x509=true");
    let builder = DeviceClient::builder(&connection_string);
    dial(hub, way, builder, certificate).connect().await
}

fn assert_refused(result: Result<DeviceClient, Error>, why: &str) {
    let error = result.err().unwrap_or_else(|| panic!("let in: {why}"));
    let not_authorized = ErrorKind::ConnectionRefused(ConnectRefusal::NotAuthorized);
    assert_eq!(error.kind(), &not_authorized, "{why}");
}

#[tokio::test]
async fn a_registered_authority_lets_its_devices_in() {
    let hub = TestHub::start().await;
    let root = authority();
    trust(&hub, &root).await;
    register(&hub, "d1", &by_authority()).await;
    let intermediate = root.intermediate("Test intermediate", ALWAYS).unwrap();
    for way in WAYS {
        for certificate in [
            root.issue("d1", KeyType::P256, ALWAYS).unwrap(),
            root.issue("d1", KeyType::Rsa2048, ALWAYS).unwrap(),
            intermediate.issue("d1", KeyType::P256, ALWAYS).unwrap(),
        ] {
            let device = connect(&hub, way, "d1", &certificate).await.unwrap();
            device
                .send_telemetry(json_message(&json!({"way": format!("{way:?}")})))
                .await
                .unwrap();
            device.close().await;
        }
    }

    let events = hub.telemetry_from("d1").so_far();
    assert_eq!(events.len(), 6);
    assert_eq!(events[5].json(), json!({"way": "WebSocket"}));
}

#[tokio::test]
async fn a_module_shows_its_own_certificate() {
    let hub = TestHub::start().await;
    let root = authority();
    trust(&hub, &root).await;
    register(&hub, "d1", &IdentitySpec::default()).await;
    let registry = hub.backend().registry();
    registry
        .create_module("d1/m1", &by_authority())
        .await
        .unwrap();
    let connect = async |name: &str| {
        let certificate = root.issue(name, KeyType::P256, ALWAYS).unwrap();
        let builder = ModuleClient::builder("HostName=localhost;DeviceId=d1;ModuleId=m1;x509=true");
        dial(&hub, Way::Mqtts, builder, &certificate)
            .connect()
            .await
    };

    assert!(connect("d1").await.is_err());
    connect("d1/m1").await.unwrap().close().await;
}

#[tokio::test]
async fn certificates_that_prove_nothing_are_refused() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let (root, stranger) = (authority(), authority());
    trust(&hub, &root).await;
    let unproved = authority();
    certificates(&hub)
        .put(
            "unproved",
            unproved.certificate_pem(),
            None,
            &IfMatch::Absent,
        )
        .await
        .unwrap();
    register(&hub, "d1", &by_authority()).await;
    let now = hub.clock().now();
    let yesterday = Timestamp::from_unix_seconds(now.unix_seconds() - 86_400);
    let expired = Validity {
        not_before: ALWAYS.not_before,
        not_after: yesterday,
    };
    let not_yet = Validity {
        not_before: now + secs(3600),
        not_after: ALWAYS.not_after,
    };
    let expired_intermediate = root.intermediate("expired", expired).unwrap();
    let issue =
        |by: &DeviceAuthority, name, validity| by.issue(name, KeyType::P256, validity).unwrap();
    let early = issue(&root, "d1", not_yet);

    for (certificate, why) in [
        (&issue(&root, "d2", ALWAYS), "another's name"),
        (&issue(&root, "D1", ALWAYS), "another case"),
        (&issue(&stranger, "d1", ALWAYS), "an unknown authority"),
        (&issue(&unproved, "d1", ALWAYS), "an unproved authority"),
        (&issue(&root, "d1", expired), "expired"),
        (&early, "not valid yet"),
        (
            &issue(&expired_intermediate, "d1", ALWAYS),
            "an expired intermediate",
        ),
        (
            &self_signed("d1", KeyType::P256, ALWAYS).unwrap(),
            "nobody's",
        ),
    ] {
        for way in WAYS {
            assert_refused(connect(&hub, way, "d1", certificate).await, why);
        }
    }

    // By the hub's clock, not by the machine's.
    hub.clock().advance(secs(3601)).await;
    let device = connect(&hub, Way::Mqtts, "d1", &early).await.unwrap();
    device.close().await;
}

#[tokio::test]
async fn proof_of_possession_makes_the_difference() {
    let hub = TestHub::start().await;
    let root = authority();
    register(&hub, "d1", &by_authority()).await;
    let leaf = root.issue("d1", KeyType::P256, ALWAYS).unwrap();
    let certificates = certificates(&hub);
    certificates
        .put("root", root.certificate_pem(), None, &IfMatch::Absent)
        .await
        .unwrap();
    assert_refused(
        connect(&hub, Way::Mqtts, "d1", &leaf).await,
        "not proved yet",
    );

    let coded = certificates
        .generate_verification_code("root", &IfMatch::Any)
        .await
        .unwrap();
    let code = coded["properties"]["verificationCode"].as_str().unwrap();
    let etag = IfMatch::ETag(coded["etag"].as_str().unwrap().to_owned());
    let proof = root.issue(code, KeyType::P256, ALWAYS).unwrap();
    certificates
        .verify("root", &proof.chain_pem, &etag)
        .await
        .unwrap();

    let device = connect(&hub, Way::Mqtts, "d1", &leaf).await.unwrap();
    device.close().await;
    certificates.delete("root", &IfMatch::Any).await.unwrap();
    assert_refused(connect(&hub, Way::Mqtts, "d1", &leaf).await, "deleted");
}

#[tokio::test]
async fn a_self_signed_certificate_is_known_by_its_thumbprint() {
    let hub = TestHub::start().await;
    let certificate = self_signed("anything", KeyType::P256, ALWAYS).unwrap();
    let other = self_signed("anything", KeyType::P256, ALWAYS).unwrap();
    let spec = IdentitySpec {
        authentication: AuthenticationSpec::SelfSigned {
            primary: certificate.thumbprints().sha1_hex,
            secondary: Some(other.thumbprints().sha256_hex.to_lowercase()),
        },
        ..IdentitySpec::default()
    };
    register(&hub, "d1", &spec).await;
    let stranger = self_signed("anything", KeyType::P256, ALWAYS).unwrap();

    for way in WAYS {
        for known in [&certificate, &other] {
            let device = connect(&hub, way, "d1", known).await.unwrap();
            device.close().await;
        }
        assert_refused(connect(&hub, way, "d1", &stranger).await, "a stranger");
    }
}
