//! `spec/device.md` 11: certificates that an authority vouches for.

use std::sync::Arc;

use iothub_hub::{
    Authority, AuthorityCertificate, CertificateFacts, Chain, Change, Credentials, DocumentKind,
    Hub, Outcome, Principal,
};
use iothub_protocol::registry::IfMatch;
use iothub_protocol::sas::sign;
use iothub_protocol::{Error, ErrorCode, Timestamp};
use serde_json::json;

use crate::fixture::{Fixture, HOST, T0, client, config, fixture, policy_key, secs, spec};

fn certificate(name: &str) -> AuthorityCertificate {
    AuthorityCertificate {
        der: name.as_bytes().into(),
        subject: format!("CN={name}"),
        sha1: "1".repeat(40),
        sha256: sha256(name),
        not_before: T0,
        not_after: T0 + secs(3600),
    }
}

fn sha256(name: &str) -> String {
    format!("{name:0>64}")
}

/// A leaf for `common_name` that leads to these authorities.
fn leaf(common_name: &str, authorities: &[&str]) -> CertificateFacts {
    let chain = |name: &&str| Chain {
        authority: sha256(name),
        not_before: Timestamp::NEVER,
        not_after: Timestamp::MAX,
    };
    CertificateFacts {
        sha1: "2".repeat(40),
        sha256: "2".repeat(64),
        common_name: Some(common_name.into()),
        not_before: T0,
        not_after: T0 + secs(1800),
        issuer: "CN=issuer".into(),
        issued_by: authorities.iter().map(chain).collect(),
    }
}

type Done = Result<Arc<Authority>, Error>;

fn put(hub: &mut Fixture, name: &str, if_match: &IfMatch) -> (Done, Outcome) {
    put_verified(hub, name, certificate(name), None, if_match)
}

fn put_verified(
    hub: &mut Fixture,
    name: &str,
    certificate: AuthorityCertificate,
    verified: Option<bool>,
    if_match: &IfMatch,
) -> (Done, Outcome) {
    let operator = hub.operator.clone();
    hub.run(|hub, cx| hub.put_authority(cx, &operator, name, certificate, verified, if_match))
}

fn code(hub: &mut Fixture, name: &str) -> String {
    let operator = hub.operator.clone();
    let (reply, _) =
        hub.run(|hub, cx| hub.generate_verification_code(cx, &operator, name, &IfMatch::Any));
    reply.unwrap().verification_code.clone().unwrap()
}

fn verify(hub: &mut Fixture, name: &str, proof: &CertificateFacts) -> Done {
    let operator = hub.operator.clone();
    hub.run(|hub, cx| hub.verify_authority(cx, &operator, name, proof, &IfMatch::Any))
        .0
}

/// A hub with a device and a module that authorities vouch for, and the verified authority `root`.
fn trusting() -> Fixture {
    let mut hub = fixture();
    let ca = spec(&json!({"authentication": {"type": "certificateAuthority"}}));
    hub.put("d1", ca.clone()).0.unwrap();
    hub.put("d1/m1", ca).0.unwrap();
    put_verified(
        &mut hub,
        "root",
        certificate("root"),
        Some(true),
        &IfMatch::Absent,
    )
    .0
    .unwrap();
    hub
}

fn enter(hub: &Fixture, id: &str, facts: &CertificateFacts) -> Result<Principal, Error> {
    hub.hub
        .authenticate_client(hub.now, HOST, &client(id), Credentials::Certificate(facts))
}

fn refusal(result: Result<Principal, Error>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.code, ErrorCode::IotHubUnauthorizedAccess);
    error.detail
}

#[test]
fn a_verified_authority_vouches_for_devices_and_modules_by_their_exact_names() {
    let mut hub = trusting();

    assert!(enter(&hub, "d1", &leaf("d1", &["root"])).is_ok());
    assert!(enter(&hub, "d1/m1", &leaf("d1/m1", &["root"])).is_ok());
    for (id, name) in [("d1", "D1"), ("d1", "d1/m1"), ("d1/m1", "d1"), ("d1", "")] {
        let refused = refusal(enter(&hub, id, &leaf(name, &["root"])));
        assert!(refused.contains(&format!("expected \"{id}\"")), "{refused}");
    }
    let nameless = CertificateFacts {
        common_name: None,
        ..leaf("d1", &["root"])
    };
    assert!(enter(&hub, "d1", &nameless).is_err());

    let principal = enter(&hub, "d1", &leaf("d1", &["root"])).unwrap();
    let (connected, _) = hub.run(|hub, cx| {
        let request = iothub_hub::ConnectRequest {
            client: client("d1"),
            principal,
            remember: false,
            will: None,
            model_id: None,
            transport: "test",
        };
        hub.connect(cx, request)
    });
    let event = crate::telemetry::send(&mut hub, connected.unwrap().session, "x");
    assert_eq!(
        event.origin.auth_method.to_json(),
        r#"{"scope":"device","type":"x509","issuer":"iothub","acceptingIpFilterRule":null}"#
    );
}

#[test]
fn authorities_that_are_unknown_or_unproved_vouch_for_nobody() {
    let mut hub = trusting();
    put(&mut hub, "unproved", &IfMatch::Absent).0.unwrap();

    let none = refusal(enter(&hub, "d1", &leaf("d1", &[])));
    let unknown = refusal(enter(&hub, "d1", &leaf("d1", &["stranger"])));
    let unproved = refusal(enter(&hub, "d1", &leaf("d1", &["unproved"])));

    assert!(none.contains("CN=issuer is none, or did not"), "{none}");
    assert!(unknown.contains("gone"), "{unknown}");
    assert!(unproved.contains("not verified"), "{unproved}");
    assert!(enter(&hub, "d1", &leaf("d1", &["unproved", "root"])).is_ok());
}

#[test]
fn every_certificate_of_the_chain_has_to_be_valid_at_the_hubs_time() {
    let mut hub = trusting();
    let leaf = leaf("d1", &["root"]);
    let mut through_intermediate = leaf.clone();
    through_intermediate.issued_by[0].not_before = T0 + secs(10);
    through_intermediate.issued_by[0].not_after = T0 + secs(20);
    let mut long_lived = leaf.clone();
    long_lived.not_after = T0 + secs(9999);

    let at = |hub: &mut Fixture, second: i64, facts: &CertificateFacts| {
        hub.now = Timestamp::from_unix_seconds(T0.unix_seconds() + second);
        enter(hub, "d1", facts).is_ok()
    };

    for (second, by_leaf, by_intermediate, by_long_lived) in [
        (-1, false, false, false),
        (0, true, false, true),
        (10, true, true, true),
        (21, true, false, true),
        (1800, true, false, true),
        (1801, false, false, true),
        (3600, false, false, true),
        (3601, false, false, false),
    ] {
        assert_eq!(at(&mut hub, second, &leaf), by_leaf, "{second}");
        assert_eq!(
            at(&mut hub, second, &through_intermediate),
            by_intermediate,
            "{second}"
        );
        assert_eq!(at(&mut hub, second, &long_lived), by_long_lived, "{second}");
    }
}

#[test]
fn only_clients_that_ask_for_an_authority_are_let_in_by_one() {
    let mut hub = trusting().device("sas");
    let thumbprint = json!({"authentication": {"type": "selfSigned",
        "x509Thumbprint": {"primaryThumbprint": "3".repeat(40)}}});
    hub.put("own", spec(&thumbprint)).0.unwrap();

    let sas = refusal(enter(&hub, "sas", &leaf("sas", &["root"])));
    let own = refusal(enter(&hub, "own", &leaf("own", &["root"])));
    let token = sign(
        &format!("{HOST}/devices/d1"),
        T0 + secs(60),
        None,
        &policy_key("d1"),
    );

    assert!(sas.contains("by sas, not by certificate"), "{sas}");
    assert!(own.starts_with("Thumbprint does not match"), "{own}");
    assert!(hub.authenticate("d1", &token).is_err());
}

#[test]
fn possession_is_proved_by_a_signature_over_the_code() {
    let mut hub = fixture();
    put(&mut hub, "ca", &IfMatch::Absent).0.unwrap();
    let early = verify(&mut hub, "ca", &leaf("x", &["ca"])).unwrap_err();
    let first = code(&mut hub, "ca");
    let second = code(&mut hub, "ca");

    assert!(early.detail.contains("generate one first"));
    assert_ne!(first, second);
    assert!(first.len() == 48 && first.bytes().all(|b| b.is_ascii_hexdigit()));
    for proof in [
        leaf(&first, &["ca"]),
        leaf(&second, &["other"]),
        leaf(&second, &[]),
        CertificateFacts {
            not_after: Timestamp::from_unix_seconds(T0.unix_seconds() - 1),
            ..leaf(&second, &["ca"])
        },
    ] {
        let refused = verify(&mut hub, "ca", &proof).unwrap_err();
        assert_eq!(refused.code, ErrorCode::ArgumentInvalid);
    }
    let verified = verify(&mut hub, "ca", &leaf(&second, &["ca"])).unwrap();
    assert!(verified.is_verified);
    assert_eq!(verified.verification_code, None);
    assert!(verify(&mut hub, "ca", &leaf(&second, &["ca"])).is_err());
}

#[test]
fn another_certificate_has_to_be_proved_anew_and_the_same_one_has_not() {
    let mut hub = trusting();
    let other = certificate("other");

    let same = put(&mut hub, "root", &IfMatch::Any).0.unwrap();
    let changed = put_verified(&mut hub, "root", other.clone(), None, &IfMatch::Any).0;
    let trusted = put_verified(&mut hub, "root", other, Some(true), &IfMatch::Any).0;

    assert!(same.is_verified);
    assert!(!changed.unwrap().is_verified);
    assert!(trusted.unwrap().is_verified);
}

#[test]
fn etags_names_and_the_limit_are_kept() {
    let mut hub = fixture();
    let created = put(&mut hub, "ca", &IfMatch::Absent).0.unwrap();
    let code_of = |result: Done| result.unwrap_err().code;

    assert_eq!(
        code_of(put(&mut hub, "ca", &IfMatch::Absent).0),
        ErrorCode::PreconditionFailed
    );
    let stale = IfMatch::ETag("stale".into());
    assert_eq!(
        code_of(put(&mut hub, "ca", &stale).0),
        ErrorCode::PreconditionFailed
    );
    assert_eq!(
        code_of(put(&mut hub, "nobody", &IfMatch::Any).0),
        ErrorCode::CertificateNotFound
    );
    for bad in ["", "a b", "ü", "a/b", &"x".repeat(65)] {
        let refused = put(&mut hub, bad, &IfMatch::Absent);
        assert_eq!(code_of(refused.0), ErrorCode::ArgumentInvalid, "{bad:?}");
        assert_eq!(refused.1, Outcome::default());
    }
    hub.wait(5);
    let updated = put(&mut hub, "ca", &IfMatch::ETag(created.etag.clone()));
    let updated = updated.0.unwrap();
    assert_ne!(updated.etag, created.etag);
    assert_eq!(updated.created, T0);
    assert_eq!(updated.updated, T0 + secs(5));

    let operator = hub.operator.clone();
    let (gone, outcome) =
        hub.run(|hub, cx| hub.delete_authority(cx, &operator, "ca", &IfMatch::Any));
    gone.unwrap();
    assert_eq!(
        outcome.changes,
        [Change::DeleteDocument(DocumentKind::Authority, "ca".into())]
    );
    for n in 0..config().limits.authorities {
        put(&mut hub, &format!("ca{n}"), &IfMatch::Absent)
            .0
            .unwrap();
    }
    assert_eq!(
        code_of(put(&mut hub, "more", &IfMatch::Absent).0),
        ErrorCode::IotHubQuotaExceeded
    );
}

#[test]
fn who_may_only_connect_learns_and_changes_nothing() {
    let mut hub = trusting();
    let by = |hub: &Fixture, policy: &str| {
        let token = sign(HOST, T0 + secs(60), Some(policy), &policy_key(policy));
        hub.hub
            .authenticate_service(T0, HOST, &[], Credentials::Token(&token))
            .unwrap()
    };
    let (service, reading) = (by(&hub, "service"), by(&hub, "registryRead"));

    assert!(hub.hub.authorities(&service).is_err());
    assert!(hub.hub.authorities(&reading).is_ok());
    let (refused, outcome) = hub.run(|hub, cx| {
        let certificate = certificate("x");
        hub.put_authority(cx, &reading, "x", certificate, None, &IfMatch::Absent)
    });
    assert!(refused.is_err());
    assert_eq!(outcome, Outcome::default());
}

#[test]
fn authorities_survive_a_restart_and_a_fork() {
    let mut hub = fixture();
    let mut changes = Vec::new();
    for name in ["a", "b", "c"] {
        changes.extend(put(&mut hub, name, &IfMatch::Absent).1.changes);
    }
    let operator = hub.operator.clone();
    let (coded, outcome) =
        hub.run(|hub, cx| hub.generate_verification_code(cx, &operator, "b", &IfMatch::Any));
    coded.unwrap();
    changes.extend(outcome.changes);
    let (gone, outcome) =
        hub.run(|hub, cx| hub.delete_authority(cx, &operator, "c", &IfMatch::Any));
    gone.unwrap();
    changes.extend(outcome.changes);

    let mut restored = Hub::new(config());
    for change in changes {
        restored.restore(change);
    }

    let expected = hub.hub.authorities(&operator).unwrap();
    assert_eq!(expected.len(), 2);
    assert_eq!(restored.authorities(&operator).unwrap(), expected);
    assert_eq!(hub.hub.fork().authorities(&operator).unwrap(), expected);
    assert_eq!(restored.tracking_id(), hub.hub.tracking_id());
    assert_eq!(restored.trust_anchors(), hub.hub.trust_anchors());
}
