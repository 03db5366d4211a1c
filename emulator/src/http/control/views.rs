//! Lists of devices that a person scrolls through: what a query or filter found, kept by name, and
//! read row by row with what is known now.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as Parameters, Request, State};
use axum::response::Response;
use iothub_hub::{Glance, Hub, Query, QuerySnapshot};
use iothub_protocol::http::ErrorFormat;
use iothub_protocol::{ClientId, Error, ErrorCode, json as members};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::shelf::{Content, Names, Rows, View};
use super::{Control, object_of};
use crate::clock::Stopwatch;
use crate::http::{answer, body, error};

/// The most rows of an answer: the hub is looked at for all of them at once.
const LARGEST_ANSWER: usize = 500;
/// Rows of an answer when the reader does not say.
const ANSWER: usize = 100;

/// What is to be listed.
enum Wish {
    /// Every device.
    All,
    /// The devices with this in their names, whatever the case.
    Filter(String),
    /// What the hub's language says.
    Query(String),
}

/// Which rows are asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Range {
    offset: Option<usize>,
    count: Option<usize>,
}

/// `POST /_emulator/views` with `{"query":"SELECT * FROM devices WHERE …"}`, `{"filter":"text"}` or
/// `{}`: finds, and answers how much. Works on a snapshot, on a thread of its own.
pub(super) async fn make(State(control): State<Control>, request: Request) -> Response {
    match try_make(&control, request).await {
        Ok(response) => response,
        Err(refused) => refusal(&control, &refused),
    }
}

/// `GET /_emulator/views/{id}[?offset=N][&count=M]`: rows of it, with what is known of each now.
pub(super) async fn read(
    State(control): State<Control>,
    Path(id): Path<String>,
    range: Result<Parameters<Range>, QueryRejection>,
) -> Response {
    let result = match range {
        Ok(Parameters(range)) => try_read(&control, &id, &range).await,
        Err(rejection) => Err(Error::argument_invalid(rejection.body_text())),
    };
    control.answer(result)
}

async fn try_make(control: &Control, request: Request) -> Result<Response, Error> {
    let wish = Wish::parse(&object_of(request, body::ENTITY).await?)?;
    // A person who types makes one view after the other; the hub's own work goes on beside two.
    let turn = control.views.turn().await;
    let watch = Stopwatch::start();
    let (query, snapshot) = control
        .perform(|hub, _, operator| {
            let Wish::Query(text) = &wish else {
                return Ok((None, hub.snapshot_without_presence(operator)?));
            };
            let query = Query::parse(text, hub.config().limits.strict_queries)?;
            let snapshot = hub.snapshot_for(operator, &query)?;
            Ok((Some(query), snapshot))
        })
        .await?;
    let found = tokio::task::spawn_blocking(move || {
        // Kept until the work is done, even when nobody waits for it any more.
        let _turn = turn;
        find(&wish, query.as_ref(), &snapshot)
    });
    let view = found
        .await
        .map_err(|error| Error::new(ErrorCode::ServerError, error.to_string()))?;
    let mut told = described(&view);
    let id = control.views.keep(view);
    told.shift_insert(0, "id".to_owned(), id.into());
    told.insert("elapsed_ms".to_owned(), milliseconds(watch.elapsed()));
    Ok(answer::value(&Value::Object(told)))
}

async fn try_read(control: &Control, id: &str, range: &Range) -> Result<Response, Error> {
    let view = control.views.find(id).ok_or_else(|| {
        let detail = format!("view {id} is not kept any more");
        Error::new(ErrorCode::GenericNotFound, detail)
    })?;
    let from = range.offset.unwrap_or_default();
    let count = range.count.unwrap_or(ANSWER);
    if count > LARGEST_ANSWER {
        let detail = format!("count must be a number up to {LARGEST_ANSWER}");
        return Err(Error::argument_invalid(detail));
    }
    let mut told = described(&view);
    told.insert("offset".to_owned(), from.into());
    let rows = match &view.content {
        Content::Names(names) => glances(control, names.range(from, count)).await?,
        Content::Rows(rows) => rows.range(from, count),
    };
    told.insert("rows".to_owned(), rows.into());
    Ok(answer::value(&Value::Object(told)))
}

/// The hub is held for as long as it takes to look these clients up; documents are made of them
/// afterwards.
async fn glances(
    control: &Control,
    clients: impl Iterator<Item = ClientId>,
) -> Result<Vec<Value>, Error> {
    let clients: Vec<_> = clients.collect();
    let glances = control
        .perform(|hub: &mut Hub, _, operator| hub.glances(operator, clients))
        .await?;
    Ok(glances.iter().map(Glance::to_json).collect())
}

fn find(wish: &Wish, query: Option<&Query>, snapshot: &QuerySnapshot) -> View {
    match (wish, query) {
        (_, Some(query)) if query.finds_clients() => {
            View::of(Names::collect(query.clients(snapshot).cloned()))
        }
        (_, Some(query)) => {
            let columns = query.columns().into_iter().map(str::to_owned).collect();
            let rows = Rows::collect(columns, query.rows(snapshot));
            let left_out = match rows.is_full() {
                true => query.row_count(snapshot) - rows.len() as u64,
                false => 0,
            };
            View {
                content: Content::Rows(rows),
                left_out,
            }
        }
        (Wish::Filter(part), None) => {
            let part = part.as_bytes();
            let has = |name: &str| {
                let mut places = name.as_bytes().windows(part.len());
                places.any(|place| place.eq_ignore_ascii_case(part))
            };
            let found = snapshot.devices().filter(|id| has(id.as_str()));
            View::of(Names::collect(found.cloned().map(ClientId::device)))
        }
        (Wish::All | Wish::Query(_), None) => View::of(Names::collect(
            snapshot.devices().cloned().map(ClientId::device),
        )),
    }
}

fn described(view: &View) -> Map<String, Value> {
    let mut told = Map::new();
    told.insert("count".to_owned(), view.content.len().into());
    if view.left_out > 0 {
        told.insert("left_out".to_owned(), view.left_out.into());
    }
    let of = match &view.content {
        Content::Names(names) if names.are_modules() => "modules",
        Content::Names(_) => "devices",
        Content::Rows(_) => "rows",
    };
    told.insert("of".to_owned(), of.into());
    if let Content::Rows(rows) = &view.content {
        told.insert("columns".to_owned(), json!(rows.columns()));
    }
    told
}

/// A query that cannot be read is refused with its place as a number, for an editor to show.
fn refusal(control: &Control, refused: &Error) -> Response {
    match Query::position_of(refused) {
        None => control.refusal(refused),
        Some(position) => {
            let handle = &control.handle;
            error::refusal_with(handle, refused, ErrorFormat::Legacy, "position", position)
        }
    }
}

fn milliseconds(span: Duration) -> Value {
    let milliseconds = (span.as_secs_f64() * 1e6).round() / 1e3;
    milliseconds.into()
}

impl Wish {
    fn parse(wish: &Map<String, Value>) -> Result<Self, Error> {
        let is_known = |key: &str| {
            ["query", "filter"]
                .iter()
                .any(|it| it.eq_ignore_ascii_case(key))
        };
        if let Some(unknown) = wish.keys().find(|key| !is_known(key)) {
            let detail = format!("a view has a query or a filter, and no {unknown}");
            return Err(Error::argument_invalid(detail));
        }
        let text = |name| {
            let text = members::string(wish, name)?;
            Ok::<_, Error>(text.map(str::trim).filter(|text| !text.is_empty()))
        };
        match (text("query")?, text("filter")?) {
            (Some(_), Some(_)) => Err(Error::argument_invalid(
                "a view has a query or a filter, not both",
            )),
            (Some(query), None) => Ok(Self::Query(query.to_owned())),
            (None, Some(filter)) => Ok(Self::Filter(filter.to_owned())),
            (None, None) => Ok(Self::All),
        }
    }
}
