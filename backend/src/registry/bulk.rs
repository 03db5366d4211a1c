//! Many identities at once (`spec/service.md` 2.7).

use http::Method;
use iothub_protocol::registry::{IdentitySpec, IfMatch};
use iothub_protocol::{ClientId, ErrorCode};
use serde_json::Value;

use super::{Registry, spec_json};
use crate::Error;
use crate::transport::{self, Call};

impl Registry<'_> {
    /// Applies up to 100 items of `spec/service.md` 2.7, each by itself: that some failed is an
    /// outcome, not an error.
    pub async fn bulk(self, items: &[Value]) -> Result<BulkOutcome, Error> {
        let call = Call::new(Method::POST, &["devices"]).json(&Value::Array(items.to_vec()));
        let answer = self.transport.send_whatever_comes(call).await?;
        match answer.json().ok().as_ref().and_then(BulkOutcome::from_json) {
            Some(outcome) if matches!(answer.status, 200 | 400) => Ok(outcome),
            _ => Err(answer.refusal()),
        }
    }

    /// Registers up to 100 devices (`"d1"`) and modules (`"d1/m1"`).
    pub async fn add_all(self, identities: &[(&str, IdentitySpec)]) -> Result<BulkOutcome, Error> {
        self.bulk(&items(identities, "create")?).await
    }

    /// Replaces what can be written of up to 100 identities; one whose spec has an etag only if it
    /// still has that.
    pub async fn update_all(
        self,
        identities: &[(&str, IdentitySpec)],
    ) -> Result<BulkOutcome, Error> {
        let mut items = items(identities, "update")?;
        for (item, (_, spec)) in items.iter_mut().zip(identities) {
            if let Some(etag) = &spec.etag {
                item["eTag"] = etag.as_str().into();
                item["importMode"] = "updateIfMatchETag".into();
            }
        }
        self.bulk(&items).await
    }

    /// Removes up to 100 devices and modules, each on its own condition.
    pub async fn remove_all(self, identities: &[(&str, IfMatch)]) -> Result<BulkOutcome, Error> {
        let items: Result<Vec<_>, Error> = identities
            .iter()
            .map(|(client, if_match)| {
                let mut item = item(&transport::client_id(*client)?, "delete");
                if let IfMatch::ETag(etag) = if_match {
                    item["eTag"] = etag.as_str().into();
                    item["importMode"] = "deleteIfMatchETag".into();
                }
                Ok(item)
            })
            .collect();
        self.bulk(&items?).await
    }
}

fn items(identities: &[(&str, IdentitySpec)], mode: &str) -> Result<Vec<Value>, Error> {
    identities
        .iter()
        .map(|(client, spec)| {
            let client = transport::client_id(*client)?;
            let mut item = item(&client, mode);
            if let Value::Object(members) = spec_json(&client, spec) {
                let named = |name: &str| matches!(name, "deviceId" | "moduleId");
                for (name, value) in members.into_iter().filter(|(name, _)| !named(name)) {
                    item[name] = value;
                }
            }
            Ok(item)
        })
        .collect()
}

fn item(client: &ClientId, mode: &str) -> Value {
    let mut item = serde_json::json!({"id": client.device.as_str()});
    if let Some(module) = &client.module {
        item["moduleId"] = module.as_str().into();
    }
    item["importMode"] = mode.into();
    item
}

/// What became of a bulk request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkOutcome {
    /// The items that failed; the others were applied.
    pub failures: Vec<BulkFailure>,
}

/// One item of a bulk request that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkFailure {
    /// The device of the item.
    pub device_id: String,
    /// Its module, if it was about one.
    pub module_id: Option<String>,
    /// Why it failed, if the code is known.
    pub code: Option<ErrorCode>,
    /// What the hub says about it.
    pub message: String,
}

impl BulkOutcome {
    /// Whether every item was applied.
    pub fn is_successful(&self) -> bool {
        self.failures.is_empty()
    }

    fn from_json(value: &Value) -> Option<Self> {
        value.get("isSuccessful")?.as_bool()?;
        let errors = value.get("errors")?.as_array()?;
        Some(Self {
            failures: errors
                .iter()
                .map(|error| BulkFailure::from_json(error, "deviceId"))
                .collect(),
        })
    }
}

impl BulkFailure {
    /// `id` is the name of the member that names the device.
    pub(super) fn from_json(value: &Value, id: &str) -> Self {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        // Import logs show numbers here, some tools write names (`spec/service.md` 2.7).
        let code = match value.get("errorCode") {
            Some(Value::String(name)) => {
                ErrorCode::from_name(name).or_else(|| ErrorCode::from_number(name.parse().ok()?))
            }
            Some(number) => number
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .and_then(ErrorCode::from_number),
            None => None,
        };
        Self {
            device_id: text(id).unwrap_or_default(),
            module_id: text("moduleId").filter(|module| !module.is_empty()),
            code,
            message: text("errorStatus").unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bulk_failures_are_read_by_number_and_by_name() {
        let outcome = BulkOutcome::from_json(&json!({
            "isSuccessful": false,
            "errors": [
                {"deviceId": "d1", "moduleId": null, "errorCode": 400000, "errorStatus": "why"},
                {"deviceId": "d2", "moduleId": "m", "errorCode": "GenericBadRequest"},
            ],
            "warnings": [],
        }))
        .unwrap();

        assert!(!outcome.is_successful());
        assert_eq!(
            outcome.failures[0],
            BulkFailure {
                device_id: "d1".into(),
                module_id: None,
                code: Some(ErrorCode::GenericBadRequest),
                message: "why".into(),
            }
        );
        assert_eq!(outcome.failures[1].module_id.as_deref(), Some("m"));
        assert_eq!(outcome.failures[1].code, Some(ErrorCode::GenericBadRequest));
    }

    #[test]
    fn items_name_the_device_and_what_to_do_first() {
        let spec = IdentitySpec {
            iot_edge: true,
            ..IdentitySpec::default()
        };

        let items = items(&[("d1", spec), ("d2/m", IdentitySpec::default())], "create").unwrap();

        assert_eq!(
            items,
            [
                json!({
                    "id": "d1", "importMode": "create", "status": "enabled", "statusReason": null,
                    "capabilities": {"iotEdge": true}, "authentication": {"type": "sas"},
                }),
                json!({
                    "id": "d2", "moduleId": "m", "importMode": "create", "managedBy": null,
                    "authentication": {"type": "sas"},
                }),
            ]
        );
    }
}
