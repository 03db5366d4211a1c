//! File uploads (`spec/device.md` 8).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_hub::BlobFacts;
use iothub_protocol::storage::{ContainerName, sign_blob};
use iothub_protocol::upload::{UploadEnd, parse_start};
use iothub_protocol::{ClientId, Error, ErrorCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::activity::OperationKind;
use crate::http::call::Call;
use crate::http::{answer, body};

/// What a URI of a blob keeps: slashes separate, and the rest of RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// What a device may do with its blob.
const PERMISSIONS: &str = "rw";

/// `POST /devices/{id}/files`: where the file may be put, and a signature that lets it.
pub(super) async fn start(
    call: &Call<'_>,
    client: &ClientId,
    body: Incoming,
) -> Result<Response, Error> {
    let blob = call
        .read(body, body::ENTITY)
        .await
        .and_then(|body| parse_start(&body, &client.device));
    let settings = call.handle().blobs().settings();
    let operation = OperationKind::StartUpload.on(client);
    let (upload, container) = call
        .perform_as(operation, client, |hub, cx, caller| {
            let container = container(settings.uploads.as_ref())?;
            let upload = hub.start_upload(cx, caller, &client.device, blob?)?;
            Ok((upload, container))
        })
        .await?;
    let sas = sign_blob(
        &settings.account,
        container,
        &upload.blob,
        PERMISSIONS,
        upload.expires,
    );
    Ok(answer::value(&json!({
        "correlationId": &*upload.correlation_id,
        // As the client addresses us, port and all: it puts this after `https://` as it is.
        "hostName": call.host(),
        "containerName": container.as_str(),
        "blobName": upload.blob,
        "sasToken": sas,
    })))
}

/// `POST /devices/{id}/files/notifications`, and the older form with the id in the path.
pub(super) async fn finish(
    call: &Call<'_>,
    client: &ClientId,
    id: Option<&str>,
    body: Incoming,
) -> Result<Response, Error> {
    let end = call
        .read(body, body::ENTITY)
        .await
        .and_then(|body| UploadEnd::parse(&body, id));
    let blobs = call.handle().blobs();
    let operation = OperationKind::FinishUpload.on(client);
    call.perform_as(operation, client, |hub, cx, caller| {
        let container = container(blobs.settings().uploads.as_ref())?;
        hub.finish_upload(cx, caller, &client.device, &end?, |name| {
            let blob = blobs.find(container, name).ok()?;
            let path = utf8_percent_encode(name, RESERVED);
            Some(BlobFacts {
                uri: format!("https://{}/{container}/{path}", call.host()),
                size: blob.content.len(),
                last_modified: blob.last_modified,
            })
        })
    })
    .await?;
    Ok(answer::no_content())
}

fn container(configured: Option<&ContainerName>) -> Result<&ContainerName, Error> {
    configured.ok_or_else(|| Error::new(ErrorCode::DefaultStorageEndpointNotConfigured, ""))
}
