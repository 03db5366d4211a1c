//! `spec/amqp.md` 2.2 and 3: tokens that are presented by themselves.

use iothub_hub::{Permission, Proof, Reach, Who};
use iothub_protocol::registry::Status;
use iothub_protocol::sas::{SymmetricKey, sign};
use iothub_protocol::{Error, ErrorCode, Timestamp};

use crate::fixture::{Fixture, HOST, T0, client, fixture, policy_key, resource, secs, spec};

const POLICY: &str = "service";

fn later() -> Timestamp {
    T0 + secs(60)
}

/// A policy's token for this resource, signed as the hub has it.
fn of_policy(resource: &str) -> String {
    sign(resource, later(), Some(POLICY), &policy_key(POLICY))
}

/// The same, signed as event hubs have it: with the key as it is written.
fn of_policy_for_events(resource: &str) -> String {
    let text = policy_key(POLICY).to_base64();
    let key = SymmetricKey::from_bytes(text.as_bytes());
    sign(resource, later(), Some(POLICY), &key)
}

fn present(it: &Fixture, audience: &str, token: &str) -> Result<Proof, Error> {
    it.hub.authenticate_audience(T0, Some(audience), token)
}

#[test]
fn a_token_that_names_no_host_is_for_no_hub() {
    let it = fixture().device("d1");

    for resource in ["/devices/d1", ":5671/devices/d1", "sb:///hub"] {
        let token = of_policy(resource);
        let refusal = it.hub.authenticate_audience(T0, None, &token).unwrap_err();
        assert_eq!(
            refusal.code,
            ErrorCode::IotHubUnauthorizedAccess,
            "{resource}"
        );
    }
}

#[test]
fn an_audience_is_taken_in_every_spelling_of_its_clients() {
    let it = fixture().device("d1").module("d1/m1");
    let (device, module) = (client("d1"), client("d1/m1"));
    let own = sign(&resource(&device), later(), None, &it.key("d1"));
    let modules = sign(&resource(&module), later(), None, &it.key("d1/m1"));
    let hub = of_policy(HOST);
    let entity = of_policy_for_events(&format!("sb://{HOST}/hub"));
    let group = of_policy_for_events(&format!("sb://{HOST}/hub/consumergroups/$Default"));
    let path = |path: &str| Reach::Path(path.to_owned());
    for (audience, token, reach) in [
        (format!("https://{HOST}"), &hub, Reach::Hub),
        (HOST.to_owned(), &hub, Reach::Hub),
        (format!("amqps://{HOST}:5671/"), &hub, Reach::Hub),
        (HOST.to_uppercase(), &hub, Reach::Hub),
        (
            format!("{HOST}%2Fdevices%2Fd1"),
            &own,
            Reach::Client(device.clone()),
        ),
        (
            format!("{HOST}/devices/d1"),
            &own,
            Reach::Client(device.clone()),
        ),
        (
            format!("{HOST}/devices/d1/modules/m1"),
            &modules,
            Reach::Client(module.clone()),
        ),
        (
            format!("{HOST}/devices/d1"),
            &modules,
            Reach::Client(module),
        ),
        (format!("{HOST}/devices/d1"), &hub, Reach::Hub),
        (format!("sb://{HOST}/hub"), &entity, path("hub")),
        (format!("sb://{HOST}/hub/$management"), &entity, path("hub")),
        (
            format!("sb://{HOST}/hub/ConsumerGroups/$Default/Partitions/0"),
            &entity,
            path("hub"),
        ),
        (
            format!("sb://{HOST}/hub/ConsumerGroups/$Default/Partitions/0"),
            &group,
            path("hub/consumergroups/$Default"),
        ),
    ] {
        let proof = present(&it, &audience, token).unwrap_or_else(|error| {
            panic!("{audience}: {error}");
        });

        assert_eq!(proof.reach, reach, "{audience}");
        assert_eq!(proof.until, Some(later() + secs(300)), "{audience}");
    }
}

#[test]
fn a_policys_token_speaks_for_the_policy_and_a_clients_for_the_client() {
    let it = fixture().device("d1").module("d1/m1");
    for id in ["d1", "d1/m1"] {
        let who = client(id);
        let own = sign(&resource(&who), later(), None, &it.key(id));

        let proof = present(&it, &resource(&who), &own).unwrap();

        assert_eq!(proof.principal.who(), &Who::Client(who.clone()));
        assert_eq!(proof.reach, Reach::Client(who));
        assert!(!proof.principal.may(Permission::ServiceConnect));
    }

    let all = format!("{HOST}/devices");
    let proof = present(&it, &format!("{all}/d1"), &of_policy(&all)).unwrap();

    assert_eq!(proof.principal.who(), &Who::Policy(POLICY.into()));
    assert_eq!(proof.reach, Reach::Devices);
    assert!(proof.principal.may(Permission::ServiceConnect));
}

#[test]
fn a_token_that_is_not_for_the_audience_or_not_good_is_refused() {
    let mut it = fixture().device("d1").device("d2").module("d1/m1");
    let own = |id: &str, key: &SymmetricKey| sign(&resource(&client(id)), later(), None, key);
    let d1 = it.key("d1");
    let hub = of_policy(HOST);
    let expired = sign(HOST, T0 - secs(301), Some(POLICY), &policy_key(POLICY));
    for (what, audience, token) in [
        ("another host", "other.example".to_owned(), hub.clone()),
        ("a longer host", format!("{HOST}.org"), hub.clone()),
        ("another device", resource(&client("d2")), own("d1", &d1)),
        (
            "another's module",
            resource(&client("d2")),
            own("d1/m1", &it.key("d1/m1")),
        ),
        (
            "a device's key for its module",
            resource(&client("d1")),
            own("d1/m1", &d1),
        ),
        ("a longer name", resource(&client("d11")), own("d1", &d1)),
        ("the hub", HOST.to_owned(), own("d1", &d1)),
        ("another's key", resource(&client("d2")), own("d2", &d1)),
        ("an unknown device", resource(&client("d3")), own("d3", &d1)),
        (
            "no policy, no client",
            HOST.to_owned(),
            sign(HOST, later(), None, &d1),
        ),
        ("expired", HOST.to_owned(), expired),
        (
            "a changed signature",
            HOST.to_owned(),
            hub.replace("sig=", "sig=A"),
        ),
        (
            "an unknown policy",
            HOST.to_owned(),
            sign(HOST, later(), Some("nobody"), &policy_key(POLICY)),
        ),
        (
            "the hub, signed as for events",
            HOST.to_owned(),
            of_policy_for_events(HOST),
        ),
        ("no token", HOST.to_owned(), "SharedAccessSignature".into()),
        ("nothing", HOST.to_owned(), String::new()),
    ] {
        let refused = present(&it, &audience, &token).expect_err(what);

        assert_eq!(refused.code, ErrorCode::IotHubUnauthorizedAccess, "{what}");
    }

    let mut disabled = spec(&serde_json::json!({}));
    disabled.status = Status::Disabled;
    it.update("d1", disabled).0.unwrap();
    let token = own("d1", &it.key("d1"));
    let refused = present(&it, &resource(&client("d1")), &token).unwrap_err();
    assert_eq!(refused.code, ErrorCode::DeviceDisabled);
}

#[test]
fn without_an_audience_it_is_what_the_token_says() {
    let it = fixture();

    let proof = it.hub.authenticate_audience(T0, None, &of_policy(HOST));

    assert_eq!(proof.unwrap().reach, Reach::Hub);
}

#[test]
fn a_policys_key_itself_opens_events() {
    let it = fixture();
    let key = policy_key(POLICY).to_base64();

    let principal = it.hub.authenticate_key(POLICY, &key).unwrap();

    assert_eq!(principal.who(), &Who::Policy(POLICY.into()));
    assert_eq!(principal.expires(), None);
    for (policy, key) in [
        (POLICY, ""),
        (POLICY, "AAAA"),
        ("device", key.as_str()),
        ("nobody", key.as_str()),
    ] {
        let refused = it.hub.authenticate_key(policy, key).unwrap_err();
        assert_eq!(
            refused.code,
            ErrorCode::IotHubUnauthorizedAccess,
            "{policy}"
        );
    }
}
