//! Consumer groups of the built-in endpoint. The real hub has them under its management API; an
//! emulator has the same names and bodies under its control API, which is what is asked here.

use http::Method;
use serde_json::Value;

use crate::Error;
use crate::builder::control_transport;
use crate::transport::{Call, Transport};

/// The consumer groups of a running emulator. Answers are the resources as
/// `az iot hub consumer-group` prints them.
pub struct EmulatorConsumerGroups {
    transport: Transport,
}

impl EmulatorConsumerGroups {
    /// Those of the emulator whose HTTP or HTTPS listener has this URL.
    pub fn at(url: &str) -> Result<Self, Error> {
        Ok(Self {
            transport: control_transport(url)?,
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
