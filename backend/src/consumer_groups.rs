//! Consumer groups of the built-in endpoint. The real hub has them under its management API; an
//! emulator has the same names and bodies under its control API, which is what is asked here.

use http::Method;
use serde_json::Value;

use crate::transport::{Call, Transport};
use crate::{EmulatorAddress, Error};

/// The consumer groups of a running emulator. Answers are the resources as
/// `az iot hub consumer-group` prints them.
pub struct EmulatorConsumerGroups {
    transport: Transport,
}

impl EmulatorConsumerGroups {
    /// Those of this emulator; a URL of its HTTP or HTTPS listener will do.
    pub fn at(emulator: impl Into<EmulatorAddress>) -> Result<Self, Error> {
        Ok(Self {
            transport: emulator.into().transport()?,
        })
    }

    /// All of them, in `value`; `$Default` first.
    pub async fn list(&self) -> Result<Value, Error> {
        self.ask(Call::new(Method::GET, &ROOT)).await
    }

    /// One of them; refuses with `GenericNotFound`.
    pub async fn show(&self, name: &str) -> Result<Value, Error> {
        self.ask(Call::new(Method::GET, &path(name))).await
    }

    /// Makes one, unless it is there.
    pub async fn create(&self, name: &str) -> Result<Value, Error> {
        self.ask(Call::new(Method::PUT, &path(name))).await
    }

    /// Deletes one; its readers come to their end.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, &path(name));
        self.transport.send(call).await.map(drop)
    }

    async fn ask(&self, call: Call) -> Result<Value, Error> {
        self.transport.send(call).await?.json()
    }
}

fn path(name: &str) -> [&str; 3] {
    let [root, groups] = ROOT;
    [root, groups, name]
}

const ROOT: [&str; 2] = ["_emulator", "consumer-groups"];
