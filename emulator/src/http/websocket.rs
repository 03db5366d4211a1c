//! The path that turns a connection into a WebSocket (`spec/device.md` 1.2, `spec/amqp.md` 1).

use std::sync::{Mutex, PoisonError};

use axum::response::{IntoResponse, Response};
use http::Request;
use hyper::body::Incoming;

use crate::transport::websocket::{self, Upgrade};

/// What is spoken over a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subprotocol {
    /// MQTT; the version is in the CONNECT packet.
    Mqtt,
    /// AMQP 1.0.
    Amqp,
}

impl Subprotocol {
    /// As clients ask for it.
    fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Amqp => "AMQPWSB10",
        }
    }
}

/// Whether `/{root}/{leaf}` is where a WebSocket begins.
pub(super) fn is_path(root: &str, leaf: &str) -> bool {
    let roots = ["$iothub", "$servicebus"];
    roots.iter().any(|known| root.eq_ignore_ascii_case(known))
        && leaf.eq_ignore_ascii_case("websocket")
}

/// Answers the handshake; what comes of it is put into `upgrade`.
pub(super) fn answer(
    mut request: Request<Incoming>,
    upgrade: &Mutex<Option<(Subprotocol, Upgrade)>>,
) -> Response {
    let offers_amqp = websocket::offers(request.headers(), Subprotocol::Amqp.name());
    let spoken = match offers_amqp {
        true => Subprotocol::Amqp,
        false => Subprotocol::Mqtt,
    };
    match websocket::accept(&mut request, spoken.name()) {
        Ok((response, accepted)) => {
            let accepted = Some((spoken, accepted));
            *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = accepted;
            response
        }
        Err(refusal) => refusal.into_response(),
    }
}
