//! Who may use storage: holders of a shared access signature, and whoever signs with the account's
//! key.

use http::header::AUTHORIZATION;
use iothub_protocol::storage::{AccessFault, Grant, SignedRequest, verify_sas, verify_shared_key};
use iothub_protocol::{ClientId, Error, ErrorCode};

use super::Request;
use super::error::{Fault, StorageError};
use crate::activity::OperationKind;

/// What a request may do.
pub(super) struct Authorized {
    grant: Grant,
    /// Containers themselves are not a matter of their own signatures.
    pub(super) by_account: bool,
}

impl Authorized {
    /// Refuses who has none of these permissions.
    pub(super) fn require(&self, any_of: &str) -> Result<(), StorageError> {
        if self.grant.allows(any_of) {
            return Ok(());
        }
        Err(StorageError::new(
            Fault::AuthorizationPermissionMismatch,
            format!("one of the permissions {any_of:?} is needed"),
        ))
    }
}

/// Checks the proof that a request offers, as one operation: faults can be injected into it, and it
/// is recorded.
pub(super) async fn authorize(request: &Request<'_>) -> Result<Authorized, StorageError> {
    // Devices' files lie below the devices' names.
    let device = request.target.blob.as_deref().and_then(|blob| {
        let (device, _) = blob.split_once('/')?;
        ClientId::parse(device).ok()
    });
    let operation = match &device {
        Some(device) => OperationKind::AccessBlob.on(device),
        None => OperationKind::AccessBlob.hub_wide(),
    };
    let mut refused = None;
    let checked = request
        .handle
        .call(operation, |_, _| {
            check(request).map_err(|fault| {
                let error = Error::new(ErrorCode::GenericForbidden, fault.to_string());
                refused = Some(fault);
                error
            })
        })
        .await;
    checked.map_err(|error| match refused {
        Some(AccessFault::Missing) => StorageError::new(
            Fault::NoAuthenticationInformation,
            AccessFault::Missing.to_string(),
        ),
        Some(fault) => StorageError::new(Fault::AuthenticationFailed, fault.to_string()),
        None => StorageError::from(&error),
    })
}

fn check(request: &Request<'_>) -> Result<Authorized, AccessFault> {
    let account = &request.blobs().settings().account;
    let target = request.target;
    if request.query.find("sig").is_some() {
        let grant = verify_sas(
            account,
            &request.query,
            target.container.as_ref(),
            target.blob.as_deref(),
            request.now,
        )?;
        return Ok(Authorized {
            grant,
            by_account: request.query.find("ss").is_some(),
        });
    }
    let authorization = request
        .header(AUTHORIZATION.as_str())
        .ok_or(AccessFault::Missing)?;
    let headers: Vec<(&str, &str)> = request
        .parts
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let signed = SignedRequest {
        verb: request.parts.method.as_str(),
        path: request.parts.uri.path(),
        query: &request.query,
        headers: &headers,
    };
    Ok(Authorized {
        grant: verify_shared_key(account, &signed, authorization)?,
        by_account: true,
    })
}
