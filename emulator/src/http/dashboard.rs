//! The dashboard's files: a page at `/`, and what it loads, all out of the binary.
//!
//! The page is the same for everybody and holds nothing of the hub; what it shows it asks of the
//! control API. Everything else that it loads has a path with the version of all files in it, so a
//! browser keeps it for ever and never mixes two versions. Files are sent compressed to who takes
//! that.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{LazyLock, Mutex, PoisonError};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};
use rust_embed::{EmbeddedFile, RustEmbed};
use sha2::{Digest, Sha256};

use super::answer;
use crate::hex::hex;

/// The segment after the control API's root under which the files are.
pub(super) const FILES: &str = "ui";

/// The page itself.
const PAGE: &str = "index.html";
/// What stands in the page in place of the version of all files.
const VERSION: &str = "{version}";

/// States of files that are kept compressed.
const MOST_PACKED: usize = 256;

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
    let answer = Answer {
        hash: Sha256::digest(page.as_bytes()).into(),
        body: page.into(),
        kind: "text/html; charset=utf-8",
        // Asked for each time, and mostly answered with 304: the next version is seen at once.
        cache: "no-cache",
    };
    answer.to(method, headers)
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
    let answer = Answer {
        hash: file.metadata.sha256_hash(),
        body: bytes_of(file),
        kind: content_type(&path),
        cache: if *asked == version() {
            "public, max-age=31536000, immutable"
        } else {
            // Another version's page asks: it gets what there is, and keeps it for no other.
            "no-cache"
        },
    };
    answer.to(method, headers)
}

/// What is sent of a file.
struct Answer {
    hash: [u8; 32],
    body: Bytes,
    kind: &'static str,
    cache: &'static str,
}

impl Answer {
    fn to(self, method: &Method, asked: &HeaderMap) -> Response {
        let is_packed = takes_gzip(asked);
        let suffix = if is_packed { "-gzip" } else { "" };
        let etag = format!("\"{}{suffix}\"", hex(&self.hash[..12]));
        let mut response = if is_known(asked, &etag) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            self.whole(method, is_packed)
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(self.cache));
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(etag) = HeaderValue::try_from(etag) {
            headers.insert(ETAG, etag);
        }
        guard(headers);
        response
    }

    fn whole(&self, method: &Method, is_packed: bool) -> Response {
        let mut response = Response::new(if method == Method::HEAD {
            Body::empty()
        } else if is_packed {
            packed(self.hash, &self.body).into()
        } else {
            self.body.clone().into()
        });
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        if is_packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// Compressed, which is done once for each state of a file.
fn packed(hash: [u8; 32], plain: &[u8]) -> Bytes {
    static PACKED: LazyLock<Mutex<HashMap<[u8; 32], Bytes>>> = LazyLock::new(Mutex::default);
    let mut known = PACKED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(packed) = known.get(&hash) {
        return packed.clone();
    }
    let packed = gzip(plain);
    // Only where files are edited while they are served is there more than one state of each.
    if known.len() >= MOST_PACKED {
        known.clear();
    }
    known.insert(hash, packed.clone());
    packed
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default().into()
}

/// Whether the client says so; what it refuses by `;q=0` it does not get.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter();
    let mut codings = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map(str::parse::<f32>);
        name.trim().eq_ignore_ascii_case("gzip") && !matches!(weight, Some(Ok(0.0)))
    })
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

fn bytes_of(file: EmbeddedFile) -> Bytes {
    match file.data {
        std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => bytes.into(),
    }
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
            .map(|file| gzip(&file.data).len())
            .sum();

        assert!(total <= 200 * 1024, "{total} bytes are sent for all pages");
    }

    #[test]
    fn only_who_takes_gzip_gets_it() {
        for (accepted, expected) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            assert_eq!(takes_gzip(&headers), expected, "{accepted:?}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn every_file_has_a_known_kind() {
        let unknown: Vec<_> = Files::iter()
            .filter(|name| content_type(name) == "application/octet-stream")
            .collect();

        assert_eq!(unknown, Vec::<std::borrow::Cow<'_, str>>::new());
    }
}
