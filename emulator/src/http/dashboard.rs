//! The dashboard's files: a page at `/`, and what it loads, all out of the binary.
//!
//! The page is the same for everybody and holds nothing of the hub; what it shows it asks of the
//! control API. Everything else that it loads has a path with the version of all files in it, so a
//! browser keeps it for ever and never mixes two versions.

use std::fmt::Write as _;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};
use rust_embed::{EmbeddedFile, RustEmbed};
use sha2::{Digest, Sha256};

use super::answer;

/// The segment after the control API's root under which the files are.
pub(super) const FILES: &str = "ui";

/// The page itself.
const PAGE: &str = "index.html";
/// What stands in the page in place of the version of all files.
const VERSION: &str = "{version}";

/// Scripts, styles and connections of our own and nothing else: no inline script, no frame around
/// the page, no request to anybody.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The files. A debug build reads them from the disk at each request, so that who works on them
/// sees a change at once.
#[derive(RustEmbed)]
#[folder = "dashboard/"]
struct Files;

/// `GET /`: the page.
pub(super) fn page(method: &Method, headers: &HeaderMap) -> Response {
    let Some(file) = Files::get(PAGE) else {
        return missing();
    };
    let page = String::from_utf8_lossy(&file.data).replace(VERSION, &version());
    let etag = etag(&Sha256::digest(page.as_bytes()));
    let mut response = if is_known(headers, &etag) {
        unchanged()
    } else {
        answer_file(method, page.into(), "text/html; charset=utf-8")
    };
    let headers = response.headers_mut();
    // Asked for each time, and mostly answered with 304: the next version is seen at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    insert(headers, ETAG, &etag);
    guard(headers);
    response
}

/// `GET /_emulator/ui/{version}/{path}`: a file that the page loads.
pub(super) fn file(method: &Method, headers: &HeaderMap, path: &[String]) -> Response {
    let [asked, path @ ..] = path else {
        return missing();
    };
    let path = path.join("/");
    let Some(file) = Files::get(&path).filter(|_| path != PAGE) else {
        return missing();
    };
    let etag = etag(&file.metadata.sha256_hash());
    let cache = if *asked == version() {
        "public, max-age=31536000, immutable"
    } else {
        // Another version's page asks: it gets what there is, and keeps it for no other.
        "no-cache"
    };
    let mut response = if is_known(headers, &etag) {
        unchanged()
    } else {
        answer_file(method, bytes_of(file), content_type(&path))
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    insert(headers, ETAG, &etag);
    guard(headers);
    response
}

/// One name for the state of all files.
fn version() -> String {
    let mut names: Vec<_> = Files::iter().collect();
    names.sort_unstable();
    let mut hash = Sha256::new();
    for name in names {
        if let Some(file) = Files::get(&name) {
            hash.update(name.as_bytes());
            hash.update(file.metadata.sha256_hash());
        }
    }
    hex(&hash.finalize()[..6])
}

fn answer_file(method: &Method, body: Bytes, kind: &'static str) -> Response {
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        body.into()
    };
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn bytes_of(file: EmbeddedFile) -> Bytes {
    match file.data {
        std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => bytes.into(),
    }
}

fn unchanged() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

fn missing() -> Response {
    answer::json(
        StatusCode::NOT_FOUND,
        r#"{"Message":"the dashboard has no such file"}"#,
    )
}

/// What tells a browser to keep strangers out.
fn guard(headers: &mut HeaderMap) {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (OPENER_POLICY, "same-origin"),
        (RESOURCE_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers.get(IF_NONE_MATCH).and_then(|it| it.to_str().ok());
    known.is_some_and(|known| known.split(',').any(|one| one.trim() == etag))
}

fn etag(hash: &[u8]) -> String {
    format!("\"{}\"", hex(&hash[..12]))
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("html") => "text/html; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_together_is_small() {
        let total: usize = Files::iter()
            .filter_map(|name| Files::get(&name))
            .map(|file| file.data.len())
            .sum();

        assert!(total <= 200 * 1024, "the dashboard has {total} bytes");
    }

    #[test]
    fn every_file_has_a_known_kind() {
        let unknown: Vec<_> = Files::iter()
            .filter(|name| content_type(name) == "application/octet-stream")
            .collect();

        assert_eq!(unknown, Vec::<std::borrow::Cow<'_, str>>::new());
    }
}
