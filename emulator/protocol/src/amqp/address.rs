//! Addresses of nodes: the one table (`spec/amqp.md` 4, 5, 6, 7.1).
//!
//! The same node arrives as a full URI, with and without a leading slash, in several cases; ids and
//! entities keep theirs. Only paths are read here: which host they were on is another question.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::{ClientId, DeviceId, ModuleId};

/// What is escaped in a part of an address: all but what `encodeURIComponent` leaves, which the
/// Node SDKs use, and the dollar of `$Default`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'$');

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `$cbs`: tokens are put here.
    Cbs,
    /// `$management` of an entity; the entity is in the request.
    Management,
    /// `/messages/devicebound`: messages to devices, from a back end.
    ServiceC2d,
    /// `/messages/serviceBound/feedback`.
    Feedback,
    /// `/messages/serviceBound/filenotifications`.
    FileNotifications,
    /// `/messages/events` and what is below it, on the hub's host: it is elsewhere. `rest` is what
    /// followed, such as `ConsumerGroups/$Default/Partitions/0` or `$management`; may be empty.
    HubEvents {
        /// What followed.
        rest: String,
    },
    /// `{entity}/ConsumerGroups/{group}/Partitions/{partition}`.
    EntityPartition {
        /// The Event Hubs-compatible name.
        entity: String,
        /// The consumer group.
        group: String,
        /// The partition, as written.
        partition: String,
    },
    /// `{entity}` or `{entity}/Partitions/{partition}`: an event hub's sending side.
    Entity {
        /// The Event Hubs-compatible name.
        entity: String,
        /// The partition, as written.
        partition: Option<String>,
    },
    /// `/devices/{id}/messages/events` and its like for a module: telemetry; to a module its inputs.
    Telemetry(ClientId),
    /// `/devices/{id}/messages/devicebound` and its like for a module.
    C2d(ClientId),
    /// `/devices/{id}/methods/devicebound` and its like for a module.
    Methods(ClientId),
    /// `/devices/{id}/twin` and its like for a module.
    Twin(ClientId),
    /// None of them; the address as it was given.
    Unknown(String),
}

impl Address {
    /// Reads an address. Never fails: what is no node is [`Address::Unknown`].
    pub fn parse(text: &str) -> Self {
        Self::of_path(path(text)).unwrap_or_else(|| Self::Unknown(text.to_owned()))
    }

    fn of_path(path: &str) -> Option<Self> {
        let parts: Vec<Cow<'_, str>> = path.split('/').map(decoded).collect();
        if parts.iter().any(|part| part.is_empty()) && !is_hub_events(&parts) {
            return None;
        }
        let is = |part: usize, word: &str| {
            parts
                .get(part)
                .is_some_and(|part| part.eq_ignore_ascii_case(word))
        };
        let name = |part: usize| parts[part].clone().into_owned();
        if is(0, "messages") {
            return match parts.len() {
                2 if is(1, "devicebound") => Some(Self::ServiceC2d),
                3 if is(1, "servicebound") && is(2, "feedback") => Some(Self::Feedback),
                3 if is(1, "servicebound") && is(2, "filenotifications") => {
                    Some(Self::FileNotifications)
                }
                _ if is(1, "events") => Some(Self::HubEvents {
                    // Not decoded: it is a part of the address that a redirect names.
                    rest: path.splitn(3, '/').nth(2).unwrap_or("").to_owned(),
                }),
                _ => None,
            };
        }
        if is(0, "devices") {
            return device_node(&parts);
        }
        match parts.len() {
            1 if is(0, "$cbs") => Some(Self::Cbs),
            1 if is(0, "$management") => Some(Self::Management),
            _ if parts[0].starts_with('$') => None,
            1 => Some(Self::Entity {
                entity: name(0),
                partition: None,
            }),
            2 if is(1, "$management") => Some(Self::Management),
            3 if is(1, "partitions") => Some(Self::Entity {
                entity: name(0),
                partition: Some(name(2)),
            }),
            5 if is(1, "consumergroups") && is(3, "partitions") => Some(Self::EntityPartition {
                entity: name(0),
                group: name(2),
                partition: name(4),
            }),
            _ => None,
        }
    }
}

fn is_hub_events(parts: &[Cow<'_, str>]) -> bool {
    matches!(parts, [first, second, ..]
        if first.eq_ignore_ascii_case("messages") && second.eq_ignore_ascii_case("events"))
}

/// `devices/{id}/...` and `devices/{id}/modules/{module}/...`.
fn device_node(parts: &[Cow<'_, str>]) -> Option<Address> {
    let device = DeviceId::parse(parts.get(1)?).ok()?;
    let (client, rest) = match parts.get(2..)? {
        [modules, module, rest @ ..] if modules.eq_ignore_ascii_case("modules") => {
            let module = ModuleId::parse(module).ok()?;
            (ClientId::module(device, module), rest)
        }
        rest => (ClientId::device(device), rest),
    };
    let is = |part: &str, word: &str| part.eq_ignore_ascii_case(word);
    match rest {
        [first, second] if is(first, "messages") && is(second, "events") => {
            Some(Address::Telemetry(client))
        }
        [first, second] if is(first, "messages") && is(second, "devicebound") => {
            Some(Address::C2d(client))
        }
        [first, second] if is(first, "methods") && is(second, "devicebound") => {
            Some(Address::Methods(client))
        }
        [only] if is(only, "twin") => Some(Address::Twin(client)),
        _ => None,
    }
}

/// What is behind scheme and authority, without slashes at either end.
fn path(text: &str) -> &str {
    let is_scheme = |scheme: &str| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let path = match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => {
            rest.split_once('/').map_or("", |(_, path)| path)
        }
        _ => text,
    };
    path.trim_matches('/')
}

/// A part of a path without escapes; one that is no text without them is taken as it is.
fn decoded(part: &str) -> Cow<'_, str> {
    percent_decode_str(part)
        .decode_utf8()
        .unwrap_or(Cow::Borrowed(part))
}

impl fmt::Display for Address {
    /// As this project's clients write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |part| utf8_percent_encode(part, ESCAPED);
        match self {
            Self::Cbs => f.write_str("$cbs"),
            Self::Management => f.write_str("$management"),
            Self::ServiceC2d => f.write_str("/messages/devicebound"),
            Self::Feedback => f.write_str("/messages/serviceBound/feedback"),
            Self::FileNotifications => f.write_str("/messages/serviceBound/filenotifications"),
            Self::HubEvents { rest } if rest.is_empty() => f.write_str("/messages/events"),
            Self::HubEvents { rest } => write!(f, "/messages/events/{rest}"),
            Self::EntityPartition {
                entity,
                group,
                partition,
            } => {
                let (entity, group, partition) = (escape(entity), escape(group), escape(partition));
                write!(f, "{entity}/ConsumerGroups/{group}/Partitions/{partition}")
            }
            Self::Entity { entity, partition } => {
                write!(f, "{}", escape(entity))?;
                match partition {
                    Some(partition) => write!(f, "/Partitions/{}", escape(partition)),
                    None => Ok(()),
                }
            }
            Self::Telemetry(client) => write!(f, "{}/messages/events", Prefix(client)),
            Self::C2d(client) => write!(f, "{}/messages/devicebound", Prefix(client)),
            Self::Methods(client) => write!(f, "{}/methods/devicebound", Prefix(client)),
            Self::Twin(client) => write!(f, "{}/twin", Prefix(client)),
            Self::Unknown(text) => f.write_str(text),
        }
    }
}

/// The path of a device or module.
struct Prefix<'a>(&'a ClientId);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |part| utf8_percent_encode(part, ESCAPED);
        write!(f, "/devices/{}", escape(self.0.device.as_str()))?;
        match &self.0.module {
            Some(module) => write!(f, "/modules/{}", escape(module.as_str())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> ClientId {
        ClientId::parse(text).unwrap()
    }

    fn partition(entity: &str, group: &str, partition: &str) -> Address {
        Address::EntityPartition {
            entity: entity.into(),
            group: group.into(),
            partition: partition.into(),
        }
    }

    fn unknown(text: &str) {
        assert_eq!(Address::parse(text), Address::Unknown(text.into()));
    }

    #[test]
    fn every_spelling_of_the_clients_is_the_same_node() {
        for (node, spellings) in [
            (
                Address::Cbs,
                &["$cbs", "/$cbs", "amqps://h:5671/$cbs", "$CBS"][..],
            ),
            (
                Address::Management,
                &["$management", "amqps://h/$management", "hub/$management"],
            ),
            (
                Address::ServiceC2d,
                &[
                    "/messages/devicebound",
                    "messages/devicebound",
                    "/messages/deviceBound",
                    "amqps://h/messages/devicebound",
                    "amqps://h:5671/messages/devicebound",
                    "amqps://h//messages/devicebound/",
                ],
            ),
            (
                Address::Feedback,
                &[
                    "/messages/serviceBound/feedback",
                    "/messages/servicebound/feedback",
                    "amqps://h/messages/serviceBound/feedback",
                ],
            ),
            (
                Address::FileNotifications,
                &[
                    "/messages/serviceBound/filenotifications",
                    "/messages/servicebound/fileNotifications",
                ],
            ),
            (
                Address::Telemetry(client("d1")),
                &[
                    "/devices/d1/messages/events",
                    "devices/d1/messages/events",
                    "/devices/d1/messages/events/",
                    "amqps://h/devices/d1/messages/events",
                ],
            ),
            (
                Address::C2d(client("a b".replace(' ', "@").as_str())),
                &[
                    "/devices/a@b/messages/devicebound",
                    "/devices/a%40b/messages/deviceBound",
                    "/DEVICES/a%40b/MESSAGES/DEVICEBOUND",
                ],
            ),
            (
                Address::Methods(client("d1/$edgeAgent")),
                &[
                    "/devices/d1/modules/$edgeAgent/methods/devicebound",
                    "/devices/d1/modules/%24edgeAgent/methods/deviceBound",
                ],
            ),
            (
                Address::Twin(client("d1/m1")),
                &["/devices/d1/modules/m1/twin"],
            ),
            (Address::Twin(client("modules")), &["/devices/modules/twin"]),
            (
                partition("iothub-ehub-h-1-a", "$Default", "0"),
                &[
                    "iothub-ehub-h-1-a/ConsumerGroups/$Default/Partitions/0",
                    "sb://h/iothub-ehub-h-1-a/consumergroups/%24Default/partitions/0",
                ],
            ),
        ] {
            for spelling in spellings {
                assert_eq!(Address::parse(spelling), node, "{spelling}");
            }
            assert_eq!(Address::parse(&node.to_string()), node);
        }
    }

    #[test]
    fn names_keep_their_case() {
        assert_eq!(
            Address::parse("Hub/consumerGroups/MyGroup/PARTITIONS/0"),
            partition("Hub", "MyGroup", "0")
        );
        assert_eq!(
            Address::parse("/devices/Dev1/twin"),
            Address::Twin(client("Dev1"))
        );
    }

    #[test]
    fn events_on_the_hub_keep_what_followed() {
        for (text, rest) in [
            ("/messages/events", ""),
            ("messages/events/", ""),
            ("amqps://h/messages/events/$management", "$management"),
            (
                "/Messages/Events/ConsumerGroups/%24Default/Partitions/0",
                "ConsumerGroups/%24Default/Partitions/0",
            ),
        ] {
            let rest = rest.to_owned();
            assert_eq!(Address::parse(text), Address::HubEvents { rest }, "{text}");
        }
    }

    #[test]
    fn an_entity_is_its_sending_side() {
        let entity = |partition: Option<&str>| Address::Entity {
            entity: "hub".into(),
            partition: partition.map(str::to_owned),
        };

        assert_eq!(Address::parse("/hub"), entity(None));
        assert_eq!(Address::parse("hub/Partitions/1"), entity(Some("1")));
    }

    #[test]
    fn what_is_no_node_is_unknown() {
        for text in [
            "",
            "/",
            "amqps://h",
            "$other",
            "$cbs/x",
            "messages",
            "/messages/x",
            "/messages/devicebound/x",
            "/messages/servicebound/x",
            "/devices",
            "/devices/d1",
            "/devices/d1/x",
            "/devices/d1/twin/x",
            "/devices//twin",
            "/devices/a b/twin",
            "/devices/d1/modules/m1",
            "/devices/d1/modules//twin",
            "/devices/d1/messages/events/x",
            "hub/ConsumerGroups/g",
            "hub/ConsumerGroups//Partitions/0",
            "hub/x/y",
        ] {
            unknown(text);
        }
    }
}
