//! What the doctor finds, case by case.

mod agreement;
mod tokens;

use std::time::Duration;

use iothub_hub::{AccessPolicy, Cx, Hub, HubConfig, Outcome, Permission, Permissions, Principal};
use iothub_protocol::registry::{IdentitySpec, IfMatch};
use iothub_protocol::sas::{SymmetricKey, sign};
use iothub_protocol::{ClientId, Timestamp};
use serde_json::json;

use super::{Doctor, Level, Question, Report, SignRequest, Signatory, Verdict, WhichKey};
use crate::certificates::{DeviceAuthority, KeyType, Validity, parse_authority, self_signed};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const HOST: &str = "hub.example";

fn key(of: &str) -> SymmetricKey {
    SymmetricKey::from_bytes(format!("key of {of:24}").into_bytes())
}

fn client(text: &str) -> ClientId {
    ClientId::parse(text).unwrap()
}

fn policy(name: &str, permissions: Permissions) -> AccessPolicy {
    AccessPolicy {
        name: name.into(),
        permissions,
        primary: key(name),
        secondary: key(&format!("{name} 2")),
    }
}

/// A hub with devices `d1`, `Dev2`, `disabled`, module `d1/m1`, and devices with certificates.
fn hub(host_names: &[&str]) -> Hub {
    let mut hub = Hub::new(HubConfig {
        name: "hub".into(),
        host_names: host_names.iter().map(ToString::to_string).collect(),
        policies: vec![
            policy("iothubowner", Permissions::ALL),
            policy("service", Permissions::of(&[Permission::ServiceConnect])),
            policy("device", Permissions::of(&[Permission::DeviceConnect])),
        ],
        ..HubConfig::default()
    });
    for name in ["d1", "Dev2", "disabled"] {
        let status = if name == "disabled" { name } else { "enabled" };
        put(
            &mut hub,
            name,
            json!({"status": status, "authentication": keys(name)}),
        );
    }
    put(&mut hub, "d1/m1", json!({"authentication": keys("d1/m1")}));
    put(
        &mut hub,
        "by-authority",
        json!({"authentication": {"type": "certificateAuthority"}}),
    );
    hub
}

fn keys(of: &str) -> serde_json::Value {
    let secondary = key(&format!("{of} 2"));
    json!({"symmetricKey": {
        "primaryKey": key(of).to_base64(), "secondaryKey": secondary.to_base64(),
    }})
}

fn put(hub: &mut Hub, name: &str, mut document: serde_json::Value) {
    let id = client(name);
    document["deviceId"] = id.device.as_str().into();
    if let Some(module) = &id.module {
        document["moduleId"] = module.as_str().into();
    }
    let spec = IdentitySpec::from_value(&document).unwrap();
    let (mut outcome, operator) = (Outcome::default(), Principal::operator());
    let mut cx = Cx::new(NOW, &mut outcome);
    match &id.module {
        None => drop(hub.put_device(&mut cx, &operator, &id.device, spec, &IfMatch::Absent)),
        Some(module) => {
            drop(hub.put_module(
                &mut cx,
                &operator,
                &id.device,
                module,
                spec,
                &IfMatch::Absent,
            ));
        }
    }
    assert!(!outcome.changes.is_empty(), "{name}");
}

fn doctor_of(hub: &Hub) -> Doctor {
    let access = hub.access_snapshot(&Principal::operator()).unwrap();
    Doctor::new(access, NOW, HOST.into())
}

fn asked(hub: &Hub, text: &str, of: Option<&str>, host: Option<&str>) -> Report {
    doctor_of(hub).explain(&Question {
        text: text.to_owned(),
        client: of.map(client),
        host: host.map(str::to_owned),
    })
}

fn explained(text: &str) -> Report {
    asked(&hub(&[]), text, None, None)
}

fn explained_for(text: &str, of: &str) -> Report {
    asked(&hub(&[]), text, Some(of), None)
}

/// A right token of the holder's, good for an hour.
fn token(of: &str) -> String {
    let resource = format!("{HOST}/devices/{}", of.replacen('/', "/modules/", 1));
    sign(&resource, later(3600), None, &key(of))
}

fn policy_token(resource: &str, policy: &str) -> String {
    sign(resource, later(3600), Some(policy), &key(policy))
}

fn later(seconds: u64) -> Timestamp {
    NOW + Duration::from_secs(seconds)
}

/// The codes of what is found at this level.
fn codes(report: &Report, level: Level) -> Vec<&'static str> {
    let all = report.findings.iter();
    all.filter(|finding| finding.level == level)
        .map(|finding| finding.code)
        .collect()
}

fn errors(report: &Report) -> Vec<&'static str> {
    assert_eq!(report.verdict, Verdict::Refused, "{report:#?}");
    codes(report, Level::Error)
}

fn accepted(report: &Report) {
    assert_eq!(report.verdict, Verdict::Accepted, "{report:#?}");
    assert!(codes(report, Level::Error).is_empty());
}

#[test]
fn connection_strings_are_tried() {
    let of = |name: &str, key: &SymmetricKey| {
        format!(
            "HostName={HOST};DeviceId={name};SharedAccessKey={}",
            key.to_base64()
        )
    };
    accepted(&explained(&of("d1", &key("d1"))));
    for (text, code) in [
        (of("d1", &key("Dev2")), "key-of-another-client"),
        (of("d1", &key("device")), "policy-key-for-device"),
        (of("d1", &key("x")), "unknown-key"),
        (of("nobody", &key("x")), "not-registered"),
        (of("disabled", &key("disabled")), "disabled"),
        (
            format!("HostName={HOST};DeviceId=d1;SharedAccessKey=abc"),
            "malformed",
        ),
        (
            format!("HostName={HOST};DeviceId=d1;x509=true"),
            "not-by-certificate",
        ),
    ] {
        let report = explained(&text);
        assert_eq!(errors(&report), [code], "{text}: {report:#?}");
    }
    let service = key("service").to_base64();
    accepted(&explained(&format!(
        "HostName={HOST};SharedAccessKeyName=service;SharedAccessKey={service}"
    )));
    let events = |entity: &str| {
        explained(&format!(
            "Endpoint=sb://{HOST}/;SharedAccessKeyName=service;SharedAccessKey={service};\
             EntityPath={entity}"
        ))
    };
    accepted(&events("hub"));
    assert_eq!(errors(&events("other")), ["unknown-entity"]);
    let with_token = format!(
        "HostName={HOST};DeviceId=d1;SharedAccessSignature={}",
        token("d1")
    );
    accepted(&explained(&with_token));
    let by_certificate = explained(&format!("HostName={HOST};DeviceId=by-authority;x509=true"));
    assert_eq!(by_certificate.verdict, Verdict::Undecided);
}

#[test]
fn user_names_and_keys_are_tried() {
    let good = explained(&format!("{HOST}/d1/?api-version=2021-04-12"));
    accepted(&good);
    assert!(codes(&good, Level::Warning).is_empty());
    let bare = explained(&format!("{HOST}/d1/m1"));
    accepted(&bare);
    assert_eq!(codes(&bare, Level::Warning), ["no-api-version"]);
    assert_eq!(
        errors(&explained(&format!(
            "{HOST}/nobody/?api-version=2021-04-12"
        ))),
        ["not-registered"]
    );
    assert_eq!(
        errors(&explained(&format!("{HOST}/d1/m1/x/?api-version=1"))),
        ["malformed"]
    );
    accepted(&explained(&key("d1").to_base64()));
    accepted(&explained(&key("service 2").to_base64()));
    assert_eq!(errors(&explained(&key("x").to_base64())), ["unknown-key"]);
    assert_eq!(
        errors(&explained_for(&key("Dev2").to_base64(), "d1")),
        ["key-of-another-client"]
    );
}

#[test]
fn what_is_no_credential_is_refused() {
    assert_eq!(errors(&explained("hello")), ["unknown"]);
    assert_eq!(errors(&explained("eyJ0eXAi.eyJhdWQi.c2ln")), ["web-token"]);
    let key = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----";
    let report = explained(key);
    assert_eq!(codes(&report, Level::Error), ["private-key"]);
    assert!(!report.to_json().to_string().contains("MIIB"));
    assert_eq!(explained(" ").verdict, Verdict::Undecided);
}

#[test]
fn certificates_are_judged() {
    let validity = |from: u64, to: u64| Validity {
        not_before: Timestamp::from_unix_seconds(1_700_000_000) + Duration::from_secs(from),
        not_after: Timestamp::from_unix_seconds(1_700_000_000) + Duration::from_secs(to),
    };
    let now = validity(0, 200_000_000);
    let mut hub = hub(&[]);
    let own = self_signed("by-thumbprint", KeyType::P256, now).unwrap();
    let old = self_signed("old", KeyType::P256, validity(0, 1000)).unwrap();
    for (name, issued) in [("by-thumbprint", &own), ("old", &old)] {
        let thumbprint = issued.thumbprints().sha1_hex;
        put(
            &mut hub,
            name,
            json!({"authentication": {"type": "selfSigned", "x509Thumbprint": {
                "primaryThumbprint": thumbprint,
            }}}),
        );
    }
    let root = DeviceAuthority::create("Root", KeyType::P256).unwrap();
    let other_root = DeviceAuthority::create("Root", KeyType::P256).unwrap();
    let leaf = root.issue("by-authority", KeyType::P256, now).unwrap();
    let upload = |hub: &mut Hub, is_verified| {
        let certificate = parse_authority(root.certificate_pem()).unwrap();
        let (mut outcome, operator) = (Outcome::default(), Principal::operator());
        let mut cx = Cx::new(NOW, &mut outcome);
        let name = if is_verified { "verified" } else { "ca" };
        hub.put_authority(
            &mut cx,
            &operator,
            name,
            certificate,
            Some(is_verified),
            &IfMatch::Absent,
        )
        .unwrap();
    };
    let explained = |hub: &Hub, text: &str, of: Option<&str>| asked(hub, text, of, None);

    accepted(&explained(&hub, &own.chain_pem, None));
    assert_eq!(
        errors(&explained(&hub, &own.chain_pem, Some("old"))),
        ["thumbprint", "expired"][..1]
    );
    assert_eq!(errors(&explained(&hub, &old.chain_pem, None)), ["expired"]);
    assert_eq!(
        errors(&explained(&hub, &own.chain_pem, Some("d1"))),
        ["not-by-certificate"]
    );
    assert_eq!(
        errors(&explained(&hub, &leaf.chain_pem, None)),
        ["no-authority"]
    );
    upload(&mut hub, false);
    assert_eq!(
        errors(&explained(&hub, &leaf.chain_pem, None)),
        ["authority-not-verified"]
    );
    upload(&mut hub, true);
    accepted(&explained(&hub, &leaf.chain_pem, None));
    let named = root.issue("By-Authority", KeyType::P256, now).unwrap();
    assert_eq!(
        errors(&explained(&hub, &named.chain_pem, Some("by-authority"))),
        ["common-name"]
    );
    let foreign = other_root
        .issue("by-authority", KeyType::P256, now)
        .unwrap();
    let report = explained(&hub, &foreign.chain_pem, None);
    assert_eq!(errors(&report), ["no-authority"]);
    assert!(report.findings[0].why.contains("two authorities"));
    let thumbprint = explained(&hub, &own.thumbprints().sha256_hex, None);
    assert_eq!(codes(&thumbprint, Level::Warning), ["unknown-thumbprint"]);
    let thumbprint = explained(&hub, &own.thumbprints().sha1_hex, None);
    assert_eq!(codes(&thumbprint, Level::Ok), ["thumbprint"]);
}

#[test]
fn what_is_signed_here_is_accepted() {
    let hub = hub(&[]);
    let doctor = doctor_of(&hub);
    for signatory in [
        Signatory::Client(client("d1")),
        Signatory::Client(client("d1/m1")),
        Signatory::Policy("service".into(), None),
        Signatory::Policy("device".into(), Some(client("d1"))),
    ] {
        for key in [WhichKey::Primary, WhichKey::Secondary] {
            let signed = doctor
                .sign(&SignRequest {
                    signatory: signatory.clone(),
                    key,
                    seconds: 60,
                    host: None,
                })
                .unwrap();
            accepted(&asked(&hub, &signed.token, None, None));
            accepted(&asked(&hub, &signed.connection_string, None, None));
            if let Some((_, user)) = &signed.connect {
                accepted(&asked(&hub, user, None, None));
            }
        }
    }
    let request = |signatory| SignRequest {
        signatory,
        key: WhichKey::Primary,
        seconds: 60,
        host: None,
    };
    let refused = |signatory| {
        doctor
            .sign(&request(signatory))
            .unwrap_err()
            .message()
            .to_owned()
    };
    assert_eq!(refused(Signatory::Client(client("nobody"))), "nobody");
    assert_eq!(
        refused(Signatory::Client(client("by-authority"))),
        "device by-authority has no keys"
    );
    assert_eq!(
        refused(Signatory::Policy("x".into(), None)),
        "there is no policy x"
    );
}
