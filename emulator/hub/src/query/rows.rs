//! Twins and device jobs as rows, worked out field by field: no document is made of a row that
//! nobody wants.

use std::collections::HashMap;

use iothub_protocol::twin::{Section, SectionKind};
use iothub_protocol::{ClientId, Timestamp};
use serde_json::{Map, Value, json};

use super::ast::Segment;
use super::eval::Row;
use super::item::Item;
use super::resolve::{Field, Reference};
use crate::Hub;
use crate::registry::Identity;
use crate::twins::{Twin, etag_text, thumbprints};

pub(super) const DESIRED: SectionKind = SectionKind::Desired;
pub(super) const REPORTED: SectionKind = SectionKind::Reported;

/// A hub to look at, and who is connected to it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) hub: &'a Hub,
    /// Of a snapshot: who is connected, with their last activity.
    pub(super) present: Option<&'a HashMap<ClientId, Timestamp>>,
}

/// A device's or module's twin.
pub(super) struct TwinRow<'a> {
    pub(super) view: View<'a>,
    pub(super) twin: &'a Twin,
}

/// What a job did to a device.
pub(super) struct JobRow(pub(super) Value);

impl View<'_> {
    /// The last activity of a client that is connected.
    fn presence(&self, client: &ClientId) -> Option<Timestamp> {
        match self.present {
            Some(present) => present.get(client).copied(),
            None => {
                let session = self.hub.sessions.find(client);
                session.map(|(_, state)| state.last_activity)
            }
        }
    }
}

impl TwinRow<'_> {
    /// The whole twin, as its own operation answers it.
    pub(super) fn document(&self) -> Value {
        match self.identity() {
            Some(identity) => {
                let present = self.view.presence(&self.twin.client);
                self.view.hub.twin_document(identity, self.twin, present)
            }
            None => Value::Null,
        }
    }

    fn identity(&self) -> Option<&Identity> {
        let found = self.view.hub.registry.find(&self.twin.client);
        found.map(|identity| &**identity)
    }

    fn of_identity<'a>(&'a self, get: impl FnOnce(&'a Identity) -> Item<'a>) -> Item<'a> {
        self.identity().map_or(Item::Undefined, get)
    }

    fn is_device(&self) -> bool {
        self.twin.client.module.is_none()
    }
}

impl Row<Reference> for TwinRow<'_> {
    fn get<'a>(&'a self, path: &'a Reference) -> Item<'a> {
        let twin = self.twin;
        let below = path.below.as_slice();
        let scalar = |item: Item<'a>| {
            if below.is_empty() {
                item
            } else {
                Item::Undefined
            }
        };
        let time = |at: Timestamp| Item::owned(at.to_iso().into());
        match path.field {
            Field::DeviceId | Field::Id => scalar(Item::text(twin.client.device.as_str())),
            Field::ModuleId => match &twin.client.module {
                Some(module) => scalar(Item::text(module.as_str())),
                None => Item::Undefined,
            },
            Field::Etag => scalar(Item::owned(etag_text(twin.etag).into())),
            Field::DeviceEtag => scalar(self.of_identity(|it| Item::text(&it.etag))),
            Field::Status => scalar(self.of_identity(|it| Item::text(it.status.as_str()))),
            Field::StatusReason => scalar(self.of_identity(|it| {
                let reason = it.status_reason.as_deref();
                reason.map_or(Item::Undefined, Item::text)
            })),
            Field::StatusUpdateTime | Field::StatusUpdatedTime => {
                scalar(self.of_identity(|it| time(it.status_updated)))
            }
            Field::ConnectionState => {
                let present = self.view.presence(&twin.client).is_some();
                let state = if present { "Connected" } else { "Disconnected" };
                scalar(Item::text(state))
            }
            Field::LastActivityTime => scalar(self.of_identity(|it| {
                let present = self.view.presence(&twin.client);
                time(present.unwrap_or(it.last_activity))
            })),
            Field::C2dCount => {
                let count = self.view.hub.c2d.count(&twin.client);
                scalar(Item::Number(count.into()))
            }
            Field::AuthenticationType => {
                scalar(self.of_identity(|it| Item::text(crate::twins::authentication_type(it))))
            }
            Field::Thumbprints => self.of_identity(|it| owned(&thumbprints(it), below)),
            Field::ModelId => scalar(Item::text(&twin.model_id)),
            Field::Version => scalar(Item::Number(twin.version.into())),
            Field::Tags if below.is_empty() && twin.tags.is_empty() => Item::Undefined,
            Field::Tags => members(&twin.tags, below),
            Field::Desired => section(&twin.desired, DESIRED, below),
            Field::Reported => section(&twin.reported, REPORTED, below),
            Field::Properties => scalar(Item::owned(json!({
                "desired": whole(&twin.desired),
                "reported": whole(&twin.reported),
            }))),
            Field::Capabilities if self.is_device() => self.of_identity(|it| match below {
                [Segment::Name(name)] if &**name == "iotEdge" => Item::Bool(it.iot_edge),
                [] => Item::owned(json!({ "iotEdge": it.iot_edge })),
                _ => Item::Undefined,
            }),
            Field::Configurations => match self.view.hub.configuration_status(&twin.client) {
                Some(configurations) => owned(&Value::Object(configurations), below),
                None => Item::Undefined,
            },
            Field::DeviceScope if self.is_device() => scalar(self.of_identity(|it| {
                it.device_scope
                    .as_deref()
                    .map_or(Item::Undefined, Item::text)
            })),
            Field::ParentScopes if self.is_device() => {
                self.of_identity(|it| owned(&json!(it.parent_scopes), below))
            }
            Field::ManagedBy if !self.is_device() => scalar(
                self.of_identity(|it| it.managed_by.as_deref().map_or(Item::Undefined, Item::text)),
            ),
            Field::Capabilities
            | Field::DeviceScope
            | Field::ParentScopes
            | Field::ManagedBy
            | Field::OfJob
            | Field::Unknown => Item::Undefined,
        }
    }
}

impl Row<Reference> for JobRow {
    fn get<'a>(&'a self, path: &'a Reference) -> Item<'a> {
        let Some((Segment::Name(first), below)) = path.below.split_first() else {
            return Item::Undefined;
        };
        // The documentation's example has another name for it (`spec/service.md` 6.4).
        let first = if first.eq_ignore_ascii_case("createdTimeUtc") {
            "createdDateTimeUtc"
        } else {
            first
        };
        let members = self.0.as_object().into_iter().flatten();
        let found = members
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(first));
        found.map_or(Item::Undefined, |(_, value)| at(value, below))
    }
}

/// What is at a path below a value.
pub(super) fn at<'a>(value: &'a Value, path: &[Segment]) -> Item<'a> {
    let mut value = value;
    for segment in path {
        let next = match (segment, value) {
            (Segment::Name(name), Value::Object(members)) => member(members, name),
            (Segment::Index(index), Value::Array(elements)) => elements.get(*index),
            _ => None,
        };
        match next {
            Some(next) => value = next,
            None => return Item::Undefined,
        }
    }
    Item::borrowed(value)
}

/// A member by its name. Few names are sooner looked through than hashed, and a query over a
/// million twins does nothing else.
fn member<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    const FEW: usize = 8;
    if map.len() > FEW {
        return map.get(name);
    }
    let found = map.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| value)
}

/// The same below a value that was made for the occasion.
pub(super) fn owned<'a>(value: &Value, path: &[Segment]) -> Item<'a> {
    at(value, path)
        .into_json()
        .map_or(Item::Undefined, Item::owned)
}

pub(super) fn members<'a>(map: &'a Map<String, Value>, path: &[Segment]) -> Item<'a> {
    match path.split_first() {
        None => Item::owned(Value::Object(map.clone())),
        Some((Segment::Name(name), below)) => match member(map, name) {
            Some(value) => at(value, below),
            None => Item::Undefined,
        },
        Some((Segment::Index(_), _)) => Item::Undefined,
    }
}

/// A section without its metadata, which comes only when it is asked for.
pub(super) fn section<'a>(section: &'a Section, kind: SectionKind, path: &[Segment]) -> Item<'a> {
    match path.first() {
        None => Item::owned(whole(section)),
        Some(Segment::Name(name)) if &**name == "$version" && path.len() == 1 => {
            Item::Number(section.version.into())
        }
        Some(Segment::Name(name)) if &**name == "$metadata" => {
            owned(&section.to_service_json(kind), path)
        }
        Some(_) => members(&section.value, path),
    }
}

fn whole(section: &Section) -> Value {
    section.to_device_json()
}
