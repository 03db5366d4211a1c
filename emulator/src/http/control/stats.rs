//! What the emulator does, in numbers: once, or as a stream.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use iothub_protocol::Error;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Control, Shutdown};
use crate::http::answer;
use crate::stats::{Totals, Watcher, latency_so_far, snapshot};

/// How often a watcher is told unless it says.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a reader wants.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wish {
    /// Milliseconds between two samples, 100 to 60,000.
    interval: Option<u64>,
    /// How many of the busiest clients and slowest operations to tell, up to 50.
    rank: Option<usize>,
}

/// `GET /_emulator/stats[?interval=1000][&rank=20]`: totals, or samples as server-sent events to
/// those who accept them. The id of each is its number; a gap is what the reader was too slow for.
pub(super) async fn read(
    State(control): State<Control>,
    Extension(Shutdown(shutdown)): Extension<Shutdown>,
    headers: HeaderMap,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Response {
    let wish = match wish {
        Ok(Query(wish)) => wish,
        Err(rejection) => {
            return control.refusal(&Error::argument_invalid(rejection.body_text()));
        }
    };
    if !answer::wants_events(&headers) {
        let totals = Totals::of(&control.handle);
        let mut document = snapshot(&totals);
        document.insert("latency".into(), latency_so_far(&totals));
        return answer::value(&Value::Object(document));
    }
    let interval = wish.interval.map_or(INTERVAL, Duration::from_millis);
    let watcher = control.sampler.watch(interval, wish.rank.unwrap_or(0));
    let mut response = Response::new(Body::from_stream(stream_of(watcher, shutdown)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Sample after sample; each is made when the reader has taken the one before.
fn stream_of(
    watcher: Watcher,
    shutdown: CancellationToken,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    stream::unfold((watcher, shutdown), |(mut watcher, shutdown)| async {
        let (number, document) = tokio::select! {
            () = shutdown.cancelled() => return None,
            sample = watcher.next() => sample,
        };
        let piece = format!("id: {number}\ndata: {document}\n\n");
        Some((Ok(piece.into()), (watcher, shutdown)))
    })
}
