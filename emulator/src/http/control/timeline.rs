//! `GET /_emulator/timeline`: what happens in the hub, as JSON lines or server-sent events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use iothub_protocol::Error;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Control, Shutdown, client_id};
use crate::clock;
use crate::handle::HubHandle;
use crate::http::answer;
use crate::timeline::{Entry, From, Reader, Viewer, Wish};

/// How many entries a reader gets that does not say where to begin.
const NEWEST: usize = 10_000;
/// Bytes after which a piece of the stream is handed on; the next one is made when the peer has
/// taken it, so that a slow reader costs no more than this.
const PIECE: usize = 64 * 1024;
/// Entries that are taken at a time.
const CHUNK: usize = 64;
/// Long enough for what happens in quick succession to come together, and too short for a person to
/// notice.
const GATHER: Duration = Duration::from_millis(20);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a reader asks for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// Only this device and its modules, or this module: `d1`, `d1/m1`.
    client: Option<String>,
    /// `notice`, `operation`, with commas; both.
    kinds: Option<String>,
    /// Only notices of these names, with commas.
    events: Option<String>,
    /// A place, or `latest`.
    after: Option<String>,
    /// At most so many entries of those that are there.
    max: Option<usize>,
    /// Go on with what happens then.
    follow: Option<bool>,
}

/// `GET /_emulator/timeline[?client=ID][&kinds=…][&events=…][&after=SEQ|latest][&max=N][&follow=true]`
///
/// Without `after`: the newest 10,000, or the newest `max`. A reader of server-sent events follows,
/// and goes on at its `Last-Event-ID`. What has gone before it could be read is told as
/// `{"missed":N}`, in server-sent events as an event `missed`.
pub(super) async fn read(
    State(control): State<Control>,
    Extension(Shutdown(shutdown)): Extension<Shutdown>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let result = match asked {
        Ok(Query(asked)) => open(&control.handle, &headers, asked, shutdown).await,
        Err(rejection) => Err(Error::argument_invalid(rejection.body_text())),
    };
    control.answer(result)
}

async fn open(
    handle: &HubHandle,
    headers: &HeaderMap,
    asked: Asked,
    shutdown: CancellationToken,
) -> Result<Response, Error> {
    let server_sent = answer::wants_events(headers);
    let mut wish = Wish::kinds(asked.kinds.as_deref().unwrap_or("notice,operation"))?;
    if let Some(client) = &asked.client {
        wish = wish.about(client_id(client)?);
    }
    if let Some(events) = &asked.events {
        wish = wish.events(events)?;
    }
    let resumed = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let after = resumed.or(asked.after.as_deref());
    let from = match after {
        None => From::After(0),
        Some("latest") => From::Now,
        Some(place) => From::After(place.parse().map_err(|_| {
            Error::argument_invalid(format!("after: {place:?}, expected a number or latest"))
        })?),
    };
    let mut reader = Reader::new(handle.timeline().clone(), wish, from);
    let ready = match after {
        None => reader.newest(asked.max.unwrap_or(NEWEST).min(NEWEST)).await,
        Some(_) => VecDeque::new(),
    };
    let feed = Feed {
        reader,
        ready,
        viewer: Viewer::new(),
        server_sent,
        left: match after {
            None => usize::MAX,
            Some(_) => asked.max.unwrap_or(usize::MAX),
        },
        follow: asked.follow.unwrap_or(server_sent),
        shutdown,
    };
    let mut response = Response::new(Body::from_stream(feed.into_stream()));
    let kind = match server_sent {
        true => "text/event-stream",
        false => "application/x-ndjson",
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What is left to be written of an answer.
struct Feed {
    reader: Reader,
    /// Entries that have been read already.
    ready: VecDeque<Arc<Entry>>,
    viewer: Viewer,
    server_sent: bool,
    left: usize,
    follow: bool,
    shutdown: CancellationToken,
}

impl Feed {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        stream::unfold(self, |mut feed| async {
            let piece = feed.next_piece().await?;
            Some((Ok(piece), feed))
        })
    }

    /// The next entries, as soon as there are some; `None` at the end.
    async fn next_piece(&mut self) -> Option<Bytes> {
        loop {
            let piece = self.render_piece();
            if !piece.is_empty() {
                return Some(piece.into());
            }
            if self.left == 0 {
                return None;
            }
            if !self.reader.is_at_end() {
                tokio::task::yield_now().await;
                continue;
            }
            if !self.follow {
                return None;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                () = self.reader.more() => {}
            }
            // Fewer and larger pieces, and a bound on what a reader costs while much happens.
            clock::rest(GATHER).await;
        }
    }

    fn render_piece(&mut self) -> Vec<u8> {
        let mut piece = Vec::new();
        while piece.len() < PIECE && self.left > 0 {
            if self.ready.is_empty() {
                let batch = self.reader.take(CHUNK.min(self.left));
                if batch.missed > 0 {
                    self.write_missed(&mut piece, batch.missed);
                }
                self.ready.extend(batch.entries);
            }
            let Some(entry) = self.ready.pop_front() else {
                break;
            };
            self.left -= 1;
            let server_sent = self.server_sent;
            self.viewer.show(&entry, &mut |line| {
                write(&mut piece, server_sent, Some(entry.seq), &line);
            });
        }
        piece
    }

    fn write_missed(&self, piece: &mut Vec<u8>, count: u64) {
        if self.server_sent {
            piece.extend_from_slice(b"event: missed\n");
            write(piece, true, None, &serde_json::json!({"count": count}));
        } else {
            write(piece, false, None, &serde_json::json!({"missed": count}));
        }
    }
}

fn write(piece: &mut Vec<u8>, server_sent: bool, id: Option<u64>, line: &Value) {
    if server_sent {
        if let Some(id) = id {
            piece.extend_from_slice(format!("id: {id}\n").as_bytes());
        }
        piece.extend_from_slice(b"data: ");
    }
    // Writing to a vector cannot fail.
    let _ = serde_json::to_writer(&mut *piece, line);
    piece.extend_from_slice(if server_sent { b"\n\n" } else { b"\n" });
}
