//! What a device publishes.

use std::fmt;

use super::{
    EVENTS, METHOD_RESPONSES, Prefix, TWIN_GET, TWIN_REPORTED, names, parameter, split_identity,
};
use crate::ClientId;

/// What a device or module publishes, borrowed from the topic text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceTopic<'a> {
    /// `devices/{d}[/modules/{m}]/messages/events[/{bag}][/]` (`spec/device.md` 4.1).
    Telemetry {
        /// The bag, still encoded, without a leading `?` and without one trailing `/`.
        bag: &'a str,
    },
    /// `$iothub/methods/res/{status}/?$rid={rid}` (`spec/device.md` 6.1).
    MethodResponse {
        /// Chosen by the device.
        status: i32,
        /// The request id, as the request had it.
        rid: &'a str,
    },
    /// `$iothub/twin/GET/?$rid={rid}` (`spec/device.md` 7.1).
    TwinGet {
        /// Chosen by the device, echoed verbatim.
        rid: &'a str,
    },
    /// `$iothub/twin/PATCH/properties/reported/?$rid={rid}[&$version={n}]` (`spec/device.md` 7.1).
    TwinPatchReported {
        /// Chosen by the device, echoed verbatim.
        rid: &'a str,
        /// The version that the section must have (`spec/device.md` T20).
        version: Option<u64>,
    },
}

/// Why a topic is not one that a client may publish to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// It belongs to another device or module.
    OtherIdentity,
    /// The hub has no such topic.
    Unknown,
    /// It is one of the hub's, with a part that does not fit; the text says which.
    Malformed(&'static str),
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherIdentity => f.write_str("the topic belongs to another identity"),
            Self::Unknown => f.write_str("the hub has no such topic"),
            Self::Malformed(what) => write!(f, "malformed topic: {what}"),
        }
    }
}

impl std::error::Error for TopicError {}

impl<'a> DeviceTopic<'a> {
    /// Says what publishing to `topic` means when `client` does it. Never allocates.
    pub fn parse(topic: &'a str, client: &ClientId) -> Result<Self, TopicError> {
        if topic.starts_with('$') {
            return Self::parse_iothub(topic);
        }
        let (device, module, tail) = split_identity(topic).ok_or(TopicError::Unknown)?;
        if !names(client, device, module) {
            return Err(TopicError::OtherIdentity);
        }
        let rest = tail.strip_prefix(EVENTS).ok_or(TopicError::Unknown)?;
        if rest.is_empty() {
            return Ok(Self::Telemetry { bag: "" });
        }
        let bag = rest.strip_prefix('/').ok_or(TopicError::Unknown)?;
        // C# and Java append one `/`, older samples put a `?` in front (`spec/device.md` 4.1); any
        // other slash belongs to a value that the C SDK did not encode.
        let bag = bag.strip_prefix('?').unwrap_or(bag);
        Ok(Self::Telemetry {
            bag: bag.strip_suffix('/').unwrap_or(bag),
        })
    }

    fn parse_iothub(topic: &'a str) -> Result<Self, TopicError> {
        if let Some(rest) = topic.strip_prefix(METHOD_RESPONSES) {
            let (status, query) = rest.split_once('/').unwrap_or((rest, ""));
            Ok(Self::MethodResponse {
                status: status
                    .parse()
                    .map_err(|_| TopicError::Malformed("the status is not a 32-bit integer"))?,
                rid: request_id(query)?,
            })
        } else if let Some(query) = topic.strip_prefix(TWIN_GET) {
            Ok(Self::TwinGet {
                rid: request_id(query)?,
            })
        } else if let Some(query) = topic.strip_prefix(TWIN_REPORTED) {
            let version = parameter(query, "$version").map(str::parse).transpose();
            Ok(Self::TwinPatchReported {
                rid: request_id(query)?,
                version: version.map_err(|_| TopicError::Malformed("$version is not a number"))?,
            })
        } else {
            Err(TopicError::Unknown)
        }
    }

    /// The topic under which `client` publishes this.
    pub fn to_topic(&self, client: &ClientId) -> String {
        match self {
            Self::Telemetry { bag } => {
                // What the parser would take for a frame of the bag gets a frame.
                let mark = if bag.starts_with('?') { "?" } else { "" };
                let slash = if bag.ends_with('/') { "/" } else { "" };
                format!("{}{EVENTS}/{mark}{bag}{slash}", Prefix(client))
            }
            Self::MethodResponse { status, rid } => {
                format!("{METHOD_RESPONSES}{status}/?$rid={rid}")
            }
            Self::TwinGet { rid } => format!("{TWIN_GET}?$rid={rid}"),
            Self::TwinPatchReported { rid, version: None } => format!("{TWIN_REPORTED}?$rid={rid}"),
            Self::TwinPatchReported {
                rid,
                version: Some(version),
            } => {
                format!("{TWIN_REPORTED}?$rid={rid}&$version={version}")
            }
        }
    }
}

fn request_id(query: &str) -> Result<&str, TopicError> {
    parameter(query, "$rid")
        .filter(|rid| !rid.is_empty())
        .ok_or(TopicError::Malformed("no $rid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(client: &str, topic: &'a str) -> Result<DeviceTopic<'a>, TopicError> {
        DeviceTopic::parse(topic, &ClientId::parse(client).unwrap())
    }

    #[test]
    fn telemetry_comes_in_every_shape_of_the_sdks() {
        for (topic, bag) in [
            ("devices/d1/messages/events", ""),
            ("devices/d1/messages/events/", ""),
            ("devices/d1/messages/events//", ""),
            ("devices/d1/messages/events/a=1", "a=1"),
            ("devices/d1/messages/events/a=1/", "a=1"),
            ("devices/d1/messages/events/?a=1/", "a=1"),
            ("devices/d1/messages/events/a=/x/y", "a=/x/y"),
            ("devices/d1/messages/events/a=b//", "a=b/"),
        ] {
            assert_eq!(
                parse("d1", topic),
                Ok(DeviceTopic::Telemetry { bag }),
                "{topic}"
            );
        }
    }

    #[test]
    fn a_module_has_its_own_topics() {
        assert_eq!(
            parse("d1/m1", "devices/d1/modules/m1/messages/events/%24.on=out1"),
            Ok(DeviceTopic::Telemetry { bag: "%24.on=out1" })
        );
    }

    #[test]
    fn ids_are_compared_literally() {
        for id in ["a+b", "#", "a?b=1", "50%25", "$iothub"] {
            let topic = format!("devices/{id}/messages/events/");
            assert_eq!(
                parse(id, &topic),
                Ok(DeviceTopic::Telemetry { bag: "" }),
                "{id}"
            );
            assert_eq!(parse("d1", &topic), Err(TopicError::OtherIdentity), "{id}");
        }
        for topic in ["devices/+/messages/events/", "devices/D1/messages/events/"] {
            assert_eq!(
                parse("d1", topic),
                Err(TopicError::OtherIdentity),
                "{topic}"
            );
        }
    }

    #[test]
    fn topics_of_other_identities_are_told_apart() {
        for (client, topic) in [
            ("d1", "devices/d2/messages/events/"),
            ("d1", "devices/d11/messages/events/"),
            ("d1", "devices/d1/modules/m1/messages/events/"),
            ("d1/m1", "devices/d1/messages/events/"),
            ("d1/m1", "devices/d1/modules/m2/messages/events/"),
            ("d1/m1", "devices/d2/modules/m1/messages/events/"),
        ] {
            assert_eq!(
                parse(client, topic),
                Err(TopicError::OtherIdentity),
                "{client} {topic}"
            );
        }
    }

    #[test]
    fn what_the_hub_does_not_have_is_unknown() {
        for topic in [
            "",
            "devices",
            "devices/d1",
            "devices/d1/messages/eventsx",
            "devices/d1/messages/devicebound/",
            "/devices/d1/messages/events/",
            "Devices/d1/messages/events/",
            "$iothub/methods/POST/x/?$rid=1",
            "$iothub/twin/get/?$rid=1",
            "$iothub/twin/GET?$rid=1",
            "$iothub/twin/PATCH/properties/desired/?$rid=1",
            "$SYS/x",
        ] {
            assert_eq!(parse("d1", topic), Err(TopicError::Unknown), "{topic}");
        }
    }

    #[test]
    fn iothub_topics_are_read() {
        assert_eq!(
            parse("d1", "$iothub/methods/res/-200/?$rid=1f"),
            Ok(DeviceTopic::MethodResponse {
                status: -200,
                rid: "1f"
            })
        );
        assert_eq!(
            parse("d1", "$iothub/twin/GET/?$rid=0b5c-2"),
            Ok(DeviceTopic::TwinGet { rid: "0b5c-2" })
        );
        assert_eq!(
            parse("d1", "$iothub/twin/PATCH/properties/reported/?$rid=7"),
            Ok(DeviceTopic::TwinPatchReported {
                rid: "7",
                version: None
            })
        );
        assert_eq!(
            parse(
                "d1",
                "$iothub/twin/PATCH/properties/reported/?$rid=7&$version=12"
            ),
            Ok(DeviceTopic::TwinPatchReported {
                rid: "7",
                version: Some(12)
            })
        );
    }

    #[test]
    fn parts_that_do_not_fit_are_malformed() {
        for topic in [
            "$iothub/methods/res/ok/?$rid=1",
            "$iothub/methods/res/2147483648/?$rid=1",
            "$iothub/methods/res/200",
            "$iothub/methods/res/200/",
            "$iothub/methods/res/200/$rid=1",
            "$iothub/methods/res/200/?rid=1",
            "$iothub/twin/GET/",
            "$iothub/twin/GET/?$rid=",
            "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=x",
        ] {
            assert!(
                matches!(parse("d1", topic), Err(TopicError::Malformed(_))),
                "{topic}"
            );
        }
    }

    #[test]
    fn bags_that_look_framed_round_trip() {
        let client = ClientId::parse("d1").unwrap();
        for bag in ["", "a=1", "?a=1", "a=b/", "/", "?", "?/"] {
            let topic = DeviceTopic::Telemetry { bag }.to_topic(&client);
            assert_eq!(
                parse("d1", &topic),
                Ok(DeviceTopic::Telemetry { bag }),
                "{topic}"
            );
        }
    }
}
