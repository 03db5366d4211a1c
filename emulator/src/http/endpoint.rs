//! One HTTP connection from its first byte to its last, and the choice of who answers a request.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::header::HeaderName;
use http::request::Parts;
use http::{Method, Request, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use iothub_protocol::http::{ErrorFormat, X_MS_REQUEST_ID, path_segments};
use iothub_protocol::{Error, ErrorCode, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::call::Caller;
use super::control::{self, Info, Shutdown};
use super::guard::{self, Guard};
use super::recorded::Recorded;
use super::request_id::RequestIds;
use super::websocket::{self, Subprotocol};
use super::{blob, body, dashboard, error, rest};
use crate::handle::HubHandle;
use crate::timeline::{Protocol, Tap};
use crate::transport::Peer;
use crate::transport::websocket::Upgrade;
use crate::{amqp, mqtt};

/// How long a request's head may take to arrive, and how long a connection may stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a request's head.
const HEAD_LIMIT: usize = 64 * 1024;
/// Bytes of a login.
const LOGIN_LIMIT: usize = 8 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static(X_MS_REQUEST_ID);

/// Serves HTTP connections: REST, the control API, and MQTT and AMQP over WebSocket. Cheap to
/// clone.
#[derive(Clone)]
pub struct Endpoint {
    inner: Arc<Inner>,
}

struct Inner {
    handle: HubHandle,
    mqtt: mqtt::Endpoint,
    amqp: amqp::Endpoint,
    control: TowerToHyperService<Router>,
    guard: Guard,
    request_ids: RequestIds,
}

/// What the requests of one connection share.
struct Connection<'a> {
    peer: &'a Peer,
    shutdown: &'a CancellationToken,
    /// Guards the stream that the connection becomes when it stops being HTTP; held to put it
    /// there and to take it.
    upgrade: &'a Mutex<Option<(Subprotocol, Upgrade)>>,
    /// Guards the connection's place in the timeline; held to take down one message.
    tap: &'a Mutex<Tap>,
}

impl Endpoint {
    /// An endpoint of this hub; a connection that becomes a WebSocket is handed to `mqtt` or `amqp`.
    /// The control API asks for no token.
    pub fn new(
        handle: HubHandle,
        info: Arc<Info>,
        mqtt: mqtt::Endpoint,
        amqp: amqp::Endpoint,
    ) -> Self {
        Self::guarded(handle, info, mqtt, amqp, Guard::default())
    }

    /// As [`Self::new`], with a guard of one's own before the control API.
    pub fn guarded(
        handle: HubHandle,
        info: Arc<Info>,
        mqtt: mqtt::Endpoint,
        amqp: amqp::Endpoint,
        guard: Guard,
    ) -> Self {
        let request_ids = RequestIds::new(handle.inspect(|hub| hub.config().seed));
        let control = TowerToHyperService::new(control::router(handle.clone(), info));
        Self {
            inner: Arc::new(Inner {
                handle,
                mqtt,
                amqp,
                control,
                guard,
                request_ids,
            }),
        }
    }

    /// Serves one connection to its end, or until `shutdown`: then the request that is being
    /// answered is the last, and streams of events end.
    pub async fn serve<S>(&self, stream: S, peer: Peer, shutdown: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let upgrade = Mutex::new(None);
        let timeline = self.inner.handle.timeline().clone();
        let tap = Mutex::new(Tap::new(timeline, Protocol::Http, &peer));
        let connection = Connection {
            peer: &peer,
            shutdown: &shutdown,
            upgrade: &upgrade,
            tap: &tap,
        };
        if let Err(error) = self.serve_http(stream, &connection).await {
            tracing::debug!(peer = %peer.address, %error, "the HTTP connection broke");
            return;
        }
        let upgrade = upgrade.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some((spoken, upgrade)) = upgrade {
            self.serve_websocket(spoken, upgrade, &peer, shutdown).await;
        }
    }

    async fn serve_http<S>(&self, stream: S, connection: &Connection<'_>) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| self.inner.respond(request, connection));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_LIMIT)
            // The header would tell the system's time, where the hub may live at another.
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut served = pin!(served);
        tokio::select! {
            result = &mut served => result,
            () = connection.shutdown.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    }

    async fn serve_websocket(
        &self,
        spoken: Subprotocol,
        upgrade: Upgrade,
        peer: &Peer,
        shutdown: CancellationToken,
    ) {
        let Inner { mqtt, amqp, .. } = &*self.inner;
        let peer = peer.over_websocket();
        match upgrade.into_stream().await {
            // Boxed: most connections stay HTTP and need not carry the room for it.
            Ok(stream) => match spoken {
                Subprotocol::Mqtt => Box::pin(mqtt.serve(stream, peer, shutdown)).await,
                Subprotocol::Amqp => Box::pin(amqp.serve(stream, peer, shutdown)).await,
            },
            Err(error) => tracing::debug!(peer = %peer.address, %error, "no WebSocket came of it"),
        }
    }
}

impl Inner {
    async fn respond(
        &self,
        request: Request<Incoming>,
        connection: &Connection<'_>,
    ) -> Result<Response, Infallible> {
        let recorded = Recorded::begin(connection.tap, &request);
        let mut response = self.answer(request, connection, &recorded).await;
        response
            .headers_mut()
            .insert(REQUEST_ID, self.request_ids.next());
        Ok(recorded.answered(response).await)
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Connection<'_>,
        recorded: &Recorded<'_>,
    ) -> Response {
        let handle = &self.handle;
        let refused = |error| error::refusal(handle, &error, ErrorFormat::Legacy);
        let (parts, body) = request.into_parts();
        if let Some(target) = blob::target(handle, &parts) {
            // Boxed: few requests are for storage.
            return Box::pin(blob::respond(handle, &parts, &target, body)).await;
        }
        let request = Request::from_parts(parts, body);
        let path = request.uri().path();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if path == "/" && reads {
            return dashboard::page(request.method(), request.headers());
        }
        if matches!(*request.method(), Method::HEAD | Method::OPTIONS) {
            return refused(error::wrong_verb(handle, request.method(), path));
        }
        let Some(segments) = path_segments(path) else {
            return refused(Error::new(
                ErrorCode::GenericBadRequest,
                "the path is not UTF-8",
            ));
        };
        match segments.as_slice() {
            [root, below @ ..] if root.eq_ignore_ascii_case(control::ROOT) => {
                self.control(request, below, connection).await
            }
            // Where they are looked for.
            [leaf] if leaf == control::METRICS && *request.method() == Method::GET => {
                let mut request = request;
                *request.uri_mut() = Uri::from_static("/_emulator/metrics");
                let below = [control::METRICS.to_owned()];
                self.control(request, &below, connection).await
            }
            [root, leaf] if websocket::is_path(root, leaf) => {
                websocket::answer(request, connection.upgrade)
            }
            _ => {
                let (parts, body) = request.into_parts();
                let peer = connection.peer;
                rest::answer(
                    handle,
                    Caller::Peer(peer),
                    &parts,
                    &segments,
                    body,
                    recorded,
                )
                .await
            }
        }
    }

    /// What is for the people who run the emulator; `below` is the path below the root.
    async fn control(
        &self,
        request: Request<Incoming>,
        below: &[String],
        connection: &Connection<'_>,
    ) -> Response {
        if let [files, path @ ..] = below
            && files == dashboard::FILES
            && request.method() == Method::GET
        {
            return dashboard::file(request.method(), request.headers(), path);
        }
        let mut response = self.guarded(request, below, connection).await;
        guard::seal(response.headers_mut());
        response
    }

    /// What the guard stands before.
    async fn guarded(
        &self,
        request: Request<Incoming>,
        below: &[String],
        connection: &Connection<'_>,
    ) -> Response {
        let peer = connection.peer;
        let (mut parts, body) = request.into_parts();
        // Who supervises the emulator knows no token, and asks under whatever name.
        let is_health = parts.method == Method::GET
            && *below == [control::HEALTH]
            && !control::asks_for_words(&parts.headers);
        if !is_health && let Err(refused) = self.guard.check_origin(&parts) {
            return error::refusal(&self.handle, &refused, ErrorFormat::Legacy);
        }
        if parts.method == Method::POST && *below == [control::LOGIN] {
            let answered = self.log_in(&parts, body, peer).await;
            return answered.unwrap_or_else(|refused| self.unauthorized(&refused));
        }
        if parts.method == Method::POST && *below == [control::LOGOUT] {
            return Guard::log_out(&parts.headers, peer);
        }
        if !is_health && let Err(refused) = self.guard.check_token(&parts, peer) {
            return self.unauthorized(&refused);
        }
        if let [hub, segments @ ..] = below
            && hub == control::HUB
        {
            let operator = Caller::Operator(peer);
            let unrecorded = Recorded::nothing();
            return rest::answer(&self.handle, operator, &parts, segments, body, &unrecorded).await;
        }
        parts
            .extensions
            .insert(Shutdown(connection.shutdown.clone()));
        match self.control.call(Request::from_parts(parts, body)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// `POST /_emulator/login`: `{"token"}` for a cookie.
    async fn log_in(&self, parts: &Parts, body: Incoming, peer: &Peer) -> Result<Response, Error> {
        let body = body::read(&parts.headers, body, LOGIN_LIMIT).await?;
        let body = json::parse_object(&body)?;
        let token = body.get("token").and_then(|token| token.as_str());
        let token = token.ok_or_else(|| Error::argument_invalid("token is needed, a string"))?;
        self.guard.log_in(&parts.headers, token, peer)
    }

    fn unauthorized(&self, refused: &Error) -> Response {
        let mut response = error::refusal(&self.handle, refused, ErrorFormat::Legacy);
        if response.status() == StatusCode::UNAUTHORIZED {
            guard::challenge(response.headers_mut());
        }
        response
    }
}
