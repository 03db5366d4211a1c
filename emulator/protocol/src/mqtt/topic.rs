//! IoT Hub's topics and filters as values, both directions (`spec/device.md` 4 to 7).
//!
//! Each pattern of the hub stands here once. The part of a topic that names a device or module is
//! compared literally with the client's own ids, never as a pattern: ids may contain `#`, `+` and
//! `?` (`spec/device.md` T38).

mod device;
mod filter;
mod hub;

use std::fmt;

use crate::ClientId;

pub use device::{DeviceTopic, TopicError};
pub use filter::Feature;
pub use hub::HubTopic;

const METHOD_REQUESTS: &str = "$iothub/methods/POST/";
const METHOD_RESPONSES: &str = "$iothub/methods/res/";
const TWIN_GET: &str = "$iothub/twin/GET/";
const TWIN_REPORTED: &str = "$iothub/twin/PATCH/properties/reported/";
const TWIN_RESPONSES: &str = "$iothub/twin/res/";
const TWIN_DESIRED: &str = "$iothub/twin/PATCH/properties/desired/";
const EVENTS: &str = "messages/events";
const DEVICEBOUND: &str = "messages/devicebound/";
const INPUTS: &str = "inputs/";

/// Splits `devices/{d}[/modules/{m}]/{tail}` into ids and tail. A device's own topic never begins
/// its tail with `modules/`, so that prefix always names a module.
fn split_identity(topic: &str) -> Option<(&str, Option<&str>, &str)> {
    let (device, tail) = topic.strip_prefix("devices/")?.split_once('/')?;
    match tail.strip_prefix("modules/") {
        None => Some((device, None, tail)),
        Some(rest) => {
            let (module, tail) = rest.split_once('/')?;
            Some((device, Some(module), tail))
        }
    }
}

/// Whether ids taken from a topic are those of `client`.
fn names(client: &ClientId, device: &str, module: Option<&str>) -> bool {
    client.device.as_str() == device && client.module.as_ref().map(|m| m.as_str()) == module
}

/// Prints `devices/{d}[/modules/{m}]/`.
struct Prefix<'a>(&'a ClientId);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "devices/{}/", self.0.device)?;
        match &self.0.module {
            Some(module) => write!(f, "modules/{module}/"),
            None => Ok(()),
        }
    }
}

/// The text of a parameter of `?name=value&…`; never decoded, because ids are echoed verbatim
/// (`spec/device.md` 6.2, 7.2).
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .strip_prefix('?')?
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}
