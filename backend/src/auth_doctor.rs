//! The auth doctor: why a credential is refused. The real hub has none; an emulator's control API
//! does.

use http::Method;
use serde_json::Value;

use crate::transport::{Call, Transport};
use crate::{EmulatorAddress, Error};

/// The auth doctor of a running emulator.
pub struct EmulatorAuthDoctor {
    transport: Transport,
}

impl EmulatorAuthDoctor {
    /// That of this emulator; a URL of its HTTP or HTTPS listener will do.
    pub fn at(emulator: impl Into<EmulatorAddress>) -> Result<Self, Error> {
        Ok(Self {
            transport: emulator.into().transport()?,
        })
    }

    /// What the emulator says to a credential, and why. `question` has `text`, and may have
    /// `client` and `host`.
    pub async fn explain(&self, question: &Value) -> Result<Value, Error> {
        self.ask("explain", question).await
    }

    /// A right token. `request` has `client` or `policy` or both, and may have `key` (`primary`,
    /// `secondary`), `seconds` and `host`.
    pub async fn sign(&self, request: &Value) -> Result<Value, Error> {
        self.ask("sign", request).await
    }

    async fn ask(&self, what: &str, body: &Value) -> Result<Value, Error> {
        let call = Call::to(Method::POST, format!("/_emulator/auth/{what}"));
        self.transport.send(call.json(body)).await?.json()
    }
}
