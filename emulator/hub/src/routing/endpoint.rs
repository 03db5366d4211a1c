//! Endpoints: where routed messages go, and the names that they have.

use std::sync::Arc;

use iothub_protocol::{Error, json as members};
use serde_json::{Map, Value, json};

use super::spec::invalid;

/// The name of the built-in endpoint.
const BUILT_IN: &str = "events";
/// Characters of the name of a route or an endpoint.
const NAME: usize = 64;
/// Names that no endpoint of one's own may have.
const RESERVED: [&str; 4] = [
    BUILT_IN,
    "operationsMonitoringEvents",
    "fileNotifications",
    "$default",
];
/// The kinds of endpoints. Those of the real hub that hand messages on one by one are files of
/// JSON lines here, as are `files`, which are ours: so a real hub's routes can be taken as they
/// are.
pub(super) const GROUPS: [&str; 6] = [
    "eventHubs",
    "serviceBusQueues",
    "serviceBusTopics",
    "cosmosDBSqlContainers",
    "files",
    BLOBS,
];
const BLOBS: &str = "storageContainers";

/// Where routed messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name in routes.
    pub name: Arc<str>,
    /// What it is.
    pub kind: EndpointKind,
    /// The list that it was given in.
    pub(super) group: &'static str,
}

/// What an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// The hub's own event log.
    BuiltIn,
    /// A file with one JSON document a line.
    Lines,
    /// A container of blobs, each with the messages of one partition and minute.
    Blobs(BlobFormat),
}

/// How blobs of routed messages are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobFormat {
    /// The container.
    pub container: String,
    /// The blob's name with the fields `{iothub}`, `{partition}`, `{YYYY}`, `{MM}`, `{DD}`,
    /// `{HH}` and `{mm}`.
    pub name: String,
}

impl Endpoint {
    pub(super) fn built_in() -> Self {
        Self {
            name: BUILT_IN.into(),
            kind: EndpointKind::BuiltIn,
            group: "",
        }
    }

    pub(super) fn read(group: &'static str, members: &Map<String, Value>) -> Result<Self, Error> {
        let name = name(members)?;
        if RESERVED
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
        {
            return Err(invalid(format!("{name:?} is a name of the hub's own")));
        }
        let kind = if group == BLOBS {
            EndpointKind::Blobs(BlobFormat::read(members)?)
        } else {
            EndpointKind::Lines
        };
        Ok(Self {
            name: name.into(),
            kind,
            group,
        })
    }

    pub(super) fn to_json(&self) -> Value {
        match &self.kind {
            EndpointKind::BuiltIn | EndpointKind::Lines => json!({"name": *self.name}),
            EndpointKind::Blobs(format) => json!({
                "name": *self.name,
                "containerName": format.container,
                "fileNameFormat": format.name,
                "encoding": "json",
            }),
        }
    }
}

impl BlobFormat {
    const FIELDS: [&str; 7] = [
        "{iothub}",
        "{partition}",
        "{YYYY}",
        "{MM}",
        "{DD}",
        "{HH}",
        "{mm}",
    ];
    const DEFAULT: &str = "{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}";

    fn read(members: &Map<String, Value>) -> Result<Self, Error> {
        let container = members::string(members, "containerName")?.unwrap_or_default();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let good = (3..=63).contains(&container.len())
            && container.chars().all(plain)
            && !container.starts_with('-');
        if !good {
            return Err(invalid(
                "containerName must be 3 to 63 lower-case letters, digits and hyphens",
            ));
        }
        let encoding = members::string(members, "encoding")?.unwrap_or("json");
        if !encoding.eq_ignore_ascii_case("json") {
            return Err(invalid(format!(
                "encoding {encoding:?}: only \"json\" is written here"
            )));
        }
        let name = members::string(members, "fileNameFormat")?.unwrap_or(Self::DEFAULT);
        check_name_format(name)?;
        Ok(Self {
            container: container.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// Every field once or more, and around them nothing that leads out of the container.
fn check_name_format(name: &str) -> Result<(), Error> {
    let mut rest = name.to_owned();
    for field in BlobFormat::FIELDS {
        if !rest.contains(field) {
            return Err(invalid(format!("fileNameFormat must contain {field}")));
        }
        rest = rest.replace(field, "0");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let good_segment = |segment: &str| !segment.is_empty() && !segment.starts_with('.');
    if name.len() > 256 || !rest.chars().all(plain) || !rest.split('/').all(good_segment) {
        return Err(invalid(
            "fileNameFormat may contain letters, digits, '-', '_', '.' and '/' between its fields",
        ));
    }
    Ok(())
}

/// The name of a route or an endpoint. It names a file, too: no path can be made of it.
pub(super) fn name(members: &Map<String, Value>) -> Result<&str, Error> {
    let name = members::string(members, "name")?.unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > NAME || !name.chars().all(plain) || name.starts_with('.') {
        return Err(invalid(format!(
            "name must be 1 to {NAME} letters, digits, '-', '_' and '.', not beginning with '.'"
        )));
    }
    Ok(name)
}
