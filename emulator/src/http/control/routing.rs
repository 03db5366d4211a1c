//! Message routes: set, shown, tried, and followed.

use axum::extract::{Request, State};
use axum::response::Response;
use iothub_hub::{RoutingRecord, RoutingSpec};
use iothub_protocol::{Error, json as members};
use serde_json::{Value, json};

use super::{Control, body_of, object_of};
use crate::http::{answer, body};

/// `GET /_emulator/routing`: routes, endpoints and enrichments in the shape of the real hub's
/// `properties.routing`.
pub(super) async fn show(State(control): State<Control>) -> Response {
    let result = control
        .perform(|hub, _, operator| hub.routing(operator))
        .await;
    control.answer(result.map(|document| answer::value(&document)))
}

/// `PUT /_emulator/routing`: replaces them all.
pub(super) async fn replace(State(control): State<Control>, request: Request) -> Response {
    let result = try_replace(&control, request).await;
    control.answer(result)
}

/// `DELETE /_emulator/routing`: everything goes to the built-in endpoint again.
pub(super) async fn clear(State(control): State<Control>) -> Response {
    let result = put(&control, RoutingSpec::default()).await;
    control.answer(result.map(|_| answer::no_content()))
}

/// `POST /_emulator/routing/test`: which routes a message would match.
pub(super) async fn test(State(control): State<Control>, request: Request) -> Response {
    let result = try_test(&control, request).await;
    control.answer(result)
}

/// `GET /_emulator/routing/log`: how often each route matched, what went to each endpoint, and the
/// last messages with the routes that they matched.
pub(super) async fn log(State(control): State<Control>) -> Response {
    let result = control
        .perform(|hub, _, operator| hub.routing_record(operator))
        .await;
    let result = result.map(|record| answer::value(&record_json(&control, &record)));
    control.answer(result)
}

async fn try_replace(control: &Control, request: Request) -> Result<Response, Error> {
    let body = body_of(request, body::ENTITY).await?;
    let spec = RoutingSpec::parse(&members::parse(&body)?)?;
    if spec.has_files() && control.handle.routes_folder().is_none() {
        return Err(Error::argument_invalid(
            "there is no folder for endpoints that are files: start with --routes-dir or --data-dir",
        ));
    }
    put(control, spec).await.map(|set| answer::value(&set))
}

async fn put(control: &Control, spec: RoutingSpec) -> Result<Value, Error> {
    control
        .perform(|hub, cx, operator| hub.put_routing(cx, operator, spec))
        .await
}

async fn try_test(control: &Control, request: Request) -> Result<Response, Error> {
    let input = object_of(request, body::FIXTURE).await?;
    let verdict = control
        .perform(|hub, cx, operator| hub.test_routes(cx, operator, &input))
        .await?;
    Ok(answer::value(&verdict))
}

fn record_json(control: &Control, record: &RoutingRecord) -> Value {
    let failures = control.handle.route_failures();
    let folder = control.handle.routes_folder();
    let routes: Vec<Value> = record
        .routes
        .iter()
        .map(|route| json!({"name": *route.name, "matched": route.matched}))
        .collect();
    let endpoints: Vec<Value> = record
        .endpoints
        .iter()
        .map(|endpoint| {
            let mut shown = json!({
                "name": *endpoint.name,
                "messages": endpoint.messages,
                "tooLarge": endpoint.too_large,
            });
            if let Some(failed) = failures.get(&endpoint.name) {
                shown["failed"] = failed.messages.into();
                shown["lastFailure"] = failed.last.as_str().into();
            }
            shown
        })
        .collect();
    let last: Vec<Value> = record
        .last
        .iter()
        .map(|routed| {
            let names = |list: &[std::sync::Arc<str>]| -> Value {
                list.iter().map(|name| Value::from(&**name)).collect()
            };
            json!({
                "enqueuedTime": routed.enqueued.to_iso(),
                "source": routed.source.route_name(),
                "client": routed.client.to_string(),
                "messageId": routed.message_id,
                "size": routed.size,
                "routes": names(&routed.routes),
                "fallback": routed.fallback,
                "endpoints": names(&routed.endpoints),
            })
        })
        .collect();
    json!({
        "folder": folder.map(|folder| folder.display().to_string()),
        "routes": routes,
        "fallback": record.fallback,
        "dropped": record.dropped,
        "endpoints": endpoints,
        "messages": last,
    })
}
