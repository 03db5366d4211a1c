//! The identity registry: who may connect, and with which key (`spec/service.md` 2).

use http::Method;
use iothub_protocol::ClientId;
use iothub_protocol::registry::{
    AuthenticationSpec, DeviceIdentity, IdentitySpec, IfMatch, ModuleIdentity, Status,
};
use serde_json::{Map, Value, json};

use crate::transport::{self, Answer, Call, Transport};
use crate::{Error, ErrorKind};

mod bulk;
mod hierarchy;
mod keys;

pub use bulk::{BulkFailure, BulkOutcome};
pub use keys::{KeyKind, KeyRotation, RotatedKeys};

/// The device and module identities of a hub. Modules are named `"d1/m1"`.
#[derive(Clone, Copy)]
pub struct Registry<'a> {
    transport: &'a Transport,
}

impl<'a> Registry<'a> {
    pub(crate) fn new(transport: &'a Transport) -> Self {
        Self { transport }
    }

    /// Registers a device. Refused with `DeviceAlreadyExists` if there is one of that name.
    pub async fn create_device(
        self,
        device: &(impl ToString + ?Sized),
        spec: &IdentitySpec,
    ) -> Result<DeviceIdentity, Error> {
        self.put_device(device, spec, &IfMatch::Absent).await
    }

    /// Replaces what can be written of a device's identity. [`IfMatch::Absent`] stands for
    /// [`IfMatch::Any`] here, since a PUT without a condition creates.
    pub async fn update_device(
        self,
        device: &(impl ToString + ?Sized),
        spec: &IdentitySpec,
        if_match: &IfMatch,
    ) -> Result<DeviceIdentity, Error> {
        self.put_device(device, spec, at_least_any(if_match)).await
    }

    /// A device's identity. Refused with `DeviceNotFound` if there is none.
    pub async fn device(self, device: &(impl ToString + ?Sized)) -> Result<DeviceIdentity, Error> {
        let device = device_id(device)?;
        let call = Call::new(Method::GET, &["devices", device.device.as_str()]);
        read(&self.transport.send(call).await?, DeviceIdentity::parse)
    }

    /// Removes a device with its modules, twins and queues.
    pub async fn delete_device(
        self,
        device: &(impl ToString + ?Sized),
        if_match: &IfMatch,
    ) -> Result<(), Error> {
        self.delete(&device_id(device)?, if_match).await
    }

    /// Devices in no particular order, at most `top` of them (the hub's own limit is 1000).
    pub async fn devices(self, top: usize) -> Result<Vec<DeviceIdentity>, Error> {
        let call = Call::new(Method::GET, &["devices"]).query("top", &top.to_string());
        read_all(&self.transport.send(call).await?, DeviceIdentity::parse)
    }

    /// Registers a module. Refused with `ModuleAlreadyExistsOnDevice` if there is one of that name.
    pub async fn create_module(
        self,
        module: &(impl ToString + ?Sized),
        spec: &IdentitySpec,
    ) -> Result<ModuleIdentity, Error> {
        self.put_module(module, spec, &IfMatch::Absent).await
    }

    /// Replaces what can be written of a module's identity; conditions as with
    /// [`Self::update_device`].
    pub async fn update_module(
        self,
        module: &(impl ToString + ?Sized),
        spec: &IdentitySpec,
        if_match: &IfMatch,
    ) -> Result<ModuleIdentity, Error> {
        self.put_module(module, spec, at_least_any(if_match)).await
    }

    /// A module's identity. Refused with `DeviceNotFound` or `ModuleNotFound`.
    pub async fn module(self, module: &(impl ToString + ?Sized)) -> Result<ModuleIdentity, Error> {
        let module = module_id(module)?;
        let call = Call::new(
            Method::GET,
            &transport::client_path("devices", &module, &[]),
        );
        read(&self.transport.send(call).await?, ModuleIdentity::parse)
    }

    /// Removes a module.
    pub async fn delete_module(
        self,
        module: &(impl ToString + ?Sized),
        if_match: &IfMatch,
    ) -> Result<(), Error> {
        self.delete(&module_id(module)?, if_match).await
    }

    /// The modules of a device.
    pub async fn modules(
        self,
        device: &(impl ToString + ?Sized),
    ) -> Result<Vec<ModuleIdentity>, Error> {
        let device = device_id(device)?;
        let path = transport::client_path("devices", &device, &["modules"]);
        read_all(
            &self.transport.send(Call::new(Method::GET, &path)).await?,
            ModuleIdentity::parse,
        )
    }

    /// How many devices there are.
    pub async fn statistics(self) -> Result<Statistics, Error> {
        let call = Call::new(Method::GET, &["statistics", "devices"]);
        read(&self.transport.send(call).await?, Statistics::from_json)
    }

    /// How many devices are connected.
    pub async fn connected_devices(self) -> Result<u64, Error> {
        let call = Call::new(Method::GET, &["statistics", "service"]);
        let connected = |value: &Value| value.get("connectedDeviceCount")?.as_u64();
        read(&self.transport.send(call).await?, connected)
    }

    async fn put_device(
        self,
        device: &(impl ToString + ?Sized),
        spec: &IdentitySpec,
        if_match: &IfMatch,
    ) -> Result<DeviceIdentity, Error> {
        let device = device_id(device)?;
        read(
            &self.put(&device, spec, if_match).await?,
            DeviceIdentity::parse,
        )
    }

    async fn put_module(
        self,
        module: &(impl ToString + ?Sized),
        spec: &IdentitySpec,
        if_match: &IfMatch,
    ) -> Result<ModuleIdentity, Error> {
        let module = module_id(module)?;
        read(
            &self.put(&module, spec, if_match).await?,
            ModuleIdentity::parse,
        )
    }

    async fn put(
        self,
        client: &ClientId,
        spec: &IdentitySpec,
        if_match: &IfMatch,
    ) -> Result<Answer, Error> {
        let path = transport::client_path("devices", client, &[]);
        let call = Call::new(Method::PUT, &path)
            .if_match(if_match)
            .json(&spec_json(client, spec));
        self.transport.send(call).await
    }

    async fn delete(self, client: &ClientId, if_match: &IfMatch) -> Result<(), Error> {
        let path = transport::client_path("devices", client, &[]);
        let call = Call::new(Method::DELETE, &path).if_match(at_least_any(if_match));
        self.transport.send(call).await.map(drop)
    }
}

/// How many devices a hub has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// All of them.
    pub total: u64,
    /// Those that may connect.
    pub enabled: u64,
    /// Those that may not.
    pub disabled: u64,
}

impl Statistics {
    fn from_json(value: &Value) -> Option<Self> {
        let count = |name: &str| value.get(name)?.as_u64();
        Some(Self {
            total: count("totalDeviceCount")?,
            enabled: count("enabledDeviceCount")?,
            disabled: count("disabledDeviceCount")?,
        })
    }
}

/// The body of a PUT: what `spec` says, and the names that the path has too.
fn spec_json(client: &ClientId, spec: &IdentitySpec) -> Value {
    let mut body = Map::new();
    body.insert("deviceId".into(), client.device.as_str().into());
    if let Some(module) = &client.module {
        body.insert("moduleId".into(), module.as_str().into());
        body.insert("managedBy".into(), spec.managed_by.as_deref().into());
    } else {
        let status = match spec.status {
            Status::Enabled => "enabled",
            Status::Disabled => "disabled",
        };
        body.insert("status".into(), status.into());
        body.insert("statusReason".into(), spec.status_reason.as_deref().into());
        body.insert("capabilities".into(), json!({"iotEdge": spec.iot_edge}));
        if let Some(scope) = &spec.device_scope {
            body.insert("deviceScope".into(), scope.as_str().into());
        }
        if let Some(scopes) = &spec.parent_scopes {
            body.insert("parentScopes".into(), scopes.clone().into());
        }
    }
    body.insert(
        "authentication".into(),
        authentication_json(&spec.authentication),
    );
    Value::Object(body)
}

/// The writable form of `spec/service.md` 2.4: absent keys ask the hub to make them.
fn authentication_json(authentication: &AuthenticationSpec) -> Value {
    match authentication {
        AuthenticationSpec::Sas(None) => json!({"type": "sas"}),
        AuthenticationSpec::Sas(Some((primary, secondary))) => json!({
            "type": "sas",
            "symmetricKey": {
                "primaryKey": primary.to_base64(),
                "secondaryKey": secondary.to_base64(),
            },
        }),
        AuthenticationSpec::SelfSigned { primary, secondary } => json!({
            "type": "selfSigned",
            "x509Thumbprint": {"primaryThumbprint": primary, "secondaryThumbprint": secondary},
        }),
        AuthenticationSpec::CertificateAuthority => json!({"type": "certificateAuthority"}),
        AuthenticationSpec::None => json!({"type": "none"}),
    }
}

fn at_least_any(if_match: &IfMatch) -> &IfMatch {
    match if_match {
        IfMatch::Absent => &IfMatch::Any,
        IfMatch::Any | IfMatch::ETag(_) => if_match,
    }
}

fn device_id(device: &(impl ToString + ?Sized)) -> Result<ClientId, Error> {
    let client = transport::client_id(device)?;
    match client.module {
        None => Ok(client),
        Some(_) => Err(Error::new(ErrorKind::InvalidId(device.to_string()))),
    }
}

fn module_id(module: &(impl ToString + ?Sized)) -> Result<ClientId, Error> {
    let client = transport::client_id(module)?;
    match client.module {
        Some(_) => Ok(client),
        None => Err(Error::new(ErrorKind::InvalidId(module.to_string()))),
    }
}

fn read<T>(answer: &Answer, parse: impl Fn(&Value) -> Option<T>) -> Result<T, Error> {
    parse(&answer.json()?).ok_or_else(unreadable)
}

fn read_all<T>(answer: &Answer, parse: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, Error> {
    let value = answer.json()?;
    let items = value.as_array().ok_or_else(unreadable)?;
    items
        .iter()
        .map(parse)
        .collect::<Option<_>>()
        .ok_or_else(unreadable)
}

fn unreadable() -> Error {
    Error::new(ErrorKind::UnexpectedAnswer(
        "a registry document that cannot be read".into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_device_asks_the_hub_to_make_its_keys() {
        let body = spec_json(&ClientId::parse("d1").unwrap(), &IdentitySpec::default());

        assert_eq!(
            body,
            json!({
                "deviceId": "d1",
                "status": "enabled",
                "statusReason": null,
                "capabilities": {"iotEdge": false},
                "authentication": {"type": "sas"},
            })
        );
    }

    #[test]
    fn module_has_neither_status_nor_capabilities() {
        let body = spec_json(&ClientId::parse("d1/m1").unwrap(), &IdentitySpec::default());

        assert_eq!(
            body,
            json!({
                "deviceId": "d1",
                "moduleId": "m1",
                "managedBy": null,
                "authentication": {"type": "sas"},
            })
        );
    }

    #[test]
    fn device_and_module_names_are_not_mixed_up() {
        assert!(device_id("d1/m1").is_err());
        assert!(module_id("d1").is_err());
    }
}
