//! Requests and answers as the timeline takes them down, while somebody asks for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, TRANSFER_ENCODING};
use http::{Request, Version};
use hyper::body::{Body as _, Incoming};
use iothub_protocol::http::path_segments;

use super::control;
use crate::timeline::{Direction, Tap};

/// Bytes of a body that are kept.
const MOST_BYTES: usize = 64 * 1024;

/// One request on its way, and its answer. HTTP is taken down message by message, so that what goes
/// to the dashboard is not among it.
pub(super) struct Recorded<'a> {
    /// `None`: nobody asks.
    tap: Option<&'a Mutex<Tap>>,
    /// The request's head, until its body is there.
    head: Mutex<Option<Vec<u8>>>,
}

impl<'a> Recorded<'a> {
    /// A request that has arrived.
    pub(super) fn begin(tap: &'a Mutex<Tap>, request: &Request<Incoming>) -> Self {
        if !lock(tap).is_on() || is_of_the_dashboard(request.uri().path()) {
            return Self::nothing();
        }
        let recorded = Self {
            tap: Some(tap),
            head: Mutex::new(Some(request_head(request))),
        };
        if request.body().is_end_stream() {
            recorded.body(&[]);
        }
        recorded
    }

    /// What is not taken down.
    pub(super) fn nothing() -> Self {
        Self {
            tap: None,
            head: Mutex::default(),
        }
    }

    /// The request's body has been read.
    pub(super) fn body(&self, body: &[u8]) {
        self.request(body, 0);
    }

    /// The answer, on its way back.
    pub(super) async fn answered(&self, response: Response) -> Response {
        let Some(tap) = self.tap else {
            return response;
        };
        // What nobody has read is not known.
        self.request(&[], 0);
        let (parts, body) = response.into_parts();
        let length = body.size_hint().exact();
        let (kept, cut, body) = match length.and_then(|it| usize::try_from(it).ok()) {
            Some(length) if length <= MOST_BYTES => {
                // It is there already.
                match axum::body::to_bytes(body, length).await {
                    Ok(bytes) => (bytes.clone(), 0, Body::from(bytes)),
                    Err(_) => (Bytes::new(), 0, Body::empty()),
                }
            }
            _ => (Bytes::new(), length.unwrap_or_default(), body),
        };
        let status = parts.status;
        let reason = status.canonical_reason().unwrap_or_default();
        let mut message = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
        put_headers(&mut message, &parts.headers);
        if !parts.headers.contains_key(CONTENT_LENGTH) && !status.is_informational() {
            let length = length.unwrap_or_default();
            message.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(&kept);
        lock(tap).message(Direction::Out, &message, cut);
        Response::from_parts(parts, body)
    }

    fn request(&self, body: &[u8], more: u64) {
        let head = self
            .head
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (Some(tap), Some(mut message)) = (self.tap, head) else {
            return;
        };
        let kept = &body[..body.len().min(MOST_BYTES)];
        if !body.is_empty() {
            message.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(kept);
        let cut = (body.len() - kept.len()) as u64 + more;
        lock(tap).message(Direction::In, &message, cut);
    }
}

/// What the people who run the emulator ask for is no part of what their devices do, however the
/// path is written: their token is in it.
fn is_of_the_dashboard(path: &str) -> bool {
    let segments = path_segments(path).unwrap_or_default();
    segments.first().is_none_or(|first| {
        first.is_empty() || first == control::METRICS || first.eq_ignore_ascii_case(control::ROOT)
    })
}

/// The head without the lines that say how long the body is, and without the last, empty line: the
/// body is kept without the chunks in which it may have come.
fn request_head(request: &Request<Incoming>) -> Vec<u8> {
    let version = match request.version() {
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    let mut head = format!("{} {} {version}\r\n", request.method(), request.uri()).into_bytes();
    put_headers(&mut head, request.headers());
    head
}

fn put_headers(out: &mut Vec<u8>, headers: &HeaderMap) {
    let tells_length = |name: &HeaderName| *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING;
    for (name, value) in headers.iter().filter(|it| !tells_length(it.0)) {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn lock(tap: &Mutex<Tap>) -> MutexGuard<'_, Tap> {
    tap.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_api_is_left_out_however_its_path_is_written() {
        for path in [
            "/",
            "/metrics",
            "/_emulator",
            "/_emulator/info",
            "/_Emulator/login",
            "/%5Femulator/info",
            "/_emulator%2Finfo",
            "//_emulator/info",
            "/%FF",
        ] {
            assert!(is_of_the_dashboard(path), "{path}");
        }
        for path in ["/devices/d1", "/devices/_emulator", "/twins%2Fd1"] {
            assert!(!is_of_the_dashboard(path), "{path}");
        }
    }
}
