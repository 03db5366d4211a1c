//! Carrying out imports and exports of the registry (`spec/service.md` 6.5): files are read and
//! written here, devices are the hub's.
//!
//! [`run`] is the entry point: one task per hub. An export reads a snapshot; an import hands the
//! hub some lines at a time, so that nobody waits for long. No connection is ever made: a container
//! is one of the emulator's own blob service, or a folder that a `file://` URI names.

mod export;
mod import;
mod lines;
mod location;
mod sink;

pub use location::{Access, Folders, Location};

use std::io;

use iothub_protocol::Error;
use iothub_protocol::registry::{Direction, RegistryJob};

use crate::activity::OperationKind;
use crate::blobs::BlobError;
use crate::handle::HubHandle;

/// Why a job came to a bad end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Somebody cancelled it, or the hub was reset.
    #[error("the job was cancelled")]
    Cancelled,
    /// The hub, or who asked for faults, refuses.
    #[error("{0}")]
    Refused(#[from] Error),
    /// A container cannot be used.
    #[error("{0}")]
    Blob(#[from] BlobError),
    /// A file cannot be used.
    #[error("{0}")]
    File(#[from] io::Error),
}

/// Carries out jobs, one after the other, until it is dropped.
pub async fn run(handle: HubHandle) {
    let mut ready = handle.registry_job();
    loop {
        ready.borrow_and_update();
        while let Some(job) = next(&handle).await {
            carry_out(&handle, &job).await;
        }
        if ready.changed().await.is_err() {
            return;
        }
    }
}

async fn next(handle: &HubHandle) -> Option<std::sync::Arc<RegistryJob>> {
    let operation = OperationKind::RunRegistryJob.hub_wide();
    let next = handle.call(operation, |hub, cx| Ok(hub.next_registry_job(cx)));
    next.await.ok().flatten()
}

async fn carry_out(handle: &HubHandle, job: &RegistryJob) {
    let result = match job.spec.direction {
        Direction::Export => export::carry_out(handle, job).await,
        Direction::Import => import::carry_out(handle, job).await,
    };
    let result = match result {
        Ok(()) => Ok(()),
        Err(Failure::Cancelled) => return,
        Err(failure) => Err(failure.to_string()),
    };
    let operation = OperationKind::RunRegistryJob.hub_wide();
    let ended = handle
        .call(operation, |hub, cx| {
            hub.end_registry_job(cx, &job.id, result);
            Ok(())
        })
        .await;
    if let Err(error) = ended {
        tracing::debug!(%error, job = %job.id, "the end of a job is not noted");
    }
}

/// Notes how far a job is; fails when it is not to go on.
async fn note(handle: &HubHandle, job: &RegistryJob, progress: u8) -> Result<(), Failure> {
    let operation = OperationKind::RunRegistryJob.hub_wide();
    let goes_on = handle
        .call(operation, |hub, cx| {
            Ok(hub.note_registry_job(cx, &job.id, progress))
        })
        .await?;
    if goes_on {
        Ok(())
    } else {
        Err(Failure::Cancelled)
    }
}

/// Hundredths of `whole`; only the end of a job is a hundred.
fn percent(part: u64, whole: u64) -> u8 {
    let percent = part.saturating_mul(100) / whole.max(1);
    percent.min(99) as u8
}
