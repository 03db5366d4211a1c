//! The path that turns a connection into a WebSocket (`spec/device.md` 1.2).

use std::sync::{Mutex, PoisonError};

use axum::response::{IntoResponse, Response};
use http::Request;
use hyper::body::Incoming;
use iothub_protocol::http::ErrorFormat;
use iothub_protocol::{Error, ErrorCode};

use super::error;
use crate::handle::HubHandle;
use crate::transport::websocket::{self, Upgrade};

/// The subprotocol of MQTT; the version is in the CONNECT packet.
const MQTT: &str = "mqtt";
/// The subprotocol of AMQP 1.0.
const AMQP: &str = "AMQPWSB10";

/// Whether `/{root}/{leaf}` is where a WebSocket begins.
pub(super) fn is_path(root: &str, leaf: &str) -> bool {
    let roots = ["$iothub", "$servicebus"];
    roots.iter().any(|known| root.eq_ignore_ascii_case(known))
        && leaf.eq_ignore_ascii_case("websocket")
}

/// Answers the handshake; what comes of it is put into `upgrade`.
pub(super) fn answer(
    handle: &HubHandle,
    mut request: Request<Incoming>,
    upgrade: &Mutex<Option<Upgrade>>,
) -> Response {
    let headers = request.headers();
    if !websocket::offers(headers, MQTT) && websocket::offers(headers, AMQP) {
        let what = "AMQP over WebSocket";
        handle.activity().record_not_emulated(what);
        let error = Error::new(
            ErrorCode::GenericBadRequest,
            format!("not emulated: {what}"),
        );
        return error::refusal(handle, &error, ErrorFormat::Legacy);
    }
    match websocket::accept(&mut request, MQTT) {
        Ok((response, accepted)) => {
            *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(accepted);
            response
        }
        Err(refusal) => refusal.into_response(),
    }
}
