//! `/_emulator/certificates`: the authorities whose devices are let in.

use iothub_emulator::certificates::{
    ClientCertificate, DeviceAuthority, KeyType, Validity, decode,
};
use iothub_protocol::Timestamp;
use serde_json::json;

use crate::hub::TestHub;

const ALWAYS: Validity = Validity {
    not_before: Timestamp::from_unix_seconds(1_600_000_000),
    not_after: Timestamp::from_unix_seconds(2_000_000_000),
};

fn root(name: &str) -> DeviceAuthority {
    DeviceAuthority::create(name, KeyType::P256).unwrap()
}

fn upload(authority: &DeviceAuthority) -> String {
    json!({"properties": {"certificate": authority.certificate_pem()}}).to_string()
}

#[tokio::test]
async fn possession_is_proved_by_a_certificate_for_the_code() {
    let hub = TestHub::new();
    let root = root("Test root");

    let created = hub.control("PUT certificates/ca", &upload(&root)).await;
    assert_eq!(created.status, 201, "{created:?}");
    let resource = created.json();
    assert_eq!(resource["name"], "ca");
    assert_eq!(resource["type"], "Microsoft.Devices/IotHubs/Certificates");
    assert_eq!(resource["etag"], created.etag());
    let properties = &resource["properties"];
    assert_eq!(properties["subject"], "CN=Test root");
    assert_eq!(properties["isVerified"], false);
    assert_eq!(properties["expiry"], "Fri, 31 Dec 2049 00:00:00 GMT");
    assert_eq!(properties["created"], "Thu, 14 Mar 2024 09:54:49 GMT");
    assert_eq!(properties["verificationCode"], json!(null));

    let coded = hub
        .control("POST certificates/ca/generateVerificationCode", "")
        .await;
    let code = coded.json()["properties"]["verificationCode"].clone();
    let code = code.as_str().unwrap();
    assert_eq!(code.len(), 48);

    let proof = root.issue(code, KeyType::P256, ALWAYS).unwrap();
    let proof = json!({"certificate": proof.chain_pem}).to_string();
    let verified = hub.control("POST certificates/ca/verify", &proof).await;
    assert_eq!(verified.status, 200, "{verified:?}");
    assert_eq!(verified.json()["properties"]["isVerified"], true);
    assert_eq!(
        hub.control("GET certificates/ca", "").await.json(),
        verified.json()
    );
    assert_eq!(
        hub.control("GET certificates", "").await.json(),
        json!({"value": [verified.json()]})
    );
}

#[tokio::test]
async fn a_proof_that_proves_nothing_is_refused() {
    let hub = TestHub::new();
    let (ours, other) = (root("same"), root("same"));
    hub.control("PUT certificates/ca", &upload(&ours)).await;
    let prove = async |authority: &DeviceAuthority, name: &str| {
        let proof = authority.issue(name, KeyType::P256, ALWAYS).unwrap();
        let proof = json!({"certificate": proof.chain_pem}).to_string();
        let reply = hub.control("POST certificates/ca/verify", &proof).await;
        assert_eq!(reply.status, 400);
        reply.refusal()
    };

    assert!(prove(&ours, "x").await.contains("generate one first"));
    let coded = hub
        .control("POST certificates/ca/generateVerificationCode", "")
        .await;
    let code = coded.json()["properties"]["verificationCode"].clone();
    let code = code.as_str().unwrap();
    assert!(
        prove(&ours, "x")
            .await
            .contains("not the verification code")
    );
    assert!(
        prove(&other, code)
            .await
            .contains("is not signed by CN=same")
    );
    let shown = hub.control("GET certificates/ca", "").await;
    assert_eq!(shown.json()["properties"]["isVerified"], false);
}

#[tokio::test]
async fn conditions_and_mistakes_are_answered() {
    let hub = TestHub::new();
    let body = upload(&root("root"));
    let etag = hub.control("PUT certificates/ca", &body).await.etag();

    let unknown = hub.control("GET certificates/other", "").await;
    assert_eq!(
        unknown.header("iothub-errorcode"),
        Some("CertificateNotFound")
    );
    assert_eq!(unknown.status, 404);
    for (head, body, status) in [
        ("PUT certificates/ca", body.as_str(), 412),
        ("PUT certificates/a%20b", &body, 400),
        ("PUT certificates/new", "{}", 400),
        ("PUT certificates/new", "[]", 400),
        (
            "PUT certificates/new",
            r#"{"properties":{"certificate":1}}"#,
            400,
        ),
        (
            "PUT certificates/new",
            r#"{"properties":{"certificate":"x"}}"#,
            400,
        ),
        ("POST certificates/ca/verify", "{}", 400),
        (
            "POST certificates/ca/verify",
            r#"{"certificate":"AAAA"}"#,
            400,
        ),
        ("POST certificates/other/generateVerificationCode", "", 404),
        ("DELETE certificates/other", "", 404),
        ("PATCH certificates/ca", "", 405),
    ] {
        let reply = hub.control(head, body).await;
        assert_eq!(reply.status, status, "{head} {body}: {reply:?}");
    }

    let conditional = async |head: &str, etag: &str, body: &str| {
        let condition = format!("\"{etag}\"");
        hub.connect()
            .0
            .request(head, &[("If-Match", &condition)], body)
            .await
    };
    let other = upload(&root("other"));
    let path = "/_emulator/certificates/ca";
    let stale = conditional(&format!("PUT {path}"), "AAAAAAAAAAA=", &other).await;
    assert_eq!(stale.status, 412);
    let updated = conditional(&format!("PUT {path}"), &etag, &other).await;
    assert_eq!(updated.status, 200);
    assert_eq!(updated.json()["properties"]["subject"], "CN=other");
    let stale = conditional(&format!("DELETE {path}"), &etag, "").await;
    assert_eq!(stale.status, 412);
    let gone = conditional(&format!("DELETE {path}"), &updated.etag(), "").await;
    assert_eq!(gone.status, 204);
    assert_eq!(
        hub.control("GET certificates", "").await.json(),
        json!({"value": []})
    );
}

#[tokio::test]
async fn twenty_five_authorities_are_the_limit() {
    let hub = TestHub::new();
    let body = upload(&root("root"));
    for n in 0..25 {
        let reply = hub.control(&format!("PUT certificates/ca{n}"), &body).await;
        assert_eq!(reply.status, 201);
    }

    let refused = hub.control("PUT certificates/one-more", &body).await;

    assert_eq!(
        refused.header("iothub-errorcode"),
        Some("IotHubQuotaExceeded")
    );
}

#[tokio::test]
async fn a_certificate_is_made_for_a_device() {
    let hub = TestHub::new();

    let made = hub
        .control("POST certificates/leaf", r#"{"commonName":"d1","days":30}"#)
        .await;

    assert_eq!(made.status, 200, "{made:?}");
    let made = made.json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let der = decode(&text("certificate")).unwrap();
    let read = ClientCertificate::parse(&der).unwrap();
    assert_eq!(read.common_name.as_deref(), Some("d1"));
    assert_eq!(read.thumbprints.sha1_hex, text("thumbprint_sha1"));
    assert_eq!(read.thumbprints.sha256_hex, text("thumbprint_sha256"));
    assert_eq!(read.not_after.to_iso_seconds(), "2024-04-13T09:54:49Z");
    assert!(text("private_key").starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_eq!(made["authority"], json!(null));
}

#[tokio::test]
async fn what_cannot_be_a_devices_certificate_is_refused() {
    let hub = TestHub::new();

    for wish in [
        "{}",
        r#"{"commonName":""}"#,
        r#"{"commonName":"a b"}"#,
        r#"{"commonName":"d1","days":1.5}"#,
        r#"{"commonName":"d1","days":999999999}"#,
        r#"{"commonName":"d1","keyType":"dsa"}"#,
        r#"{"commonName":"d1","signed":"yes"}"#,
        // Nothing is kept in a directory here.
        r#"{"commonName":"d1","signed":true}"#,
    ] {
        let refused = hub.control("POST certificates/leaf", wish).await;
        assert_eq!(refused.status, 400, "{wish}: {refused:?}");
    }
    let other = hub.control("POST certificates/ca", "{}").await;
    assert_eq!(other.status, 405);
}
