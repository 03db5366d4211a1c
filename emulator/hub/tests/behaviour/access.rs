//! `spec/device.md` 3.2 to 3.4, 4.6 and 11; `spec/service.md` 1.1 and 1.2.

use iothub_hub::{
    AuthScope, AuthType, CertificateFacts, Credentials, ExpiredCertificates, Hub, HubConfig,
    Limits, Permission, Principal, Who,
};
use iothub_protocol::method::MethodRequest;
use iothub_protocol::registry::{IdentitySpec, IfMatch};
use iothub_protocol::sas::{SymmetricKey, sign};
use iothub_protocol::twin::TwinPatch;
use iothub_protocol::{Error, ErrorCode, Timestamp};
use serde_json::json;

use crate::fixture::{
    Fixture, HOST, T0, client, config, device, fixture, module, policy_key, secs, spec,
};

const POLICIES: [&str; 5] = [
    "iothubowner",
    "service",
    "device",
    "registryRead",
    "registryReadWrite",
];

fn service_token(policy: &str) -> String {
    sign(HOST, T0 + secs(60), Some(policy), &policy_key(policy))
}

fn as_service(hub: &Hub, path: &[&str], token: &str) -> Result<Principal, Error> {
    let path: Vec<_> = path.iter().map(|&segment| segment.to_owned()).collect();
    hub.authenticate_service(T0, HOST, &path, Credentials::Token(token))
}

fn refusal<T>(result: Result<T, Error>) -> ErrorCode {
    result.map(drop).expect_err("refused").code
}

type Operation = fn(&mut Fixture, &Principal) -> Result<(), Error>;

/// Each operation that a policy can be used for, done on a hub where it would succeed.
fn operations() -> Vec<(&'static str, Permission, Operation)> {
    use Permission::{DeviceConnect, RegistryRead, RegistryWrite, ServiceConnect};
    vec![
        ("read device", RegistryRead, |it, who| {
            it.hub.device(who, &device("d1")).map(drop)
        }),
        ("read module", RegistryRead, |it, who| {
            it.hub.module(who, &device("d1"), &module("m1")).map(drop)
        }),
        ("list devices", RegistryRead, |it, who| {
            it.hub.devices(who, None).map(drop)
        }),
        ("list modules", RegistryRead, |it, who| {
            it.hub.modules(who, &device("d1")).map(drop)
        }),
        ("count devices", RegistryRead, |it, who| {
            it.hub.statistics(who).map(drop)
        }),
        ("write device", RegistryWrite, |it, who| {
            let (spec, etag) = (IdentitySpec::default(), IfMatch::Any);
            it.run(|hub, cx| {
                hub.put_device(cx, who, &device("d1"), spec, &etag)
                    .map(drop)
            })
            .0
        }),
        ("write module", RegistryWrite, |it, who| {
            let (id, spec, etag) = (device("d1"), IdentitySpec::default(), IfMatch::Any);
            it.run(|hub, cx| {
                hub.put_module(cx, who, &id, &module("m1"), spec, &etag)
                    .map(drop)
            })
            .0
        }),
        ("delete device", RegistryWrite, |it, who| {
            it.run(|hub, cx| hub.delete_device(cx, who, &device("d1"), &IfMatch::Any))
                .0
        }),
        ("delete module", RegistryWrite, |it, who| {
            let id = device("d1");
            it.run(|hub, cx| hub.delete_module(cx, who, &id, &module("m1"), &IfMatch::Any))
                .0
        }),
        ("bulk", RegistryWrite, |it, who| {
            it.run(|hub, cx| hub.bulk(cx, who, Vec::new()).map(drop)).0
        }),
        ("count connections", ServiceConnect, |it, who| {
            it.hub.connected_devices(who).map(drop)
        }),
        ("read twin", ServiceConnect, |it, who| {
            it.hub.twin(who, &client("d1")).map(drop)
        }),
        ("patch twin", ServiceConnect, |it, who| {
            let (id, patch) = (client("d1"), TwinPatch::default());
            it.run(|hub, cx| hub.patch_twin(cx, who, &id, patch, &IfMatch::Any).map(drop))
                .0
        }),
        ("replace twin", ServiceConnect, |it, who| {
            let (id, twin) = (client("d1"), TwinPatch::default());
            it.run(|hub, cx| {
                hub.replace_twin(cx, who, &id, twin, &IfMatch::Any)
                    .map(drop)
            })
            .0
        }),
        ("invoke method", ServiceConnect, |it, who| {
            let mut request = MethodRequest::new("reboot");
            request.connect_timeout = secs(5);
            it.run(|hub, cx| hub.invoke_method(cx, who, &client("d1"), request).map(drop))
                .0
        }),
        ("connect as a device", DeviceConnect, |it, who| {
            let mut request = it.request("d1");
            request.principal = who.clone();
            it.run(|hub, cx| hub.connect(cx, request).map(drop)).0
        }),
    ]
}

#[test]
fn each_policy_may_do_what_it_grants_and_nothing_else() {
    let hub = fixture().device("d1").module("d1/m1");
    for policy in POLICIES {
        let caller = as_service(&hub.hub, &["devices"], &service_token(policy)).unwrap();
        for (name, permission, operation) in operations() {
            let result = operation(&mut hub.clone(), &caller);

            let rights = config()
                .policies
                .into_iter()
                .find(|it| it.name == policy)
                .unwrap();
            let allowed = rights.permissions.contains(permission);
            let expected = if allowed {
                Ok(())
            } else {
                Err(ErrorCode::IotHubUnauthorizedAccess)
            };
            assert_eq!(
                result.map_err(|error| error.code),
                expected,
                "{policy}: {name}"
            );
        }
    }
}

#[test]
fn a_device_may_do_nothing_of_a_back_end() {
    let hub = fixture().device("d1").module("d1/m1");
    let caller = hub.principal("d1");

    for (name, permission, operation) in operations() {
        let result = operation(&mut hub.clone(), &caller);

        assert_eq!(
            result.is_ok(),
            permission == Permission::DeviceConnect,
            "{name}"
        );
    }
}

#[test]
fn the_default_policies_grant_what_the_reference_says() {
    use Permission::{DeviceConnect, RegistryRead, RegistryWrite, ServiceConnect};
    let all = [RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect];
    for (policy, granted) in [
        ("iothubowner", &all[..]),
        ("service", &[ServiceConnect]),
        ("device", &[DeviceConnect]),
        ("registryRead", &[RegistryRead]),
        ("registryReadWrite", &[RegistryRead, RegistryWrite]),
    ] {
        let policy = config()
            .policies
            .into_iter()
            .find(|it| it.name == policy)
            .unwrap();
        for permission in all {
            let contains = policy.permissions.contains(permission);
            assert_eq!(
                contains,
                granted.contains(&permission),
                "{} {permission:?}",
                policy.name
            );
        }
    }
}

#[test]
fn writing_the_registry_implies_reading_it() {
    let write = iothub_hub::Permissions::of(&[Permission::RegistryWrite]);

    assert!(write.contains(Permission::RegistryRead));
    assert!(!write.contains(Permission::ServiceConnect));
}

#[test]
fn a_service_token_covers_its_resource_and_what_is_below_by_whole_segments() {
    let hub = fixture();
    for (sr, path, covered) in [
        (HOST, &["devices", "d1"][..], true),
        ("HUB.EXAMPLE", &["devices"], true),
        ("hub.example/", &["devices"], true),
        ("https://hub.example", &["devices"], true),
        ("hub.example:443", &["devices"], true),
        ("hub.example/devices", &["devices", "d1"], true),
        (
            "hub.example/devices/d1",
            &["devices", "d1", "modules"],
            true,
        ),
        ("hub.example/devices/d", &["devices", "d1"], false),
        ("hub.example/devices/d1", &["devices"], false),
        ("hub.example/devices", &["twins", "d1"], false),
    ] {
        let token = sign(
            sr,
            T0 + secs(60),
            Some("iothubowner"),
            &policy_key("iothubowner"),
        );

        assert_eq!(
            as_service(&hub.hub, path, &token).is_ok(),
            covered,
            "{sr} for {path:?}"
        );
    }
}

#[test]
fn either_key_of_a_policy_signs() {
    let hub = fixture();
    let sign_with = |key: &SymmetricKey| sign(HOST, T0 + secs(60), Some("service"), key);

    for (key, good) in [
        (policy_key("service"), true),
        (policy_key("service, the other"), true),
        (policy_key("device"), false),
    ] {
        let caller = as_service(&hub.hub, &["twins"], &sign_with(&key));
        assert_eq!(caller.is_ok(), good);
    }
}

#[test]
fn back_ends_without_a_good_token_are_all_refused_alike() {
    let hub = fixture().device("d1");
    let own = sign(HOST, T0 + secs(60), None, &hub.key("d1"));
    let unknown = sign(HOST, T0 + secs(60), Some("nobody"), &policy_key("nobody"));
    let expired = sign(
        HOST,
        Timestamp::UNIX_EPOCH,
        Some("service"),
        &policy_key("service"),
    );
    for (token, why) in [
        ("", "unreadable token"),
        ("Bearer abc", "unreadable token"),
        (&own, "names no policy"),
        (&unknown, "no policy nobody"),
        (&expired, "expired"),
    ] {
        let error = as_service(&hub.hub, &["twins"], token).unwrap_err();

        assert_eq!(error.code, ErrorCode::IotHubUnauthorizedAccess);
        assert!(error.detail.contains(why), "{}", error.detail);
    }
    let nothing = hub
        .hub
        .authenticate_service(T0, HOST, &[], Credentials::None);
    assert_eq!(refusal(nothing), ErrorCode::IotHubUnauthorizedAccess);
}

#[test]
fn a_token_is_good_until_five_minutes_after_its_expiry() {
    let mut hub = fixture().device("d1");
    let token = sign(
        "hub.example/devices/d1",
        T0 + secs(60),
        None,
        &hub.key("d1"),
    );

    hub.wait(360);
    assert!(hub.authenticate("d1", &token).is_ok());
    hub.wait(1);
    let error = hub.authenticate("d1", &token).unwrap_err();
    assert_eq!(error.code, ErrorCode::IotHubUnauthorizedAccess);
    assert!(error.detail.contains("token expired 301 s ago") || error.detail.contains("5 min ago"));
}

#[test]
fn a_token_that_never_ends_is_good() {
    let mut hub = fixture().device("d1");
    let for_ever = Timestamp::from_unix_seconds(i64::MAX);
    let token = sign("hub.example/devices/d1", for_ever, None, &hub.key("d1"));

    let principal = hub.authenticate("d1", &token).unwrap();

    assert!(
        hub.connect_with("d1", |request| request.principal = principal)
            .0
            .is_ok()
    );
}

#[test]
fn a_key_opens_its_own_identity_by_its_whole_name() {
    let hub = fixture()
        .device("d1")
        .device("d2")
        .module("d1/m1")
        .module("d1/m2");
    for (key, sr, who, good) in [
        ("d1", "devices/d1", "d1", true),
        ("d1", "devices/d1/", "d1", true),
        ("d1", "devices/d1/messages/events", "d1", true),
        ("d1", "devices/d1/api-version=2016-11-14", "d1", true),
        ("d1", "devices", "d1", false),
        ("d1", "", "d1", false),
        ("d1", "devices/d1", "d2", false),
        ("d1", "devices/d2", "d2", false),
        ("d1", "devices/D1", "d1", false),
        ("d1", "devices/d1", "d1/m1", false),
        // What is signed for a module is not for its device (`spec/device.md` 18, Q23).
        ("d1", "devices/d1/modules/m1", "d1", false),
        ("d1", "devices/d1/modules/m1", "d1/m1", false),
        ("d1/m1", "devices/d1/modules/m1", "d1/m1", true),
        ("d1/m1", "devices/d1/modules/m1/messages", "d1/m1", true),
        ("d1/m1", "devices/d1/modules/m1", "d1/m2", false),
        ("d1/m1", "devices/d1", "d1/m1", false),
        ("d1/m1", "devices/d1", "d1", false),
    ] {
        let token = sign(&format!("{HOST}/{sr}"), T0 + secs(60), None, &hub.key(key));

        let result = hub.authenticate(who, &token);

        assert_eq!(
            result.is_ok(),
            good,
            "key of {key}, sr {sr}, as {who}: {result:?}"
        );
    }
}

#[test]
fn a_policy_token_opens_every_identity_below_its_resource() {
    let hub = fixture().device("d1").device("d2").module("d1/m1");
    for (sr, who, good) in [
        ("", "d1", true),
        ("", "d1/m1", true),
        ("/devices", "d2", true),
        ("/devices/d1", "d1", true),
        ("/devices/d1", "d1/m1", true),
        ("/devices/d1/modules", "d1/m1", true),
        ("/devices/d1/modules/m1", "d1/m1", true),
        ("/devices/d1", "d2", false),
        ("/devices/d1/modules/m1", "d1", false),
        ("/twins", "d1", false),
    ] {
        let token = sign(
            &format!("{HOST}{sr}"),
            T0 + secs(60),
            Some("device"),
            &policy_key("device"),
        );

        assert_eq!(
            hub.authenticate(who, &token).is_ok(),
            good,
            "sr {sr} as {who}"
        );
    }
}

#[test]
fn a_policy_without_device_connect_opens_no_device() {
    let hub = fixture().device("d1");

    for policy in POLICIES {
        let result = hub.authenticate("d1", &service_token(policy));
        assert_eq!(
            result.is_ok(),
            ["iothubowner", "device"].contains(&policy),
            "{policy}"
        );
    }
}

#[test]
fn the_principal_tells_whose_credential_it_was() {
    let mut hub = fixture().device("d1").module("d1/m1");
    let by_policy = hub.authenticate("d1", &service_token("device")).unwrap();

    assert_eq!(hub.principal("d1").who(), &Who::Client(client("d1")));
    assert_eq!(by_policy.who(), &Who::Policy("device".into()));
    assert_eq!(by_policy.expires(), Some(T0 + secs(60)));
    for (principal, scope) in [
        (hub.principal("d1"), AuthScope::Device),
        (by_policy, AuthScope::Hub),
    ] {
        let session = hub
            .connect_with("d1", |it| it.principal = principal)
            .0
            .unwrap()
            .session;
        let event = crate::telemetry::send(&mut hub, session, "x");
        assert_eq!(event.origin.auth_method.scope, scope);
        assert_eq!(event.origin.auth_method.kind, AuthType::Sas);
    }
    let session = hub.connect("d1/m1");
    let event = crate::telemetry::send(&mut hub, session, "x");
    assert_eq!(
        event.origin.auth_method.to_json(),
        r#"{"scope":"module","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#
    );
}

#[test]
fn a_token_is_for_the_name_that_its_user_connected_to() {
    let hub = fixture().device("d1");
    let as_host = |hub: &Hub, host: &str, token: &str| {
        hub.authenticate_client(T0, host, &client("d1"), Credentials::Token(token))
            .is_ok()
    };
    let token = sign(
        "other.example/devices/d1",
        T0 + secs(60),
        None,
        &hub.key("d1"),
    );

    assert!(as_host(&hub.hub, "other.example", &token));
    assert!(as_host(&hub.hub, "OTHER.example:8883", &token));
    assert!(!as_host(&hub.hub, HOST, &token));

    let host_names = vec![HOST.into(), "alias.example".into()];
    let named = Fixture::with(HubConfig {
        host_names,
        ..config()
    })
    .device("d1");
    let alias = sign(
        "alias.example/devices/d1",
        T0 + secs(60),
        None,
        &named.key("d1"),
    );
    assert!(as_host(&named.hub, HOST, &alias));
    assert!(!as_host(&named.hub, "other.example", &token));
    assert!(
        !as_host(&named.hub, "other.example", &alias),
        "who connects to another hub's name is not ours"
    );
}

#[test]
fn behind_a_gateway_a_token_is_for_the_hubs_own_name() {
    let anywhere = |hub: &Fixture, host: &str| {
        let resource = format!("{host}/devices/d1");
        let token = sign(&resource, T0 + secs(60), None, &hub.key("d1"));
        let credentials = Credentials::Token(&token);
        hub.hub
            .authenticate_client_anywhere(T0, &client("d1"), credentials)
            .is_ok()
    };
    let unnamed = fixture().device("d1");
    let host_names = vec![HOST.into()];
    let named = Fixture::with(HubConfig {
        host_names,
        ..config()
    })
    .device("d1");

    assert!(anywhere(&unnamed, HOST) && anywhere(&unnamed, "other.example"));
    assert!(anywhere(&named, HOST) && !anywhere(&named, "other.example"));
}

#[test]
fn unknown_and_disabled_clients_are_refused() {
    let mut hub = fixture().device("d1").module("d1/m1");
    let nobody = sign(
        "hub.example/devices/d2",
        T0 + secs(60),
        None,
        &policy_key("nobody"),
    );
    let module = sign(
        "hub.example/devices/d1/modules/m1",
        T0 + secs(60),
        None,
        &hub.key("d1/m1"),
    );
    hub.update("d1", spec(&json!({"status": "disabled"})))
        .0
        .unwrap();
    let own = sign(
        "hub.example/devices/d1",
        T0 + secs(60),
        None,
        &hub.key("d1"),
    );

    assert_eq!(
        refusal(hub.authenticate("d2", &nobody)),
        ErrorCode::IotHubUnauthorizedAccess
    );
    assert_eq!(
        refusal(hub.authenticate("d1/m9", &nobody)),
        ErrorCode::IotHubUnauthorizedAccess
    );
    assert_eq!(
        refusal(hub.authenticate("d1", &own)),
        ErrorCode::DeviceDisabled
    );
    assert_eq!(
        refusal(hub.authenticate("d1/m1", &module)),
        ErrorCode::DeviceDisabled
    );
}

fn certificate(sha1: &str) -> CertificateFacts {
    CertificateFacts {
        sha1: sha1.repeat(40),
        sha256: sha1.repeat(64),
        common_name: Some("d1".into()),
        not_before: T0,
        not_after: T0 + secs(60),
        issuer: "CN=d1".into(),
        issued_by: Vec::new(),
    }
}

fn by_certificate(hub: &Fixture, id: &str, facts: &CertificateFacts) -> Result<Principal, Error> {
    hub.hub
        .authenticate_client(hub.now, HOST, &client(id), Credentials::Certificate(facts))
}

#[test]
fn a_certificate_is_known_by_either_thumbprint_of_either_length_in_any_case() {
    let mut hub = fixture();
    let thumbprints =
        json!({"primaryThumbprint": "a".repeat(40), "secondaryThumbprint": "B".repeat(64)});
    hub.put(
        "d1",
        spec(&json!({"authentication": {"x509Thumbprint": thumbprints}})),
    )
    .0
    .unwrap();

    assert!(by_certificate(&hub, "d1", &certificate("A")).is_ok());
    assert!(by_certificate(&hub, "d1", &certificate("b")).is_ok());
    let error = by_certificate(&hub, "d1", &certificate("c")).unwrap_err();
    assert_eq!(error.code, ErrorCode::IotHubUnauthorizedAccess);
    assert!(
        error
            .detail
            .starts_with("Thumbprint does not match configuration")
    );
}

#[test]
fn a_certificate_counts_only_while_it_is_valid_and_only_where_one_is_asked_for() {
    let mut hub = fixture().device("sas");
    let thumbprints = json!({"primaryThumbprint": "a".repeat(40)});
    hub.put(
        "d1",
        spec(&json!({"authentication": {"x509Thumbprint": thumbprints}})),
    )
    .0
    .unwrap();
    let ca = json!({"authentication": {"type": "certificateAuthority"}});
    hub.put("ca", spec(&ca)).0.unwrap();
    let facts = certificate("a");
    let token = sign(
        "hub.example/devices/d1",
        T0 + secs(60),
        None,
        &policy_key("d1"),
    );

    assert!(by_certificate(&hub, "sas", &facts).is_err());
    assert!(by_certificate(&hub, "ca", &facts).is_err());
    assert!(hub.authenticate("d1", &token).is_err());
    hub.now = T0 + secs(60);
    assert!(by_certificate(&hub, "d1", &facts).is_ok());
    hub.now = T0 + secs(61);
    assert!(by_certificate(&hub, "d1", &facts).is_err());
    hub.now = Timestamp::from_unix_seconds(T0.unix_seconds() - 1);
    assert!(by_certificate(&hub, "d1", &facts).is_err());
}

/// `spec/device.md` Q19: whether the date counts when the thumbprint fits is a setting.
#[test]
fn an_expired_certificate_with_the_right_thumbprint_counts_where_that_is_set() {
    let mut hub = Fixture::with(HubConfig {
        limits: Limits {
            expired_certificates: ExpiredCertificates::Accept,
            ..Limits::default()
        },
        ..config()
    });
    let thumbprints = json!({"primaryThumbprint": "a".repeat(40)});
    let authentication = json!({"authentication": {"x509Thumbprint": thumbprints}});
    hub.put("d1", spec(&authentication)).0.unwrap();

    hub.now = T0 + secs(3600);

    assert!(by_certificate(&hub, "d1", &certificate("a")).is_ok());
    assert!(by_certificate(&hub, "d1", &certificate("b")).is_err());
}
