//! Put Blob, Put Block, Put Block List, Set Blob Metadata, Delete Blob.

use std::time::Duration;

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_TYPE, EXPECT, IF_MATCH, IF_NONE_MATCH,
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use iothub_protocol::storage::{ContainerName, check_blob_name, parse_block_list};

use super::Request;
use super::access::Authorized;
use super::answer::{self, put};
use super::error::{Fault, StorageError};
use crate::blobs::{BlobHeaders, Checksums, Conditions, Content};

/// Bytes of one write, and of one block ("Scalability and performance targets for Blob storage").
const WHOLE_LIMIT: u64 = 5000 * 1024 * 1024;
const BLOCK_LIMIT: u64 = 4000 * 1024 * 1024;
/// Enough for a list of fifty thousand of the longest ids.
const LIST_LIMIT: u64 = 8 * 1024 * 1024;
/// How long a body may pause.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is read and thrown away of a body that is too large: storage clients send all of it before
/// they look for the refusal, and report a broken connection if they cannot.
const DISCARDED: u64 = 1024 * 1024 * 1024;

const CONTENT_MD5: &str = "content-md5";
const CONTENT_CRC64: &str = "x-ms-content-crc64";

/// `PUT /{container}/{blob}`
pub(super) async fn put_blob(
    request: &Request<'_>,
    grant: &Authorized,
    container: &ContainerName,
    blob: &str,
    body: Incoming,
) -> Result<Response, StorageError> {
    grant.require("cw")?;
    check_name(blob)?;
    match request.header("x-ms-blob-type") {
        None => {
            return Err(StorageError::new(
                Fault::MissingRequiredHeader,
                "x-ms-blob-type is missing",
            ));
        }
        Some(kind) if kind.eq_ignore_ascii_case("BlockBlob") => {}
        Some(_) => {
            return Err(StorageError::new(
                Fault::InvalidBlobType,
                "not emulated: only block blobs are",
            ));
        }
    }
    if request.header("x-ms-copy-source").is_some() {
        return Err(StorageError::new(
            Fault::UnsupportedHeader,
            "not emulated: copies",
        ));
    }
    let (content, sums) = receive(request, body, WHOLE_LIMIT).await?;
    let mut headers = described(request);
    headers.content_md5.get_or_insert_with(|| sums.md5.clone());
    let written = request
        .blobs()
        .put(
            container,
            blob,
            content,
            headers,
            &conditions(request),
            request.now,
        )
        .await?;
    let mut response = answer::status(StatusCode::CREATED);
    let headers = response.headers_mut();
    answer::written(headers, &written);
    put(headers, CONTENT_MD5, &sums.md5);
    put(headers, CONTENT_CRC64, &sums.crc64);
    Ok(response)
}

/// `PUT /{container}/{blob}?comp=block&blockid=…`
pub(super) async fn put_block(
    request: &Request<'_>,
    grant: &Authorized,
    container: &ContainerName,
    blob: &str,
    body: Incoming,
) -> Result<Response, StorageError> {
    grant.require("cw")?;
    check_name(blob)?;
    let id = request.query.value("blockid");
    let decoded = STANDARD.decode(id).map_err(|_| block_id())?;
    if decoded.is_empty() || decoded.len() > 64 {
        return Err(block_id());
    }
    if !request.blobs().has_container(container) {
        return Err(crate::blobs::BlobError::ContainerNotFound.into());
    }
    let (content, sums) = receive(request, body, BLOCK_LIMIT).await?;
    request.blobs().stage_block(container, blob, id, content)?;
    let mut response = answer::status(StatusCode::CREATED);
    let headers = response.headers_mut();
    put(headers, "x-ms-request-server-encrypted", "true");
    // Whoever sent the one gets the one back; everyone else the other.
    if request.header(CONTENT_MD5).is_some() {
        put(headers, CONTENT_MD5, &sums.md5);
    } else {
        put(headers, CONTENT_CRC64, &sums.crc64);
    }
    Ok(response)
}

/// `PUT /{container}/{blob}?comp=blocklist`
pub(super) async fn put_block_list(
    request: &Request<'_>,
    grant: &Authorized,
    container: &ContainerName,
    blob: &str,
    body: Incoming,
) -> Result<Response, StorageError> {
    grant.require("cw")?;
    check_name(blob)?;
    let (content, sums) = receive(request, body, LIST_LIMIT).await?;
    let list = super::read::collect(&content, 0..content.len()).await?;
    let list = parse_block_list(&list)
        .map_err(|error| StorageError::new(Fault::InvalidXmlDocument, error.to_string()))?;
    let written = request
        .blobs()
        .commit(
            container,
            blob,
            &list,
            described(request),
            &conditions(request),
            request.now,
        )
        .await?;
    let mut response = answer::status(StatusCode::CREATED);
    let headers = response.headers_mut();
    answer::written(headers, &written);
    put(headers, CONTENT_CRC64, &sums.crc64);
    Ok(response)
}

/// `PUT /{container}/{blob}?comp=metadata`: what readers of events keep their places with.
pub(super) async fn put_metadata(
    request: &Request<'_>,
    grant: &Authorized,
    container: &ContainerName,
    blob: &str,
) -> Result<Response, StorageError> {
    grant.require("w")?;
    let metadata = described(request).metadata;
    let conditions = conditions(request);
    let written = request
        .blobs()
        .put_metadata(container, blob, metadata, &conditions, request.now)
        .await?;
    let mut response = answer::status(StatusCode::OK);
    answer::written(response.headers_mut(), &written);
    Ok(response)
}

/// `DELETE /{container}/{blob}`
pub(super) async fn delete(
    request: &Request<'_>,
    grant: &Authorized,
    container: &ContainerName,
    blob: &str,
) -> Result<Response, StorageError> {
    grant.require("d")?;
    request
        .blobs()
        .delete(container, blob, &conditions(request))
        .await?;
    let mut response = answer::status(StatusCode::ACCEPTED);
    put(response.headers_mut(), "x-ms-delete-type-permanent", "true");
    Ok(response)
}

/// The request's conditions.
pub(super) fn conditions(request: &Request<'_>) -> Conditions {
    let owned = |name: &str| request.header(name).map(str::to_owned);
    Conditions {
        if_match: owned(IF_MATCH.as_str()),
        if_none_match: owned(IF_NONE_MATCH.as_str()),
    }
}

/// Reads the body into storage, piece by piece, and checks what its sender says of it.
async fn receive(
    request: &Request<'_>,
    mut body: Incoming,
    limit: u64,
) -> Result<(Content, Checksums), StorageError> {
    let announced = request
        .header(CONTENT_LENGTH.as_str())
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) && request.parts.headers.contains_key(EXPECT)
    {
        // Who waits for "100 Continue" has not sent anything yet, and need not.
        return Err(too_large(limit));
    }
    if request.header("x-ms-structured-body").is_some() {
        return Err(StorageError::new(
            Fault::UnsupportedHeader,
            "not emulated: x-ms-structured-body",
        ));
    }
    let mut draft = request.blobs().draft().await?;
    let mut refused: Option<StorageError> = None;
    let mut seen = 0;
    loop {
        let frame = tokio::time::timeout(PATIENCE, body.frame())
            .await
            .map_err(|_| StorageError::new(Fault::OperationTimedOut, "the body does not arrive"))?;
        let Some(frame) = frame else {
            break;
        };
        let frame = frame.map_err(|error| {
            StorageError::new(
                Fault::InvalidHeaderValue,
                format!("the body broke off: {error}"),
            )
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        seen += data.len() as u64;
        if refused.is_some() {
            if seen > DISCARDED {
                break;
            }
        } else if seen > limit {
            refused = Some(too_large(limit));
            seen = 0;
        } else if let Err(error) = draft.write(data).await {
            refused = Some(error.into());
            seen = 0;
        }
    }
    if let Some(refused) = refused {
        return Err(refused);
    }
    let (content, sums) = draft.finish().await?;
    for (header, found, fault) in [
        (CONTENT_MD5, &sums.md5, Fault::Md5Mismatch),
        (CONTENT_CRC64, &sums.crc64, Fault::Crc64Mismatch),
    ] {
        if request.header(header).is_some_and(|said| said != found) {
            return Err(StorageError::new(
                fault,
                format!("{header} is {found}, not what the request says"),
            ));
        }
    }
    Ok((content, sums))
}

/// What the writer says about the blob.
fn described(request: &Request<'_>) -> BlobHeaders {
    let owned = |name: &str| request.header(name).map(str::to_owned);
    let metadata = request.parts.headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("x-ms-meta-")?;
        Some((name.to_owned(), value.to_str().ok()?.to_owned()))
    });
    // On a list of blocks, the plain headers are about the list.
    let plain = |name: &str| owned(name).filter(|_| request.query.find("comp").is_none());
    let either = |special: &str, name: &str| owned(special).or_else(|| plain(name));
    BlobHeaders {
        content_type: either("x-ms-blob-content-type", CONTENT_TYPE.as_str()),
        content_encoding: either("x-ms-blob-content-encoding", CONTENT_ENCODING.as_str()),
        content_language: either("x-ms-blob-content-language", CONTENT_LANGUAGE.as_str()),
        content_disposition: either(
            "x-ms-blob-content-disposition",
            CONTENT_DISPOSITION.as_str(),
        ),
        cache_control: either("x-ms-blob-cache-control", CACHE_CONTROL.as_str()),
        content_md5: owned("x-ms-blob-content-md5"),
        metadata: metadata.collect(),
    }
}

fn check_name(blob: &str) -> Result<(), StorageError> {
    check_blob_name(blob)
        .map_err(|error| StorageError::new(Fault::InvalidResourceName, error.to_string()))
}

fn block_id() -> StorageError {
    StorageError::new(
        Fault::InvalidBlockId,
        "blockid must be base64 of 1 to 64 bytes",
    )
}

fn too_large(limit: u64) -> StorageError {
    StorageError::new(
        Fault::RequestBodyTooLarge,
        format!("the body has more than {limit} bytes"),
    )
}
