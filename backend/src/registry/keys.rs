//! New keys for devices and modules (`spec/service.md` 2.4).

use http::Method;
use iothub_protocol::registry::{
    AuthenticationSpec, DeviceIdentity, IdentitySpec, IfMatch, ModuleIdentity,
};
use serde_json::{Value, json};

use super::{BulkFailure, Registry};
use crate::document::unexpected;
use crate::transport::{self, Call};
use crate::{Error, ErrorKind};

/// Which key of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// The first.
    Primary,
    /// The second.
    Secondary,
    /// The two of them.
    Both,
}

/// What became of a request for new keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRotation {
    /// The identities that have new keys.
    pub rotated: Vec<RotatedKeys>,
    /// Those that have not, and why.
    pub failures: Vec<BulkFailure>,
}

/// The keys of an identity after they were made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotatedKeys {
    /// The device.
    pub device_id: String,
    /// Its module, if it was about one.
    pub module_id: Option<String>,
    /// The first key (base64); empty when the hub does not say.
    pub primary_key: String,
    /// The second key (base64); empty when the hub does not say.
    pub secondary_key: String,
}

impl Registry<'_> {
    /// Makes new keys for up to 100 devices (`"d1"`) and modules (`"d1/m1"`), for each by itself:
    /// that some failed is an outcome, not an error. Identities without keys fail.
    pub async fn regenerate_keys(
        self,
        kind: KeyKind,
        clients: &[impl ToString],
    ) -> Result<KeyRotation, Error> {
        let devices: Result<Vec<Value>, Error> = clients
            .iter()
            .map(|client| {
                let client = transport::client_id(client)?;
                let mut device = json!({"id": client.device.as_str()});
                if let Some(module) = &client.module {
                    device["moduleId"] = module.as_str().into();
                }
                Ok(device)
            })
            .collect();
        let policy_key = match kind {
            KeyKind::Primary => "primaryKey",
            KeyKind::Secondary => "secondaryKey",
            KeyKind::Both => "both",
        };
        let call = Call::new(Method::POST, &["devices", "keys", "regenerate"])
            .json(&json!({"policyKey": policy_key, "devices": devices?}));
        let answer = self.transport.send_whatever_comes(call).await?;
        match answer.json().ok().as_ref().and_then(KeyRotation::from_json) {
            Some(rotation) if matches!(answer.status, 200 | 207 | 400) => Ok(rotation),
            _ if (200..300).contains(&answer.status) => {
                Err(unexpected("new keys that cannot be read".into()))
            }
            _ => Err(answer.refusal()),
        }
    }

    /// Exchanges the two keys of a device, if nobody else changes it meanwhile.
    pub async fn swap_device_keys(
        self,
        device: &(impl ToString + ?Sized),
    ) -> Result<DeviceIdentity, Error> {
        let current = self.device(device).await?;
        let if_match = IfMatch::ETag(current.etag.clone());
        let spec = swapped(IdentitySpec::from(current), device)?;
        self.update_device(device, &spec, &if_match).await
    }

    /// Exchanges the two keys of a module, if nobody else changes it meanwhile.
    pub async fn swap_module_keys(
        self,
        module: &(impl ToString + ?Sized),
    ) -> Result<ModuleIdentity, Error> {
        let current = self.module(module).await?;
        let if_match = IfMatch::ETag(current.etag.clone());
        let spec = swapped(IdentitySpec::from(current), module)?;
        self.update_module(module, &spec, &if_match).await
    }
}

fn swapped(
    mut spec: IdentitySpec,
    client: &(impl ToString + ?Sized),
) -> Result<IdentitySpec, Error> {
    let AuthenticationSpec::Sas(Some((primary, secondary))) = spec.authentication else {
        let what = format!("{} has no keys", client.to_string());
        return Err(Error::new(ErrorKind::Unsuitable(what)));
    };
    spec.authentication = AuthenticationSpec::Sas(Some((secondary, primary)));
    Ok(spec)
}

impl KeyRotation {
    fn from_json(value: &Value) -> Option<Self> {
        let rotated = value.get("rotatedKeys")?.as_array()?;
        let errors = value.get("errors").and_then(Value::as_array);
        Some(Self {
            rotated: rotated.iter().map(RotatedKeys::from_json).collect(),
            failures: errors
                .into_iter()
                .flatten()
                .map(|error| BulkFailure::from_json(error, "id"))
                .collect(),
        })
    }
}

impl RotatedKeys {
    fn from_json(value: &Value) -> Self {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            device_id: text("id").unwrap_or_default(),
            module_id: text("moduleId").filter(|module| !module.is_empty()),
            primary_key: text("primaryKey").unwrap_or_default(),
            secondary_key: text("secondaryKey").unwrap_or_default(),
        }
    }
}
