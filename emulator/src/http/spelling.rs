//! `ETag` and `Location` as the real hub spells them.
//!
//! To HTTP the case of a name is nothing, and what serves it here writes all names in lower case. But
//! the Java SDK's client of digital twins finds these two by their documented spelling alone.

use std::convert::Infallible;
use std::sync::{LazyLock, Mutex, PoisonError};

use axum::body::Body;
use axum::response::Response;
use futures_util::FutureExt as _;
use http::{Extensions, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io;

/// A head that has the names as they are to be written.
const SPECIMEN: &[u8] = b"GET / HTTP/1.1\r\nETag: \r\nLocation: \r\n\r\n";

static SPELLED: LazyLock<Extensions> = LazyLock::new(learn);

/// Has these headers of a response written in the real hub's spelling.
pub(super) fn spell(response: &mut Response) {
    response.extensions_mut().extend(SPELLED.clone());
}

/// A spelling can be had only from where hyper keeps it: with a request that it has read. One from
/// memory is read and answered without waiting.
fn learn() -> Extensions {
    let learned = Mutex::new(Extensions::new());
    let service = service_fn(|request: Request<Incoming>| {
        let (parts, _) = request.into_parts();
        *learned.lock().unwrap_or_else(PoisonError::into_inner) = parts.extensions;
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    });
    // How the answer fares does not matter.
    let _ = http1::Builder::new()
        .preserve_header_case(true)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(io::join(SPECIMEN, io::sink())), service)
        .now_or_never();
    learned.into_inner().unwrap_or_else(PoisonError::into_inner)
}
