//! The emulator's clock: shown, stopped, started, moved forward.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use iothub_hub::Upcoming;
use iothub_protocol::{Clock, Error, json as members};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Control, object_of};
use crate::http::{answer, body};

/// Further than a test has any reason to go, and within what a timestamp can hold.
const FURTHEST: f64 = 100.0 * 365.0 * 86_400.0;

/// Timers that are told when the reader does not say how many, and the most.
const TIMERS: usize = 50;
const MOST_TIMERS: usize = 1000;

/// How many timers are wanted.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wish {
    count: Option<usize>,
}

/// `GET /_emulator/clock`
pub(super) async fn show(State(control): State<Control>) -> Response {
    face(&control)
}

/// `POST /_emulator/clock/freeze`
pub(super) async fn freeze(State(control): State<Control>) -> Response {
    control.handle.clock().freeze();
    face(&control)
}

/// `POST /_emulator/clock/resume`
pub(super) async fn resume(State(control): State<Control>) -> Response {
    control.handle.clock().resume();
    face(&control)
}

/// `POST /_emulator/clock/advance` with `{"seconds": 60}`: answers once everything that falls due
/// on the way has happened.
pub(super) async fn advance(State(control): State<Control>, request: Request) -> Response {
    let result = try_advance(&control, request).await;
    control.answer(result)
}

/// `GET /_emulator/clock/timers[?count=50]`: what the hub does by itself next, soonest first, and
/// how much it will do some time. Connections have timers of their own, which are not told.
pub(super) async fn timers(
    State(control): State<Control>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Response {
    let most = match wish {
        Ok(Query(wish)) => wish.count.unwrap_or(TIMERS).min(MOST_TIMERS),
        Err(rejection) => {
            return control.refusal(&Error::argument_invalid(rejection.body_text()));
        }
    };
    let (timers, total) = control.handle.inspect(|hub| hub.upcoming(most));
    let now = control.handle.clock().now();
    let timers: Vec<Value> = timers
        .into_iter()
        .map(|Upcoming { due, what, client }| {
            let mut timer = json!({
                "due": due.to_iso(),
                "in_seconds": due.since(now).as_secs_f64(),
                "what": what,
            });
            if let Some(client) = client {
                timer["client"] = client.to_string().into();
            }
            timer
        })
        .collect();
    answer::value(&json!({"now": now.to_iso(), "total": total, "timers": timers}))
}

async fn try_advance(control: &Control, request: Request) -> Result<Response, Error> {
    let members = object_of(request, body::ENTITY).await?;
    let seconds = members::non_null(&members, "seconds")
        .and_then(serde_json::Value::as_f64)
        .filter(|seconds| (0.0..=FURTHEST).contains(seconds))
        .ok_or_else(|| Error::argument_invalid("seconds must be a number from 0"))?;
    control
        .handle
        .advance(Duration::from_secs_f64(seconds))
        .await;
    Ok(face(control))
}

fn face(control: &Control) -> Response {
    let clock = control.handle.clock();
    let frozen = clock.is_frozen();
    let mode = if frozen { "virtual" } else { "system" };
    answer::value(&json!({"now": clock.now().to_iso(), "mode": mode, "frozen": frozen}))
}
