//! A running emulator, its identities, and tokens for it.
#![allow(dead_code, reason = "each set of tests uses its part of this")]

use std::time::Duration;

use iothub_emulator::Emulator;
use iothub_emulator::activity::OperationKind;
use iothub_emulator::config::{ClockSetting, Config};
use iothub_hub::Principal;
use iothub_protocol::registry::{Authentication, IdentitySpec, IfMatch};
use iothub_protocol::sas::{SymmetricKey, sign};
use iothub_protocol::{ClientId, Clock, Timestamp};

/// The host of tokens; any name is the hub.
pub(crate) const HOST: &str = "localhost";

pub(crate) async fn emulator() -> Emulator {
    Emulator::start(Config::default()).await.unwrap()
}

/// An emulator whose clock stands at [`noon`].
pub(crate) async fn frozen_emulator() -> Emulator {
    let config = Config {
        clock: ClockSetting::Frozen(noon()),
        ..Config::default()
    };
    Emulator::start(config).await.unwrap()
}

pub(crate) fn noon() -> Timestamp {
    Timestamp::from_unix_seconds(1_900_000_000)
}

/// Registers a device (or a module, its device must exist) and answers its primary key.
pub(crate) async fn register(emulator: &Emulator, client: &str) -> SymmetricKey {
    let spec = IdentitySpec::default();
    match register_as(emulator, client, spec).await {
        Authentication::Sas { primary, .. } => primary,
        other => panic!("{client} authenticates by {other:?}"),
    }
}

/// Registers a device or module as told.
pub(crate) async fn register_as(
    emulator: &Emulator,
    client: &str,
    spec: IdentitySpec,
) -> Authentication {
    let id = ClientId::parse(client).unwrap();
    let operator = Principal::operator();
    let registered = emulator
        .handle()
        .call(OperationKind::PutDevice.on(&id), |hub, cx| {
            match &id.module {
                None => hub
                    .put_device(cx, &operator, &id.device, spec, &IfMatch::Absent)
                    .map(|device| device.authentication),
                Some(module) => hub
                    .put_module(cx, &operator, &id.device, module, spec, &IfMatch::Absent)
                    .map(|module| module.authentication),
            }
        })
        .await;
    registered.unwrap()
}

/// An hour from the emulator's now.
pub(crate) fn in_an_hour(emulator: &Emulator) -> Timestamp {
    emulator.handle().clock().now() + Duration::from_secs(3600)
}

/// What a token of a device or module is for.
pub(crate) fn resource(client: &str) -> String {
    format!("{HOST}/devices/{}", client.replace('/', "/modules/"))
}

/// A token of a device or module for an hour.
pub(crate) fn device_token(emulator: &Emulator, client: &str, key: &SymmetricKey) -> String {
    sign(&resource(client), in_an_hour(emulator), None, key)
}

pub(crate) fn policy_key(policy: &str) -> SymmetricKey {
    let policies = Config::default().all_policies();
    let found = policies.into_iter().find(|known| known.name == policy);
    found.unwrap().primary
}

/// A policy's token for the hub, for an hour.
pub(crate) fn policy_token(emulator: &Emulator, policy: &str) -> String {
    let key = policy_key(policy);
    sign(HOST, in_an_hour(emulator), Some(policy), &key)
}

/// The audience of an event hub's readers.
pub(crate) fn events_resource() -> String {
    format!("sb://{HOST}/{HOST}")
}

/// A policy's token for the event hub, for an hour, as readers of events make it: signed with the
/// key as it is written.
pub(crate) fn events_token(emulator: &Emulator, policy: &str) -> String {
    let text = policy_key(policy).to_base64();
    let key = SymmetricKey::from_bytes(text.as_bytes());
    sign(&events_resource(), in_an_hour(emulator), Some(policy), &key)
}
