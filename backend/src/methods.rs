//! Direct methods: ask a device or module, and wait for what it answers (`spec/service.md` 4).

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use iothub_protocol::method::{MethodRequest, MethodResponse};
use serde_json::Value;

use crate::transport::{self, Call, Transport};
use crate::{Error, ErrorKind};

/// The direct methods of a hub's devices and modules.
#[derive(Clone, Copy)]
pub struct Methods<'a> {
    transport: &'a Transport,
}

impl<'a> Methods<'a> {
    pub(crate) fn new(transport: &'a Transport) -> Self {
        Self { transport }
    }

    /// Prepares a call of `name` on a device (`"d1"`) or module (`"d1/m1"`).
    pub fn invoke(
        self,
        client: &(impl ToString + ?Sized),
        name: impl Into<String>,
    ) -> Invocation<'a> {
        Invocation {
            transport: self.transport,
            client: client.to_string(),
            request: MethodRequest {
                name: name.into(),
                payload: None,
                response_timeout: DEFAULT_RESPONSE_TIMEOUT,
                connect_timeout: Duration::ZERO,
            },
        }
    }
}

/// A call of a direct method, before it is sent.
#[must_use = "nothing is sent before `send`"]
pub struct Invocation<'a> {
    transport: &'a Transport,
    client: String,
    request: MethodRequest,
}

impl Invocation<'_> {
    /// What the device gets with the call. Without it, the device gets no payload at all.
    pub fn payload(mut self, payload: &Value) -> Self {
        self.request.payload = Some(Bytes::from(payload.to_string()));
        self
    }

    /// How long the device may take to answer, in whole seconds. Default 30 s.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.request.response_timeout = timeout;
        self
    }

    /// How long the hub waits for a device that is offline, in whole seconds. Default: not at all.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.request.connect_timeout = timeout;
        self
    }

    /// Sends the call and waits for the device's answer. Dropping the future cancels the call.
    ///
    /// Refused with `DeviceNotFound`, `DeviceNotOnline` after the connect timeout, and
    /// `GatewayTimeout` after the response timeout. A status of the device's own, also an unhappy
    /// one, is an answer.
    pub async fn send(self) -> Result<MethodResponse, Error> {
        let client = transport::client_id(&self.client)?;
        let path = transport::client_path("twins", &client, &["methods"]);
        let call = Call::new(Method::POST, &path).body(self.request.to_json());
        let answer = self.transport.send(call).await?;
        MethodResponse::parse(&answer.body).ok_or_else(|| {
            Error::new(ErrorKind::UnexpectedAnswer(
                "a method result without a status".into(),
            ))
        })
    }
}

/// The hub's default (`spec/service.md` 4).
const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
