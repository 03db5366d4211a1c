//! Digital twins: the Plug and Play view of a twin (`spec/service.md` 9). What the view looks like
//! is `iothub_protocol::digital_twin`; commands are direct methods.

use iothub_protocol::digital_twin::{self, DigitalTwinPatch};
use iothub_protocol::registry::IfMatch;
use iothub_protocol::twin::TwinPatch;
use iothub_protocol::{ClientId, DeviceId, Error};
use serde_json::Value;

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::cx::Cx;
use crate::twins::{WriteMode, etag_text};

impl Hub {
    /// A device's digital twin, and the etag of its twin (unquoted).
    ///
    /// Refuses with `DeviceNotFound`.
    pub fn digital_twin(
        &self,
        caller: &Principal,
        device: &DeviceId,
    ) -> Result<(Value, String), Error> {
        caller.require(Permission::ServiceConnect)?;
        let twin = self.twins.read(&ClientId::device(device.clone()))?;
        let view = digital_twin::document(device, &twin.model_id, &twin.desired, &twin.reported);
        Ok((view, etag_text(twin.etag)))
    }

    /// Changes a device's desired properties as a digital twin; answers the new etag.
    ///
    /// Refuses with `DeviceNotFound`, `PreconditionFailed`, `InvalidDigitalTwinJsonPatch`,
    /// `ArgumentInvalid`.
    pub fn patch_digital_twin(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        device: &DeviceId,
        patch: &DigitalTwinPatch,
        if_match: &IfMatch,
    ) -> Result<String, Error> {
        caller.require(Permission::ServiceConnect)?;
        let client = ClientId::device(device.clone());
        let twin = self.twins.read(&client)?;
        let desired = patch.to_desired(&twin.desired.value, &twin.reported.value)?;
        let patch = TwinPatch {
            tags: None,
            desired: Some(Some(desired)),
        };
        self.write_twin(cx, &client, patch, if_match, WriteMode::Merge)?;
        Ok(etag_text(self.twins.require(&client)?.etag()))
    }
}
