//! Writing the registry down.

use iothub_protocol::registry::RegistryJob;

use super::location::{Access, Location};
use super::sink::Sink;
use super::{Failure, note, percent};
use crate::handle::HubHandle;

/// Lines between two looks at the hub.
const STEP: usize = 5000;

pub(super) async fn carry_out(handle: &HubHandle, job: &RegistryJob) -> Result<(), Failure> {
    let spec = &job.spec;
    let output = Location::resolve(&spec.output_container, handle.blobs(), Access::Proved)?;
    let snapshot = handle.inspect(iothub_hub::Hub::export_snapshot);
    let mut sink = Sink::create(handle, &output, &spec.output_blob).await?;
    for (number, line) in snapshot.lines(spec.exclude_keys).enumerate() {
        sink.line(&line).await?;
        if number % STEP == STEP - 1 {
            let progress = percent(number as u64, snapshot.len() as u64);
            note(handle, job, progress).await?;
        }
    }
    sink.finish(handle).await?;
    if !spec.include_configurations {
        return Ok(());
    }
    let mut sink = Sink::create(handle, &output, &spec.configurations_blob).await?;
    for line in handle.inspect(iothub_hub::Hub::configurations_json) {
        sink.line(&line).await?;
    }
    sink.finish(handle).await
}
