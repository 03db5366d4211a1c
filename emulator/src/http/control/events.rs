//! `GET /_emulator/events`: telemetry as JSON lines or server-sent events.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use iothub_hub::Event;
use iothub_protocol::{Error, Timestamp};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cursor::Cursor;
use super::event_json::event_json;
use super::event_log::{self, EventLog, Filter};
use super::{Control, Shutdown, device_id};
use crate::clock;
use crate::handle::HubHandle;
use crate::http::answer;

/// How many events a reader gets that does not say where to begin.
const NEWEST: usize = 10_000;
/// Bytes after which a piece of the stream is handed on; the next one is made when the peer has
/// taken it, so that a slow reader costs no more than this.
const PIECE: usize = 64 * 1024;
/// Pieces of a sampled stream: often enough to look live.
const PIECES_PER_SECOND: u32 = 5;
/// A sample of more is no sample.
const MOST_SAMPLED: u32 = 1_000;
/// Bytes of bodies in one piece of a sample, unless a single one has more.
const SAMPLED_BYTES: usize = 512 * 1024;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a reader wants.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wish {
    /// `earliest`, `latest`, a time, or a cursor.
    from: Option<String>,
    /// Only this device and its modules.
    device: Option<String>,
    /// At most so many events.
    max: Option<usize>,
    /// Go on when the stored events are read.
    follow: Option<bool>,
    /// At most so many events a second: the newest, with word of how many were passed over.
    sample: Option<u32>,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// One JSON document a line.
    Lines,
    /// Server-sent events; the id of each is the cursor after it.
    ServerSent,
}

/// `GET /_emulator/events[?from=earliest|latest|TIME|CURSOR][&device=ID][&max=N][&follow=true]
/// [&sample=N]`
///
/// Without `from`: the newest 10,000, or the newest `max`. A reader of server-sent events follows,
/// and goes on at its `Last-Event-ID`. With `sample`, at most so many a second: when there are
/// more, the newest, after an event `skipped` (or a line) `{"skipped": COUNT}`.
pub(super) async fn read(
    State(control): State<Control>,
    Extension(Shutdown(shutdown)): Extension<Shutdown>,
    headers: HeaderMap,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Response {
    let result = match wish {
        Ok(Query(wish)) => open(&control.handle, &headers, wish, shutdown).await,
        Err(rejection) => Err(Error::argument_invalid(rejection.body_text())),
    };
    control.answer(result)
}

async fn open(
    handle: &HubHandle,
    headers: &HeaderMap,
    wish: Wish,
    shutdown: CancellationToken,
) -> Result<Response, Error> {
    let format = Format::asked_for(headers);
    // Before the end is looked at, so that no event falls between.
    let appended = handle.appended();
    let filter = match &wish.device {
        None => Filter::all(),
        Some(device) => Filter::device(handle, device_id(device)?),
    };
    let resumed = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let from = match resumed.or(wish.from.as_deref()) {
        None => {
            let count = wish.max.unwrap_or(NEWEST);
            event_log::newest(handle, &filter, count.min(NEWEST)).await?
        }
        Some("earliest") => event_log::earliest(handle),
        Some("latest") => event_log::latest(handle),
        Some(text) => match Timestamp::parse_iso(text) {
            Some(time) => event_log::at_time(handle, time)?,
            None => Cursor::parse(text, handle.event_bounds().len())?,
        },
    };
    let feed = Feed {
        log: EventLog::open(handle.clone(), filter, from),
        format,
        left: wish.max.unwrap_or(usize::MAX),
        follow: wish.follow.unwrap_or(format == Format::ServerSent),
        sample: wish.sample.map(Sample::new).transpose()?,
        appended,
        shutdown,
    };
    let mut response = Response::new(Body::from_stream(feed.into_stream()));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What is left to be written of an answer.
struct Feed {
    log: EventLog,
    format: Format,
    left: usize,
    follow: bool,
    sample: Option<Sample>,
    appended: watch::Receiver<u64>,
    shutdown: CancellationToken,
}

/// How a stream is kept slow enough for somebody who looks at it.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Events of one piece.
    keep: u32,
    /// Between two pieces.
    rest: Duration,
    /// A piece has been handed on, and the rest after it is due.
    is_resting: bool,
}

impl Feed {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        stream::unfold(Some(self), |feed| async {
            let mut feed = feed?;
            match feed.next_piece().await {
                Ok(None) => None,
                Ok(Some(piece)) => Some((Ok(piece), Some(feed))),
                // Breaks the connection off, so that it does not look like the end.
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// The next events, as soon as there are some; `None` at the end.
    async fn next_piece(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let piece = match self.sample {
                None => self.render_piece()?,
                Some(sample) => {
                    if sample.is_resting && !self.rest(sample.rest).await {
                        return Ok(None);
                    }
                    self.render_newest(sample.keep as usize).await?
                }
            };
            if let Some(sample) = &mut self.sample {
                sample.is_resting = !piece.is_empty();
            }
            if !piece.is_empty() {
                return Ok(Some(piece.into()));
            }
            if self.left == 0 {
                return Ok(None);
            }
            if !self.log.is_at_end() {
                tokio::task::yield_now().await;
                continue;
            }
            if !self.follow {
                return Ok(None);
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(None),
                changed = self.appended.changed() => {
                    if changed.is_err() {
                        return Ok(None);
                    }
                }
            }
            self.log.refresh();
        }
    }

    fn render_piece(&mut self) -> Result<Vec<u8>, Error> {
        let mut piece = Vec::new();
        while piece.len() < PIECE && self.left > 0 {
            let Some(event) = self.log.next()? else { break };
            self.left -= 1;
            self.format.write(&mut piece, &event, &self.log.cursor());
        }
        Ok(piece)
    }

    /// Waits between two pieces of a sample; false when the emulator ends.
    async fn rest(&mut self, duration: Duration) -> bool {
        if self.follow {
            tokio::select! {
                () = self.shutdown.cancelled() => return false,
                () = clock::rest(duration) => {}
            }
        }
        self.log.refresh();
        true
    }

    /// The last `keep` events up to the end, and how many were passed over before them.
    async fn render_newest(&mut self, keep: usize) -> Result<Vec<u8>, Error> {
        let mut skipped = self.log.skip_to_last(keep as u64);
        let mut newest = VecDeque::new();
        let mut size = 0;
        loop {
            match self.log.next()? {
                Some(event) => {
                    size += event.message.body.len();
                    newest.push_back((event, self.log.cursor()));
                }
                None if self.log.is_at_end() => break,
                None => tokio::task::yield_now().await,
            }
            while newest.len() > keep || (size > SAMPLED_BYTES && newest.len() > 1) {
                let oldest = newest.pop_front();
                size -= oldest.map_or(0, |(event, _)| event.message.body.len());
                skipped += 1;
            }
        }
        let mut piece = Vec::new();
        if skipped > 0 {
            self.format.write_skipped(&mut piece, skipped);
        }
        for (event, cursor) in newest.into_iter().take(self.left) {
            self.left -= 1;
            self.format.write(&mut piece, &event, &cursor);
        }
        Ok(piece)
    }
}

impl Sample {
    /// So many events a second.
    fn new(rate: u32) -> Result<Self, Error> {
        if !(1..=MOST_SAMPLED).contains(&rate) {
            return Err(Error::argument_invalid(format!(
                "sample is a number of events a second, 1 to {MOST_SAMPLED}"
            )));
        }
        let keep = (rate / PIECES_PER_SECOND).max(1);
        Ok(Self {
            keep,
            rest: Duration::from_secs(1) * keep / rate,
            is_resting: false,
        })
    }
}

impl Format {
    fn asked_for(headers: &HeaderMap) -> Self {
        match answer::wants_events(headers) {
            true => Self::ServerSent,
            false => Self::Lines,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::ServerSent => "text/event-stream",
        }
    }

    fn write_skipped(self, out: &mut Vec<u8>, count: u64) {
        let text = match self {
            Self::Lines => format!("{{\"skipped\":{count}}}\n"),
            Self::ServerSent => format!("event: skipped\ndata: {{\"skipped\":{count}}}\n\n"),
        };
        out.extend_from_slice(text.as_bytes());
    }

    fn write(self, out: &mut Vec<u8>, event: &Event, cursor: &str) {
        let document = event_json(event, cursor).to_string();
        match self {
            Self::Lines => out.extend_from_slice(document.as_bytes()),
            Self::ServerSent => {
                out.extend_from_slice(format!("id: {cursor}\ndata: {document}\n").as_bytes());
            }
        }
        out.push(b'\n');
    }
}
