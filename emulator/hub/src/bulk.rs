//! Bulk changes of the registry: `POST /devices` (`spec/service.md` 2.7).

use iothub_protocol::registry::{BulkError, BulkItem, IfMatch, ImportMode};
use iothub_protocol::twin::TwinPatch;
use iothub_protocol::{ClientId, DeviceId, Error, ModuleId};

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::cx::Cx;
use crate::twins::WriteMode;

impl Hub {
    /// Applies each item on its own; what succeeds stands even if others fail. Answers what failed.
    pub fn bulk(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        items: Vec<BulkItem>,
    ) -> Result<Vec<BulkError>, Error> {
        caller.require(Permission::RegistryWrite)?;
        let mut errors = Vec::new();
        for item in items {
            let (id, module_id, mode) = (item.id.clone(), item.module_id.clone(), item.mode);
            if let Err(error) = self.bulk_item(cx, caller, item) {
                errors.push(BulkError {
                    device_id: id,
                    module_id,
                    code: error.code,
                    status: error.detail,
                    operation: mode.name().to_owned(),
                });
            }
        }
        Ok(errors)
    }

    pub(crate) fn bulk_item(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        item: BulkItem,
    ) -> Result<(), Error> {
        // An element whose own content is bad fails alone, whatever it asks for.
        if let Err(fault) = &item.spec {
            return Err(fault.clone());
        }
        let client = client_of(&item)?;
        let exists = self.registry.find(&client).is_some();
        let etag = IfMatch::parse(item.etag.as_deref());
        match item.mode {
            ImportMode::Create => self.bulk_create(cx, &client, item),
            ImportMode::CreateOrUpdate if !exists => self.bulk_create(cx, &client, item),
            ImportMode::CreateOrUpdateIfMatchETag if !exists => self.bulk_create(cx, &client, item),
            ImportMode::CreateOrUpdate | ImportMode::Update => {
                self.bulk_update(cx, &client, item, &IfMatch::Any)
            }
            ImportMode::UpdateIfMatchETag | ImportMode::CreateOrUpdateIfMatchETag => {
                self.bulk_update(cx, &client, item, &required(etag)?)
            }
            ImportMode::Delete => self.bulk_delete(cx, caller, &client, &IfMatch::Any),
            ImportMode::DeleteIfMatchETag => {
                self.bulk_delete(cx, caller, &client, &required(etag)?)
            }
            ImportMode::UpdateTwin => {
                self.write_twin(cx, &client, item.twin, &IfMatch::Any, WriteMode::Merge)
            }
            ImportMode::UpdateTwinIfMatchETag => {
                let etag = required(IfMatch::parse(item.twin_etag.as_deref()))?;
                self.write_twin(cx, &client, item.twin, &etag, WriteMode::Merge)
            }
        }
    }

    fn bulk_create(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        item: BulkItem,
    ) -> Result<(), Error> {
        check_twin(&item.twin)?;
        match &client.module {
            None => self.create_device(cx, &client.device, item.spec?)?,
            Some(module) => self.create_module(cx, &client.device, module, item.spec?)?,
        }
        if item.twin == TwinPatch::default() {
            return Ok(());
        }
        self.write_twin(cx, client, item.twin, &IfMatch::Any, WriteMode::Merge)
    }

    fn bulk_update(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        item: BulkItem,
        if_match: &IfMatch,
    ) -> Result<(), Error> {
        match &client.module {
            None => self.update_device(cx, &client.device, item.spec?, if_match),
            Some(module) => self.update_module(cx, &client.device, module, item.spec?, if_match),
        }
    }

    fn bulk_delete(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        client: &ClientId,
        if_match: &IfMatch,
    ) -> Result<(), Error> {
        match &client.module {
            None => self.delete_device(cx, caller, &client.device, if_match),
            Some(module) => self.delete_module(cx, caller, &client.device, module, if_match),
        }
    }
}

pub(crate) fn client_of(item: &BulkItem) -> Result<ClientId, Error> {
    let invalid =
        |error: iothub_protocol::identity::InvalidId| Error::argument_invalid(error.to_string());
    let device = DeviceId::parse(&item.id).map_err(invalid)?;
    let module = match &item.module_id {
        None => None,
        Some(module) => Some(ModuleId::parse(module).map_err(invalid)?),
    };
    Ok(ClientId { device, module })
}

/// The modes that compare etags need one to compare.
pub(crate) fn required(if_match: IfMatch) -> Result<IfMatch, Error> {
    if if_match == IfMatch::Absent {
        return Err(Error::argument_invalid("the item has no etag to match"));
    }
    Ok(if_match)
}

/// A twin that will be refused must not leave a created identity behind.
fn check_twin(patch: &TwinPatch) -> Result<(), Error> {
    use iothub_protocol::twin::{SectionKind, check_growth, size, validate};

    for (kind, section) in [
        (SectionKind::Tags, &patch.tags),
        (SectionKind::Desired, &patch.desired),
    ] {
        if let Some(Some(section)) = section {
            validate(kind, section)?;
            check_growth(kind, 0, size(section))?;
        }
    }
    Ok(())
}
