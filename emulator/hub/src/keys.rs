//! New keys for devices and modules (`spec/service.md` 2.4).

use iothub_protocol::identity::InvalidId;
use iothub_protocol::registry::{
    Authentication, KeyError, KeyTarget, PolicyKey, RegenerateRequest, RotatedKeys,
};
use iothub_protocol::sas::SymmetricKey;
use iothub_protocol::{ClientId, DeviceId, Error, ModuleId};

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::cx::{Cx, IdentityChange};
use crate::registry::{Identity, check_not_system};

impl Hub {
    /// Makes new keys, target by target; what succeeds stands even if others fail. A connection
    /// that was opened with an old key lasts as long as its token (`spec/device.md` 2.8).
    ///
    /// A target is refused with `ArgumentInvalid` when it has no keys, `DeviceNotFound`,
    /// `ModuleNotFound`, `SystemModuleModifyUnauthorizedAccess`.
    pub fn regenerate_keys(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        request: RegenerateRequest,
    ) -> Result<(Vec<RotatedKeys>, Vec<KeyError>), Error> {
        caller.require(Permission::RegistryWrite)?;
        let (mut rotated, mut errors) = (Vec::new(), Vec::new());
        for target in request.targets {
            match self.rotate(cx, request.key, &target) {
                Ok((primary, secondary)) => rotated.push(RotatedKeys {
                    target,
                    primary,
                    secondary,
                }),
                Err(error) => errors.push(KeyError { target, error }),
            }
        }
        Ok((rotated, errors))
    }

    fn rotate(
        &mut self,
        cx: &mut Cx<'_>,
        key: PolicyKey,
        target: &KeyTarget,
    ) -> Result<(SymmetricKey, SymmetricKey), Error> {
        let client = client_of(target)?;
        let old = self.registry.require(&client)?.clone();
        if let Some(module) = &client.module {
            check_not_system(module)?;
        }
        let Authentication::Sas { primary, secondary } = &old.authentication else {
            let detail = format!("{client} does not prove itself with symmetric keys");
            return Err(Error::argument_invalid(detail));
        };
        let primary = match key {
            PolicyKey::Primary | PolicyKey::Both => self.entropy.key(),
            PolicyKey::Secondary => primary.clone(),
        };
        let secondary = match key {
            PolicyKey::Secondary | PolicyKey::Both => self.entropy.key(),
            PolicyKey::Primary => secondary.clone(),
        };
        let identity = Identity {
            etag: self.entropy.identity_etag(),
            authentication: Authentication::Sas {
                primary: primary.clone(),
                secondary: secondary.clone(),
            },
            ..(*old).clone()
        };
        self.write_identity(cx, identity, IdentityChange::Updated);
        Ok((primary, secondary))
    }
}

fn client_of(target: &KeyTarget) -> Result<ClientId, Error> {
    let invalid = |error: InvalidId| Error::argument_invalid(error.to_string());
    Ok(ClientId {
        device: DeviceId::parse(&target.id).map_err(invalid)?,
        module: target
            .module_id
            .as_deref()
            .map(ModuleId::parse)
            .transpose()
            .map_err(invalid)?,
    })
}
