//! The control API under `/_emulator`: for the people and tests that run the emulator. Whoever the
//! guard lets through does everything as [`Principal::operator`].

mod auth;
mod certificates;
mod clock;
mod connections;
mod consumer_groups;
mod cursor;
mod event_json;
mod event_log;
mod events;
mod faults;
mod health;
mod info;
mod leaf;
mod metrics;
mod not_emulated;
mod partitions;
mod queues;
mod reset;
mod routing;
mod seed;
mod shelf;
mod stats;
mod throttles;
mod timeline;
mod views;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{delete, get, post};
use bytes::Bytes;
use iothub_hub::{Cx, Hub, Principal};
use iothub_protocol::http::ErrorFormat;
use iothub_protocol::{ClientId, DeviceId, Error, ModuleId};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{body, error};
use crate::activity::OperationKind;
use crate::handle::HubHandle;
use crate::stats::Sampler;

use shelf::Views;

pub(super) use health::asks_for_words;
pub use info::{EventsStrings, Info};

/// The first segment of every path of the control API.
pub(super) const ROOT: &str = "_emulator";
/// The first segment below it of the metrics, which are at the root, too.
pub(super) const METRICS: &str = "metrics";
/// The segment below it under which the hub's own REST paths are answered in the operator's name.
pub(super) const HUB: &str = "hub";
/// Whether the emulator is ready: the one path that the guard lets everybody ask, for one word.
pub(super) const HEALTH: &str = "health";
/// Where a browser changes the admin token for a cookie.
pub(super) const LOGIN: &str = "login";
/// Where it gives the cookie back.
pub(super) const LOGOUT: &str = "logout";

/// Asks a connection to end; every request carries its own.
#[derive(Clone)]
pub(super) struct Shutdown(pub(super) CancellationToken);

/// What every operation of the control API has.
#[derive(Clone)]
struct Control {
    handle: HubHandle,
    info: Arc<Info>,
    views: Arc<Views>,
    sampler: Sampler,
}

/// The routes of the control API.
pub(super) fn router(handle: HubHandle, info: Arc<Info>) -> Router {
    let routes = Router::new()
        .route("/health", get(health::show))
        .route("/info", get(info::show))
        .route("/auth/explain", post(auth::explain))
        .route("/auth/sign", post(auth::sign))
        .route("/clock", get(clock::show))
        .route("/clock/freeze", post(clock::freeze))
        .route("/clock/resume", post(clock::resume))
        .route("/clock/advance", post(clock::advance))
        .route("/clock/timers", get(clock::timers))
        .route("/reset", post(reset::reset))
        .route("/seed", post(seed::seed))
        .route("/events", get(events::read))
        .route("/partitions", get(partitions::list))
        .route("/timeline", get(timeline::read))
        .route(
            "/timeline/recording",
            get(timeline::recording).put(timeline::record),
        )
        .route("/connections", get(connections::list))
        .route(
            "/connections/{device}",
            get(connections::of_device).delete(connections::drop_device),
        )
        .route(
            "/connections/{device}/{module}",
            delete(connections::drop_module).post(connections::expire_device),
        )
        .route(
            "/connections/{device}/{module}/expire-token",
            post(connections::expire_module),
        )
        .route("/devices/{device}/c2d", get(queues::of_device))
        .route(
            "/devices/{device}/modules/{module}/c2d",
            get(queues::of_module),
        )
        .route(
            "/faults",
            get(faults::list).post(faults::add).delete(faults::clear),
        )
        .route("/faults/choices", get(faults::choices))
        .route(
            "/routing",
            get(routing::show)
                .put(routing::replace)
                .delete(routing::clear),
        )
        .route("/routing/test", post(routing::test))
        .route("/routing/log", get(routing::log))
        .route("/certificates", get(certificates::list))
        .route(
            "/certificates/{name}",
            get(certificates::show)
                .post(leaf::make)
                .put(certificates::put)
                .delete(certificates::remove),
        )
        .route(
            "/certificates/{name}/generateVerificationCode",
            post(certificates::generate_verification_code),
        )
        .route("/certificates/{name}/verify", post(certificates::verify))
        .route("/consumer-groups", get(consumer_groups::list))
        .route(
            "/consumer-groups/{name}",
            get(consumer_groups::show)
                .put(consumer_groups::put)
                .delete(consumer_groups::remove),
        )
        .route("/stats", get(stats::read))
        .route("/metrics", get(metrics::read))
        .route("/not-emulated", get(not_emulated::show))
        .route("/throttles", get(throttles::show))
        .route("/views", post(views::make))
        .route("/views/{id}", get(views::read));
    Router::new()
        .nest(&format!("/{ROOT}"), routes)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_verb)
        .with_state(Control {
            views: Arc::new(Views::new(handle.opened())),
            sampler: Sampler::new(handle.clone()),
            handle,
            info,
        })
}

async fn unknown_path(State(control): State<Control>, request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    control.refusal(&error::unknown_path(&control.handle, method, path))
}

async fn wrong_verb(State(control): State<Control>, request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    control.refusal(&error::wrong_verb(&control.handle, method, path))
}

impl Control {
    /// One operation of the hub's, in the operator's name.
    async fn perform<R>(
        &self,
        f: impl FnOnce(&mut Hub, &mut Cx<'_>, &Principal) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let operation = OperationKind::Control.hub_wide();
        self.handle
            .call(operation, |hub, cx| f(hub, cx, &Principal::operator()))
            .await
    }

    async fn drop_connection(&self, client: &ClientId) -> Result<(), Error> {
        self.perform(|hub, cx, operator| hub.drop_connection(cx, operator, client))
            .await
    }

    fn answer(&self, result: Result<Response, Error>) -> Response {
        result.unwrap_or_else(|refused| self.refusal(&refused))
    }

    fn refusal(&self, refused: &Error) -> Response {
        error::refusal(&self.handle, refused, ErrorFormat::Legacy)
    }
}

async fn body_of(request: Request, limit: usize) -> Result<Bytes, Error> {
    let (parts, body) = request.into_parts();
    body::read(&parts.headers, body, limit).await
}

async fn object_of(request: Request, limit: usize) -> Result<Map<String, Value>, Error> {
    let body = body_of(request, limit).await?;
    iothub_protocol::json::parse_object(&body)
}

fn device_id(text: &str) -> Result<DeviceId, Error> {
    DeviceId::parse(text).map_err(|error| Error::argument_invalid(error.to_string()))
}

fn module_id(text: &str) -> Result<ModuleId, Error> {
    ModuleId::parse(text).map_err(|error| Error::argument_invalid(error.to_string()))
}

fn client_id(text: &str) -> Result<ClientId, Error> {
    ClientId::parse(text).map_err(|error| Error::argument_invalid(error.to_string()))
}
