//! `GET /_emulator/timeline`: what happens in the hub and on the wire, as JSON lines, server-sent
//! events, or a file for Wireshark; and whether it is kept while nobody looks.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use iothub_protocol::Error;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Control, Shutdown, client_id, object_of};
use crate::clock;
use crate::handle::HubHandle;
use crate::http::{answer, body};
use crate::timeline::{From, PcapNg, Reader, Seen, Viewer, What, Wish};

/// How many lines a reader gets that does not say where to begin, and bytes of them.
const NEWEST: usize = 10_000;
const NEWEST_BYTES: usize = 4 * 1024 * 1024;
/// Bytes after which a piece of the stream is handed on; the next one is made when the peer has
/// taken it, so that a slow reader costs no more than this.
const PIECE: usize = 64 * 1024;
/// Entries that are taken at a time.
const CHUNK: usize = 64;
/// Entries that are looked at before other tasks have their turn: nothing may come of them, and more
/// may be coming all the while.
const LOOKED_AT: usize = 1024;
/// Bytes of a packet that can be asked for.
const MOST_HEX: usize = 64 * 1024;
/// Long enough for what happens in quick succession to come together, and too short for a person to
/// notice.
const GATHER: Duration = Duration::from_millis(20);
/// Between two full pieces for a reader of server-sent events: a browser draws what it gets, and does
/// nothing else while more is there. What goes past it meanwhile is told as missed.
const BREATH: Duration = Duration::from_millis(100);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a reader asks for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// Only this device and its modules, or this module: `d1`, `d1/m1`.
    client: Option<String>,
    /// `notice`, `refusal`, `operation`, `wire`, with commas.
    kinds: Option<String>,
    /// Only notices of these names, with commas.
    events: Option<String>,
    /// A place, or `latest`.
    after: Option<String>,
    /// At most so many lines of what is there; behind a place, so many entries in all.
    max: Option<usize>,
    /// Go on with what happens then.
    follow: Option<bool>,
    /// So many bytes of each packet in hexadecimal.
    hex: Option<usize>,
    /// `json` or `pcapng`.
    format: Option<String>,
}

/// How a timeline is written.
enum Format {
    /// One JSON document a line.
    Lines,
    /// Server-sent events; the id of each is its place.
    ServerSent,
    /// Packets.
    PcapNg(PcapNg),
}

/// `GET /_emulator/timeline/recording`
pub(super) async fn recording(State(control): State<Control>) -> Response {
    answer::value(&json!({"wire": control.handle.timeline().is_recording()}))
}

/// `PUT /_emulator/timeline/recording` with `{"wire":true|false}`
pub(super) async fn record(State(control): State<Control>, request: Request) -> Response {
    let result = match object_of(request, body::ENTITY).await {
        Ok(asked) => match asked.get("wire").and_then(Value::as_bool) {
            Some(on) => {
                control.handle.timeline().record(on);
                Ok(answer::value(&json!({"wire": on})))
            }
            None => Err(Error::argument_invalid(
                "expected {\"wire\": true} or false",
            )),
        },
        Err(error) => Err(error),
    };
    control.answer(result)
}

/// `GET /_emulator/timeline[?client=ID][&kinds=…][&events=…][&after=SEQ|latest][&max=N][&follow=true]
/// [&hex=N][&format=json|pcapng]`
///
/// Without `after`: the newest 10,000 lines, or the newest `max`. A reader of server-sent events
/// follows, and goes on at its `Last-Event-ID`. What has gone before it could be read is told as
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
    let format = match asked.format.as_deref() {
        Some("pcapng") => Format::PcapNg(PcapNg::new()),
        None | Some("json") if answer::wants_events(headers) => Format::ServerSent,
        None | Some("json") => Format::Lines,
        Some(other) => {
            let detail = format!("format: {other:?}, expected json or pcapng");
            return Err(Error::argument_invalid(detail));
        }
    };
    let usual = match format {
        Format::PcapNg(_) => "wire",
        Format::Lines | Format::ServerSent => "notice,refusal",
    };
    let mut wish = Wish::kinds(asked.kinds.as_deref().unwrap_or(usual))?;
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
    let kind = HeaderValue::from_static(format.content_type());
    let is_pcap = matches!(format, Format::PcapNg(_));
    let follows = matches!(format, Format::ServerSent);
    let mut feed = Feed {
        reader: Reader::new(handle.timeline().clone(), wish.clone(), from),
        ready: VecDeque::new(),
        viewer: Viewer::new(wish, asked.hex.unwrap_or_default().min(MOST_HEX)),
        format,
        left: usize::MAX,
        follow: asked.follow.unwrap_or(follows),
        is_full: false,
        shutdown,
    };
    if after.is_some() {
        feed.left = asked.max.unwrap_or(usize::MAX);
    } else if !is_pcap {
        feed.catch_up(asked.max.unwrap_or(NEWEST).min(NEWEST)).await;
    }
    let mut response = Response::new(Body::from_stream(feed.into_stream()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What is left to be written of an answer.
struct Feed {
    reader: Reader,
    /// What was there at the beginning, written already.
    ready: VecDeque<Vec<u8>>,
    viewer: Viewer,
    format: Format,
    left: usize,
    follow: bool,
    /// Whether the last piece was as long as pieces are.
    is_full: bool,
    shutdown: CancellationToken,
}

impl Feed {
    /// Writes the newest lines of what is there. Goes through it all, so the other tasks get their
    /// turns in between.
    async fn catch_up(&mut self, count: usize) {
        let (mut bytes, mut seen) = (0, Vec::new());
        let end = self.reader.newest_place();
        while self.reader.place() < end {
            for entry in self.reader.take(CHUNK).entries {
                self.viewer.look(entry, &mut seen);
            }
            for seen in seen.drain(..) {
                let (server_sent, id) = (self.is_server_sent(), seen.entry.seq);
                let ready = &mut self.ready;
                self.viewer.show(&seen, &mut |line| {
                    let mut piece = Vec::new();
                    write(&mut piece, server_sent, Some(id), &line);
                    bytes += piece.len();
                    ready.push_back(piece);
                });
            }
            while self.ready.len() > count || bytes > NEWEST_BYTES {
                bytes -= self.ready.pop_front().map_or(bytes, |piece| piece.len());
            }
            tokio::task::yield_now().await;
        }
    }

    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        stream::unfold(self, |mut feed| async {
            let piece = feed.next_piece().await?;
            Some((Ok(piece), feed))
        })
    }

    /// The next entries, as soon as there are some; `None` at the end.
    async fn next_piece(&mut self) -> Option<Bytes> {
        if self.is_full && self.follow && self.is_server_sent() && self.ready.is_empty() {
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                () = clock::rest(BREATH) => {}
            }
        }
        loop {
            let piece = self.render_piece();
            if !piece.is_empty() {
                self.is_full = piece.len() >= PIECE;
                return Some(piece.into());
            }
            if self.left == 0 {
                return None;
            }
            if !self.reader.is_at_end() {
                if self.follow && self.shutdown.is_cancelled() {
                    return None;
                }
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
        if let Format::PcapNg(file) = &mut self.format {
            file.begin(&mut piece);
        }
        while piece.len() < PIECE
            && let Some(ready) = self.ready.pop_front()
        {
            piece.extend_from_slice(&ready);
        }
        let (mut seen, mut looked_at) = (Vec::new(), 0);
        while piece.len() < PIECE && self.left > 0 && looked_at < LOOKED_AT {
            let batch = self.reader.take(CHUNK.min(self.left));
            if batch.missed > 0 {
                self.write_missed(&mut piece, batch.missed);
            }
            if batch.entries.is_empty() {
                break;
            }
            self.left -= batch.entries.len();
            looked_at += batch.entries.len();
            for entry in batch.entries {
                self.viewer.look(entry, &mut seen);
            }
            for seen in seen.drain(..) {
                self.write_seen(&mut piece, &seen);
            }
        }
        piece
    }

    fn write_seen(&mut self, piece: &mut Vec<u8>, seen: &Seen) {
        let server_sent = self.is_server_sent();
        if let Format::PcapNg(file) = &mut self.format {
            if let What::Exchange(exchange) = &seen.entry.what {
                file.write(seen.entry.at, exchange, piece);
            }
            return;
        }
        self.viewer.show(seen, &mut |line| {
            write(piece, server_sent, Some(seen.entry.seq), &line);
        });
    }

    fn write_missed(&self, piece: &mut Vec<u8>, count: u64) {
        match &self.format {
            Format::Lines => write(piece, false, None, &json!({"missed": count})),
            Format::ServerSent => {
                piece.extend_from_slice(b"event: missed\n");
                write(piece, true, None, &json!({"count": count}));
            }
            // The packets' numbers tell.
            Format::PcapNg(_) => {}
        }
    }

    fn is_server_sent(&self) -> bool {
        matches!(self.format, Format::ServerSent)
    }
}

impl Format {
    fn content_type(&self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::ServerSent => "text/event-stream",
            Self::PcapNg(_) => "application/x-pcapng",
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
