//! Twins and device jobs as rows, worked out field by field: no document is made of a row that
//! nobody wants.

use std::collections::HashMap;
use std::ops::Bound;

use iothub_protocol::twin::SectionKind;
use iothub_protocol::{ClientId, Timestamp};
use serde_json::{Value, json};

use super::ast::Segment;
use super::eval::Row;
use super::item::Item;
use super::resolve::{Field, Reference};
use crate::Hub;
use crate::packed::{Node, Object, PackedSection, PackedTwin};
use crate::registry::Identity;
use crate::twins::{etag_text, thumbprints};

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
    pub(super) client: &'a ClientId,
    pub(super) twin: &'a PackedTwin,
    /// When whoever made the row has it at hand.
    pub(super) identity: Option<&'a Identity>,
}

/// What a job did to a device.
pub(super) struct JobRow(pub(super) Value);

impl<'a> View<'a> {
    /// Everybody in a range, in order. Identities are found on the way: they are in the same
    /// order, so that none has to be looked for.
    pub(super) fn rows_within(
        self,
        range: (Bound<ClientId>, Bound<ClientId>),
        with_identities: bool,
    ) -> impl Iterator<Item = TwinRow<'a>> + 'a {
        let twins = self.hub.twins.range(range.clone());
        let identities = with_identities.then(|| self.hub.registry.range(range));
        let mut identities = identities.into_iter().flatten().peekable();
        twins.map(move |(client, twin)| {
            // Mostly the same one, which is seen without a look at the names.
            while identities
                .next_if(|(other, _)| *other != client && *other < client)
                .is_some()
            {}
            let found = identities.next_if(|(other, _)| *other == client);
            TwinRow {
                view: self,
                client,
                twin,
                identity: found.map(|(_, identity)| &**identity),
            }
        })
    }

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
                let present = self.view.presence(self.client);
                let twin = self.twin.unpack(self.client.clone());
                self.view.hub.twin_document(identity, twin, present)
            }
            None => Value::Null,
        }
    }

    fn identity(&self) -> Option<&Identity> {
        self.identity.or_else(|| {
            let found = self.view.hub.registry.find(self.client);
            found.map(|identity| &**identity)
        })
    }

    fn of_identity<'a>(&'a self, get: impl FnOnce(&'a Identity) -> Item<'a>) -> Item<'a> {
        self.identity().map_or(Item::Undefined, get)
    }

    fn is_device(&self) -> bool {
        self.client.module.is_none()
    }
}

impl Row<Reference> for TwinRow<'_> {
    fn get<'a>(&'a self, path: &'a Reference) -> Item<'a> {
        let (client, twin) = (self.client, self.twin);
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
            Field::DeviceId | Field::Id => scalar(Item::text(client.device.as_str())),
            Field::ModuleId => match &client.module {
                Some(module) => scalar(Item::text(module.as_str())),
                None => Item::Undefined,
            },
            Field::Etag => scalar(Item::owned(etag_text(twin.etag()).into())),
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
                let present = self.view.presence(client).is_some();
                let state = if present { "Connected" } else { "Disconnected" };
                scalar(Item::text(state))
            }
            Field::LastActivityTime => scalar(self.of_identity(|it| {
                let present = self.view.presence(client);
                time(present.unwrap_or(it.last_activity))
            })),
            Field::C2dCount => {
                let count = self.view.hub.c2d.count(client);
                scalar(Item::Number(count.into()))
            }
            Field::AuthenticationType => {
                scalar(self.of_identity(|it| Item::text(crate::twins::authentication_type(it))))
            }
            Field::Thumbprints => self.of_identity(|it| owned(&thumbprints(it), below)),
            Field::ModelId => scalar(Item::text(twin.model_id())),
            Field::Version => scalar(Item::Number(twin.version().into())),
            Field::Tags if below.is_empty() && twin.tags().is_empty() => Item::Undefined,
            Field::Tags => members(twin.tags(), below),
            Field::Desired => section(twin, DESIRED, below),
            Field::Reported => section(twin, REPORTED, below),
            Field::Properties => scalar(Item::owned(json!({
                "desired": whole(twin.desired()),
                "reported": whole(twin.reported()),
            }))),
            Field::Capabilities if self.is_device() => self.of_identity(|it| match below {
                [Segment::Name(name)] if &**name == "iotEdge" => Item::Bool(it.iot_edge),
                [] => Item::owned(json!({ "iotEdge": it.iot_edge })),
                _ => Item::Undefined,
            }),
            Field::Configurations => match self.view.hub.configuration_status(client) {
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
            (Segment::Name(name), Value::Object(members)) => members.get(&**name),
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

/// The same below a value that was made for the occasion.
pub(super) fn owned<'a>(value: &Value, path: &[Segment]) -> Item<'a> {
    at(value, path)
        .into_json()
        .map_or(Item::Undefined, Item::owned)
}

/// The same below members that are packed.
pub(super) fn members<'a>(members: Object<'a>, path: &[Segment]) -> Item<'a> {
    let mut node = Node::Object(members);
    for segment in path {
        let next = match (segment, &node) {
            (Segment::Name(name), Node::Object(members)) => members.get(name),
            (Segment::Index(index), Node::Array(elements)) => elements.get(*index),
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => return Item::Undefined,
        }
    }
    Item::packed(node)
}

/// A section without its metadata, which comes only when it is asked for.
pub(super) fn section<'a>(twin: &'a PackedTwin, kind: SectionKind, path: &[Segment]) -> Item<'a> {
    let first = match path.first() {
        Some(Segment::Name(name)) => &**name,
        Some(Segment::Index(_)) | None => "",
    };
    match first {
        "" if path.is_empty() => Item::owned(whole(packed(twin, kind))),
        "$version" if path.len() == 1 => Item::Number(packed(twin, kind).version.into()),
        "$metadata" => owned(&twin.section(kind).to_service_json(kind), path),
        _ => members(twin.members(kind), path),
    }
}

fn packed(twin: &PackedTwin, kind: SectionKind) -> PackedSection<'_> {
    if kind == REPORTED {
        twin.reported()
    } else {
        twin.desired()
    }
}

fn whole(section: PackedSection<'_>) -> Value {
    let mut printed = section.value.to_map();
    printed.insert("$version".into(), section.version.into());
    Value::Object(printed)
}
