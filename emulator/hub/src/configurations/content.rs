//! Content applied once, without a configuration (`spec/service.md` 7, the last paragraph).

use iothub_protocol::configuration::{Content, ModuleContent};
use iothub_protocol::registry::IfMatch;
use iothub_protocol::twin::{Section, SectionKind, TwinPatch};
use iothub_protocol::{ClientId, DeviceId, Error, ErrorCode, Timestamp};

use super::require_write;
use crate::Hub;
use crate::access::Principal;
use crate::cx::Cx;
use crate::twins::{WriteMode, patch_section};

impl Hub {
    /// Writes content into the twins of a device or of the modules of an edge, where it stays until
    /// somebody writes something else.
    ///
    /// Refuses with `DeviceNotFound`, with `InvalidConfigurationContent` what is not for this
    /// device, and with `ArgumentInvalid` what does not fit into a twin.
    pub fn apply_configuration_content(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        device: &DeviceId,
        content: &Content,
    ) -> Result<(), Error> {
        require_write(caller)?;
        let identity = self.registry.require_device(device)?.clone();
        let refused = |detail: String| Error::new(ErrorCode::InvalidConfigurationContent, detail);
        match content {
            Content::Device(content) => self.write_content(cx, &identity.client, content),
            Content::Edge(modules) if identity.iot_edge => {
                for (module, content) in modules {
                    let client = ClientId::module(device.clone(), module.clone());
                    self.check_room(cx, &client, content)?;
                }
                for (module, content) in modules {
                    let client = ClientId::module(device.clone(), module.clone());
                    self.add_deployed_module(cx, &identity.client, module);
                    // There may be no room for a module; the others are written all the same.
                    if self.registry.find(&client).is_some() {
                        self.write_content(cx, &client, content)?;
                    }
                }
                Ok(())
            }
            Content::Edge(_) => Err(refused(format!("device {device} is not an edge"))),
            Content::Module(_) | Content::None => Err(refused(
                "content for a device is deviceContent or modulesContent".into(),
            )),
        }
    }

    /// Before anything is written: all of it fits.
    fn check_room(
        &self,
        cx: &Cx<'_>,
        client: &ClientId,
        content: &ModuleContent,
    ) -> Result<(), Error> {
        let mut desired = match self.twins.read(client) {
            Ok(twin) => twin.desired,
            Err(_) => Section::new(Timestamp::NEVER),
        };
        let patch = content.settings().to_patch();
        let kind = SectionKind::Desired;
        patch_section(&mut desired, kind, &patch, mode_of(content), cx.now())
    }

    fn write_content(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        content: &ModuleContent,
    ) -> Result<(), Error> {
        let patch = TwinPatch {
            tags: None,
            desired: Some(Some(content.settings().to_patch())),
        };
        self.write_twin(cx, client, patch, &IfMatch::Absent, mode_of(content))
    }
}

fn mode_of(content: &ModuleContent) -> WriteMode {
    if content.is_whole() {
        WriteMode::Replace
    } else {
        WriteMode::Merge
    }
}
