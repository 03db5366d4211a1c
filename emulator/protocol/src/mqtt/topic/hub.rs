//! What the hub publishes to a device.

use std::fmt;

use super::{
    DEVICEBOUND, INPUTS, METHOD_REQUESTS, Prefix, TWIN_DESIRED, TWIN_RESPONSES, parameter,
    split_identity,
};
use crate::property_bag::PropertyBag;
use crate::{ClientId, DeviceId, ModuleId};

/// What the hub publishes to a device or module; prints as the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubTopic {
    /// `$iothub/methods/POST/{name}/?$rid={rid}` (`spec/device.md` 6.1).
    MethodRequest {
        /// The method, not encoded.
        name: String,
        /// What the response has to name.
        rid: String,
    },
    /// `$iothub/twin/res/{status}/?$rid={rid}[&$version={n}]` (`spec/device.md` 7.1, 7.2).
    TwinResponse {
        /// As an HTTP status.
        status: u16,
        /// As the request had it.
        rid: String,
        /// The new version of the reported section, after an update.
        version: Option<u64>,
    },
    /// `$iothub/twin/PATCH/properties/desired/?$version={n}` (`spec/device.md` 7.1).
    DesiredChanged {
        /// The new version of the desired section.
        version: u64,
    },
    /// `devices/{d}[/modules/{m}]/messages/devicebound/{bag}` (`spec/device.md` 5.2).
    C2d {
        /// Whom the message is for.
        client: ClientId,
        /// The properties; printed as they are encoded.
        bag: PropertyBag,
    },
    /// `devices/{d}/modules/{m}/inputs/{input}/{bag}` (`spec/device.md` 10).
    Input {
        /// The module whose input it is.
        client: ClientId,
        /// The name of the input.
        input: String,
        /// The properties; printed as they are encoded.
        bag: PropertyBag,
    },
}

impl HubTopic {
    /// Reads a topic that the hub published; `None` when the hub has no such topic.
    pub fn parse(topic: &str) -> Option<Self> {
        if let Some(rest) = topic.strip_prefix(METHOD_REQUESTS) {
            // From the right, because nothing keeps a slash out of a method's name.
            let (name, rid) = rest.rsplit_once("/?$rid=")?;
            return Some(Self::MethodRequest {
                name: name.into(),
                rid: rid.into(),
            });
        }
        if let Some(rest) = topic.strip_prefix(TWIN_RESPONSES) {
            let (status, query) = rest.split_once('/')?;
            return Some(Self::TwinResponse {
                status: status.parse().ok()?,
                rid: parameter(query, "$rid")?.into(),
                version: parameter(query, "$version")
                    .map(str::parse)
                    .transpose()
                    .ok()?,
            });
        }
        if let Some(query) = topic.strip_prefix(TWIN_DESIRED) {
            let version = parameter(query, "$version")?.parse().ok()?;
            return Some(Self::DesiredChanged { version });
        }

        let (device, module, tail) = split_identity(topic)?;
        let client = ClientId {
            device: DeviceId::parse(device).ok()?,
            module: module.map(ModuleId::parse).transpose().ok()?,
        };
        if let Some(bag) = tail.strip_prefix(DEVICEBOUND) {
            return Some(Self::C2d {
                client,
                bag: parse_bag(bag),
            });
        }
        let rest = tail
            .strip_prefix(INPUTS)
            .filter(|_| client.module.is_some())?;
        let (input, bag) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Self::Input {
            client,
            input: input.into(),
            bag: parse_bag(bag),
        })
    }
}

impl fmt::Display for HubTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MethodRequest { name, rid } => write!(f, "{METHOD_REQUESTS}{name}/?$rid={rid}"),
            Self::TwinResponse {
                status,
                rid,
                version,
            } => {
                // Clients rely on `$rid` first and `$version` second (`spec/device.md` T18, T19).
                write!(f, "{TWIN_RESPONSES}{status}/?$rid={rid}")?;
                match version {
                    Some(version) => write!(f, "&$version={version}"),
                    None => Ok(()),
                }
            }
            Self::DesiredChanged { version } => write!(f, "{TWIN_DESIRED}?$version={version}"),
            Self::C2d { client, bag } => write!(f, "{}{DEVICEBOUND}{bag}", Prefix(client)),
            Self::Input { client, input, bag } => {
                write!(f, "{}{INPUTS}{input}/{bag}", Prefix(client))
            }
        }
    }
}

fn parse_bag(text: &str) -> PropertyBag {
    PropertyBag::from_encoded(text.to_owned()).expect("a str is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::property_bag::SystemProperty;

    #[test]
    fn topics_of_the_service_round_trip() {
        for topic in [
            "$iothub/methods/POST/SetTelemetryInterval/?$rid=1",
            "$iothub/methods/POST/thermostat1*getMaxMinReport/?$rid=1f",
            "$iothub/twin/res/200/?$rid=0b5c",
            "$iothub/twin/res/204/?$rid=7&$version=12",
            "$iothub/twin/PATCH/properties/desired/?$version=3",
            "devices/dev1/messages/devicebound/",
            "devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound\
             &%24.ct=text%2Fplain%3B%20charset%3DUTF-8&%24.ce=utf-8&bbb=bbbb",
            "devices/dev1/modules/mod1/messages/devicebound/%24.mid=1",
            "devices/a+b/modules/%23/inputs/in1/%24.cdid=dev2&%24.cmid=m2",
        ] {
            assert_eq!(HubTopic::parse(topic).unwrap().to_string(), topic);
        }
    }

    #[test]
    fn a_delivered_message_is_read() {
        let topic = "devices/dev1/messages/devicebound/%24.mid=7d2&%24.to=%2Fdevices%2Fdev1&k=v";

        let Some(HubTopic::C2d { client, bag }) = HubTopic::parse(topic) else {
            panic!("not read as C2D");
        };

        assert_eq!(client.to_string(), "dev1");
        assert_eq!(bag.system(SystemProperty::MessageId).unwrap(), "7d2");
        assert_eq!(bag.system(SystemProperty::To).unwrap(), "/devices/dev1");
        assert_eq!(bag.get("k").unwrap(), "v");
    }

    #[test]
    fn what_the_hub_never_publishes_is_not_read() {
        for topic in [
            "",
            "$iothub/methods/POST/x",
            "$iothub/twin/res/ok/?$rid=1",
            "$iothub/twin/res/200/",
            "$iothub/twin/PATCH/properties/desired/?$version=",
            "devices/dev1/messages/events/",
            "devices/dev1/inputs/in1/",
            "devices//messages/devicebound/",
        ] {
            assert_eq!(HubTopic::parse(topic), None, "{topic}");
        }
    }
}
