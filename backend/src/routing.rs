//! Message routes. The real hub has them under its management API; an emulator has the same
//! description of them under its control API, which is what is asked here.

use http::Method;
use serde_json::Value;

use crate::transport::{Call, Transport};
use crate::{EmulatorAddress, Error};

/// The message routes of a running emulator (`spec/service.md` 5.6).
pub struct EmulatorRouting {
    transport: Transport,
}

impl EmulatorRouting {
    /// Those of this emulator; a URL of its HTTP or HTTPS listener will do.
    pub fn at(emulator: impl Into<EmulatorAddress>) -> Result<Self, Error> {
        Ok(Self {
            transport: emulator.into().transport()?,
        })
    }

    /// Endpoints, routes, fallback and enrichments, in the shape of the real hub's
    /// `properties.routing`.
    pub async fn get(&self) -> Result<Value, Error> {
        self.ask(Call::to(Method::GET, ROOT.into())).await
    }

    /// Replaces them all, and returns them as they are set.
    pub async fn replace(&self, routing: &Value) -> Result<Value, Error> {
        self.ask(Call::to(Method::PUT, ROOT.into()).json(routing))
            .await
    }

    /// Takes them all away: everything goes to the built-in endpoint again.
    pub async fn clear(&self) -> Result<(), Error> {
        let call = Call::to(Method::DELETE, ROOT.into());
        self.transport.send(call).await.map(drop)
    }

    /// Which routes a message would match and where it would go; nothing is sent. `input` may have
    /// `message` (`body`, `appProperties`, `systemProperties`), `routingSource`, `routeName`,
    /// `route`, `deviceId`, `moduleId` and `twin`.
    pub async fn test(&self, input: &Value) -> Result<Value, Error> {
        let target = format!("{ROOT}/test");
        self.ask(Call::to(Method::POST, target).json(input)).await
    }

    /// How often each route matched, and what the last messages matched.
    pub async fn log(&self) -> Result<Value, Error> {
        self.ask(Call::to(Method::GET, format!("{ROOT}/log"))).await
    }

    async fn ask(&self, call: Call) -> Result<Value, Error> {
        self.transport.send(call).await?.json()
    }
}

const ROOT: &str = "/_emulator/routing";
