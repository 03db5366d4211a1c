//! Answers of storage, with the headers that its clients rely on.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, DATE,
    ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, SERVER,
};

use super::Request;
use crate::blobs::Blob;

const VERSION: &str = "x-ms-version";
const CLIENT_REQUEST_ID: &str = "x-ms-client-request-id";
/// What a client that names no version gets.
const DEFAULT_VERSION: &str = "2021-12-02";

/// A body-less answer.
pub(super) fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// 200 with a document.
pub(super) fn xml(document: String) -> Response {
    let mut response = Response::new(Body::from(document));
    let xml = HeaderValue::from_static("application/xml");
    response.headers_mut().insert(CONTENT_TYPE, xml);
    response
}

/// What every answer carries. The endpoint adds `x-ms-request-id`.
pub(super) fn finish(request: &Request<'_>, mut response: Response) -> Response {
    let headers = response.headers_mut();
    let version = request.header(VERSION).unwrap_or(DEFAULT_VERSION);
    put(headers, VERSION, version);
    if let Some(id) = request.header(CLIENT_REQUEST_ID) {
        put(headers, CLIENT_REQUEST_ID, id);
    }
    put(headers, DATE.as_str(), &request.now.to_rfc1123());
    headers.insert(SERVER, HeaderValue::from_static("Windows-Azure-Blob/1.0"));
    response
}

/// What a write answers about the blob.
pub(super) fn written(headers: &mut HeaderMap, blob: &Blob) {
    identity(headers, blob);
    put(headers, "x-ms-request-server-encrypted", "true");
}

/// Etag and time of a blob.
pub(super) fn identity(headers: &mut HeaderMap, blob: &Blob) {
    put(headers, ETAG.as_str(), &format!("\"{}\"", blob.etag));
    let modified = blob.last_modified.to_rfc1123();
    put(headers, LAST_MODIFIED.as_str(), &modified);
}

/// Everything about a blob but its bytes.
pub(super) fn describe(headers: &mut HeaderMap, blob: &Blob) {
    identity(headers, blob);
    let said = &blob.headers;
    let content_type = said.content_type.as_deref();
    put(
        headers,
        CONTENT_TYPE.as_str(),
        content_type.unwrap_or("application/octet-stream"),
    );
    for (name, value) in [
        (CONTENT_ENCODING, &said.content_encoding),
        (CONTENT_LANGUAGE, &said.content_language),
        (CONTENT_DISPOSITION, &said.content_disposition),
        (CACHE_CONTROL, &said.cache_control),
    ] {
        if let Some(value) = value {
            put(headers, name.as_str(), value);
        }
    }
    for (name, value) in &said.metadata {
        put(headers, &format!("x-ms-meta-{name}"), value);
    }
    put(headers, "accept-ranges", "bytes");
    put(headers, "x-ms-blob-type", "BlockBlob");
    put(headers, "x-ms-creation-time", &blob.created.to_rfc1123());
    put(headers, "x-ms-lease-state", "available");
    put(headers, "x-ms-lease-status", "unlocked");
    put(headers, "x-ms-server-encrypted", "true");
}

/// Sets a header whose value came from outside; what cannot stand in a header is left out.
pub(super) fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (
        HeaderName::try_from(name.to_ascii_lowercase()),
        HeaderValue::try_from(value),
    ) {
        headers.insert(name, value);
    }
}

/// Text as it may stand in XML.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no way to say these.
            c if c.is_control() && !matches!(c, '\n' | '\r' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
