//! Containers: Create Container, Delete Container, properties, and the two lists.

use axum::response::Response;
use http::StatusCode;
use iothub_protocol::storage::ContainerName;

use super::Request;
use super::access::Authorized;
use super::answer::{self, escape, put};
use super::error::{Fault, StorageError};
use crate::blobs::{Blob, BlobError};

/// Entries of one page of a list.
const PAGE: usize = 5000;

/// `PUT /{container}?restype=container`
pub(super) async fn create(
    request: &Request<'_>,
    grant: &Authorized,
    container: &ContainerName,
) -> Result<Response, StorageError> {
    require_account(grant)?;
    grant.require("cw")?;
    request.blobs().create_container(container).await?;
    let mut response = answer::status(StatusCode::CREATED);
    stamp(request, &mut response);
    Ok(response)
}

/// `DELETE /{container}?restype=container`
pub(super) async fn delete(
    request: &Request<'_>,
    grant: &Authorized,
    container: &ContainerName,
) -> Result<Response, StorageError> {
    require_account(grant)?;
    grant.require("d")?;
    request.blobs().delete_container(container).await?;
    Ok(answer::status(StatusCode::ACCEPTED))
}

/// `GET` or `HEAD /{container}?restype=container`
pub(super) fn properties(
    request: &Request<'_>,
    grant: &Authorized,
    container: &ContainerName,
) -> Result<Response, StorageError> {
    grant.require("r")?;
    if !request.blobs().has_container(container) {
        return Err(BlobError::ContainerNotFound.into());
    }
    let mut response = answer::status(StatusCode::OK);
    stamp(request, &mut response);
    let headers = response.headers_mut();
    put(headers, "x-ms-lease-state", "available");
    put(headers, "x-ms-lease-status", "unlocked");
    put(headers, "x-ms-has-immutability-policy", "false");
    put(headers, "x-ms-has-legal-hold", "false");
    Ok(response)
}

/// `GET /{container}?restype=container&comp=list`
pub(super) fn list_blobs(
    request: &Request<'_>,
    grant: &Authorized,
    container: &ContainerName,
) -> Result<Response, StorageError> {
    grant.require("l")?;
    let query = &request.query;
    let most = match query.find("maxresults").filter(|most| !most.is_empty()) {
        None => PAGE,
        Some(most) => most
            .parse()
            .ok()
            .filter(|most| *most > 0)
            .map(|most: usize| most.min(PAGE))
            .ok_or_else(|| {
                StorageError::new(
                    Fault::OutOfRangeQueryParameterValue,
                    "maxresults is a number from 1 on",
                )
            })?,
    };
    let prefix = query.value("prefix");
    let delimiter = query.find("delimiter");
    let marker = query.value("marker");
    let listing = request
        .blobs()
        .list(container, prefix, delimiter, marker, most)?;
    let metadata = query.value("include").contains("metadata");

    let mut document = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"/\" \
         ContainerName=\"{container}\"><Prefix>{}</Prefix><Marker>{}</Marker>\
         <MaxResults>{most}</MaxResults>",
        escape(prefix),
        escape(marker)
    );
    if let Some(delimiter) = delimiter {
        document.push_str(&format!("<Delimiter>{}</Delimiter>", escape(delimiter)));
    }
    document.push_str("<Blobs>");
    for blob in &listing.blobs {
        push_blob(&mut document, blob, metadata);
    }
    for prefix in &listing.prefixes {
        let name = escape(prefix);
        document.push_str(&format!("<BlobPrefix><Name>{name}</Name></BlobPrefix>"));
    }
    let next = escape(listing.next.as_deref().unwrap_or_default());
    document.push_str(&format!(
        "</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
    ));
    Ok(answer::xml(document))
}

/// `GET /{account}?comp=list`
pub(super) fn list_containers(
    request: &Request<'_>,
    grant: &Authorized,
) -> Result<Response, StorageError> {
    require_account(grant)?;
    grant.require("l")?;
    let prefix = request.query.value("prefix");
    let mut document = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"/\">\
         <Prefix>{}</Prefix><Containers>",
        escape(prefix)
    );
    for name in request.blobs().containers() {
        if name.as_str().starts_with(prefix) {
            document.push_str(&format!(
                "<Container><Name>{name}</Name><Properties><Last-Modified>{}</Last-Modified>\
                 <Etag>\"0x1\"</Etag></Properties></Container>",
                request.now.to_rfc1123()
            ));
        }
    }
    document.push_str("</Containers><NextMarker /></EnumerationResults>");
    Ok(answer::xml(document))
}

fn push_blob(document: &mut String, blob: &Blob, metadata: bool) {
    let text = |value: &Option<String>| escape(value.as_deref().unwrap_or_default());
    let content_type = blob.headers.content_type.as_deref();
    document.push_str(&format!(
        "<Blob><Name>{name}</Name><Properties><Creation-Time>{created}</Creation-Time>\
         <Last-Modified>{modified}</Last-Modified><Etag>{etag}</Etag>\
         <Content-Length>{length}</Content-Length><Content-Type>{content_type}</Content-Type>\
         <Content-Encoding>{encoding}</Content-Encoding>\
         <Content-Language>{language}</Content-Language><Content-MD5>{md5}</Content-MD5>\
         <Cache-Control>{cache}</Cache-Control>\
         <Content-Disposition>{disposition}</Content-Disposition>\
         <BlobType>BlockBlob</BlobType><LeaseStatus>unlocked</LeaseStatus>\
         <LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties>",
        name = escape(&blob.name),
        created = blob.created.to_rfc1123(),
        modified = blob.last_modified.to_rfc1123(),
        etag = blob.etag,
        length = blob.content.len(),
        content_type = escape(content_type.unwrap_or("application/octet-stream")),
        encoding = text(&blob.headers.content_encoding),
        language = text(&blob.headers.content_language),
        md5 = text(&blob.headers.content_md5),
        cache = text(&blob.headers.cache_control),
        disposition = text(&blob.headers.content_disposition),
    ));
    if metadata {
        document.push_str("<Metadata>");
        for (name, value) in &blob.headers.metadata {
            // What may be in a header's name need not be allowed in an element's.
            if is_element_name(name) {
                document.push_str(&format!("<{name}>{}</{name}>", escape(value)));
            }
        }
        document.push_str("</Metadata>");
    }
    document.push_str("</Blob>");
}

fn is_element_name(name: &str) -> bool {
    let may_begin = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(may_begin)
        && name
            .chars()
            .all(|c| may_begin(c) || c.is_ascii_digit() || matches!(c, '-' | '.'))
}

/// Containers have no properties of their own here: they look as if they had just been made.
fn stamp(request: &Request<'_>, response: &mut Response) {
    let headers = response.headers_mut();
    put(headers, "etag", "\"0x1\"");
    put(headers, "last-modified", &request.now.to_rfc1123());
}

/// A signature for a container says nothing about the container itself.
fn require_account(grant: &Authorized) -> Result<(), StorageError> {
    if grant.by_account {
        return Ok(());
    }
    Err(StorageError::new(
        Fault::AuthorizationFailure,
        "this needs the account's key or a signature for the account",
    ))
}
