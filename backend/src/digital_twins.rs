//! Digital twins: what a Plug and Play device is, by its model (`spec/service.md` 9).

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use iothub_protocol::http::X_MS_COMMAND_STATUSCODE;
use iothub_protocol::registry::IfMatch;
use serde_json::{Map, Value};

use crate::Error;
use crate::document::{Document, unexpected};
use crate::transport::{Call, Transport};

/// The digital twins of a hub's devices.
#[derive(Clone, Copy)]
pub struct DigitalTwins<'a> {
    transport: &'a Transport,
}

impl<'a> DigitalTwins<'a> {
    pub(crate) fn new(transport: &'a Transport) -> Self {
        Self { transport }
    }

    /// The digital twin as it is. Refused with `DeviceNotFound`.
    pub async fn get(self, device: &str) -> Result<DigitalTwin, Error> {
        let call = Call::new(Method::GET, &["digitaltwins", device]);
        let answer = self.transport.send(call).await?;
        Ok(DigitalTwin {
            etag: answer.etag().unwrap_or_default().to_owned(),
            document: Document::read(&answer, "a digital twin")?,
        })
    }

    /// Patches writable properties: `patch` is a JSON Patch with `add`, `replace` and `remove`.
    /// Returns the etag after it.
    pub async fn patch(
        self,
        device: &str,
        patch: &Value,
        if_match: &IfMatch,
    ) -> Result<String, Error> {
        let call = Call::new(Method::PATCH, &["digitaltwins", device])
            .if_match(if_match)
            .json(patch);
        let answer = self.transport.send(call).await?;
        Ok(answer.etag().unwrap_or_default().to_owned())
    }

    /// Prepares a command of the root component.
    pub fn invoke_command(self, device: &str, name: &str) -> Command<'a> {
        self.command(&["digitaltwins", device, "commands", name])
    }

    /// Prepares a command of a component.
    pub fn invoke_component_command(
        self,
        device: &str,
        component: &str,
        name: &str,
    ) -> Command<'a> {
        self.command(&[
            "digitaltwins",
            device,
            "components",
            component,
            "commands",
            name,
        ])
    }

    fn command(self, path: &[&str]) -> Command<'a> {
        Command {
            transport: self.transport,
            call: Call::new(Method::POST, path),
            payload: Value::Null,
        }
    }
}

/// A digital twin as the hub printed it.
#[derive(Clone, Debug, PartialEq)]
pub struct DigitalTwin {
    etag: String,
    document: Document,
}

impl DigitalTwin {
    /// The etag, without quotes: for [`IfMatch::ETag`].
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// The device.
    pub fn id(&self) -> &str {
        self.document.text("$dtId").unwrap_or_default()
    }

    /// What the device says that it is, such as `dtmi:com:example:Thermostat;1`.
    pub fn model_id(&self) -> Option<&str> {
        self.document.member("$metadata")["$model"].as_str()
    }

    /// The whole document.
    pub fn as_json(&self) -> &Map<String, Value> {
        &self.document.0
    }

    /// The whole document.
    pub fn into_json(self) -> Value {
        Value::Object(self.document.0)
    }
}

/// A command, before it is sent.
#[must_use = "nothing is sent before `send`"]
pub struct Command<'a> {
    transport: &'a Transport,
    call: Call,
    payload: Value,
}

/// What a device answered to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandResponse {
    /// Chosen by the device; none when the hub does not say.
    pub status: Option<i32>,
    /// JSON text; empty when the device sent none.
    pub payload: Bytes,
    /// What names this call in the hub's records.
    pub request_id: Option<String>,
}

impl Command<'_> {
    /// What the device gets with the command. Default: null.
    pub fn payload(mut self, payload: &Value) -> Self {
        self.payload = payload.clone();
        self
    }

    /// How long the device may take to answer, in whole seconds. Default: the hub's 30 s.
    pub fn response_timeout(self, timeout: Duration) -> Self {
        self.seconds("responseTimeoutInSeconds", timeout)
    }

    /// How long the hub waits for a device that is offline, in whole seconds. Default: not at all.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.seconds("connectTimeoutInSeconds", timeout)
    }

    /// Sends the command and waits for the device's answer; refusals as for direct methods. A
    /// status of the device's own, also an unhappy one, is an answer.
    pub async fn send(self) -> Result<CommandResponse, Error> {
        let answer = self.transport.send(self.call.json(&self.payload)).await?;
        let status = match answer.header(X_MS_COMMAND_STATUSCODE) {
            Some(text) => Some(text.parse().map_err(|_| {
                unexpected(format!("a command's status that is no number: {text}"))
            })?),
            None => None,
        };
        Ok(CommandResponse {
            status,
            request_id: answer.header("x-ms-request-id").map(str::to_owned),
            payload: answer.body,
        })
    }

    fn seconds(mut self, name: &str, timeout: Duration) -> Self {
        self.call = self.call.query(name, &timeout.as_secs().to_string());
        self
    }
}
