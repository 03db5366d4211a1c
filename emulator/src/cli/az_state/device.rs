//! One device of the file, and the elements of bulk calls that make it.

use iothub_protocol::registry::{AuthenticationSpec, IdentitySpec};
use iothub_protocol::{DeviceId, ModuleId};
use serde_json::{Map, Value, json};

/// What is wrong, and where in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// A JSON pointer, such as `/devices/d1/identity`.
    pub(super) place: String,
    pub(super) why: String,
}

impl Fault {
    pub(super) fn new(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            why: why.into(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"place": self.place, "why": self.why})
    }
}

/// A device as the file has it, checked as far as that can be done without a hub.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) id: DeviceId,
    pub(super) edge: bool,
    /// The edge device that it is behind.
    pub(super) parent: Option<String>,
    /// What makes it.
    pub(super) item: Value,
    pub(super) modules: Vec<Module>,
    /// What of it cannot be taken over.
    pub(super) left_out: LeftOut,
}

/// A module of a device.
#[derive(Debug)]
pub(super) struct Module {
    /// What makes its identity; the system's own come with their device.
    pub(super) identity: Option<Value>,
    /// What writes its twin.
    pub(super) twin: Option<Value>,
}

/// What is in the file and stays there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Twins with reported properties, which only the device itself can write.
    pub(super) reported: u64,
    /// Members that nothing is known of.
    pub(super) unknown: u64,
}

/// Where a device stands.
pub(super) fn place(id: &str) -> String {
    // RFC 6901: `~` and `/` stand for something in a pointer.
    format!("/devices/{}", id.replace('~', "~0").replace('/', "~1"))
}

impl Device {
    pub(super) fn parse(id: &str, entry: &Value) -> Result<Self, Fault> {
        let place = place(id);
        let id = DeviceId::parse(id).map_err(|error| Fault::new(&place, error.to_string()))?;
        let members = object(entry, &place)?;
        let identity = member(members, "identity", &place)?;
        let identity_place = format!("{place}/identity");
        let spec = spec(identity, &identity_place)?;
        let mut left_out = LeftOut {
            reported: 0,
            unknown: count_unknown(members, &["identity", "twin", "modules", "parent"]),
        };

        let mut item = json!({"id": id.as_str(), "importMode": "create"});
        for name in ["status", "statusReason", "authentication", "capabilities"] {
            copy(identity, name, &mut item);
        }
        for (name, section) in twin(members, &place, &mut left_out)? {
            item[name] = section;
        }

        let modules = match non_null(members, "modules") {
            None => Vec::new(),
            Some(modules) => {
                let place = format!("{place}/modules");
                let modules = object(modules, &place)?.iter();
                modules
                    .map(|(name, entry)| Module::parse(&id, name, entry, &place, &mut left_out))
                    .collect::<Result<_, _>>()?
            }
        };
        let parent = match non_null(members, "parent") {
            None => None,
            Some(Value::String(parent)) => Some(parent.clone()),
            Some(_) => return Err(Fault::new(format!("{place}/parent"), "is no text")),
        };
        Ok(Self {
            edge: spec.iot_edge,
            id,
            parent: parent.filter(|parent| !parent.is_empty()),
            item,
            modules,
            left_out,
        })
    }

    /// Where it stands.
    pub(super) fn place(&self) -> String {
        place(self.id.as_str())
    }

    /// About how large it is on the wire.
    pub(super) fn size(&self) -> usize {
        self.item.to_string().len()
    }
}

impl Module {
    fn parse(
        device: &DeviceId,
        name: &str,
        entry: &Value,
        place: &str,
        left_out: &mut LeftOut,
    ) -> Result<Self, Fault> {
        let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
        let id = ModuleId::parse(name).map_err(|error| Fault::new(&place, error.to_string()))?;
        let members = object(entry, &place)?;
        left_out.unknown += count_unknown(members, &["identity", "twin"]);
        let of = |mode: &str| json!({"id": device.as_str(), "moduleId": id.as_str(), "importMode": mode});
        let identity = if id.is_system() {
            // Its keys are the hub's business: nobody can write them.
            None
        } else {
            let identity = member(members, "identity", &place)?;
            spec(identity, &format!("{place}/identity"))?;
            let mut item = of("createOrUpdate");
            for name in ["authentication", "managedBy"] {
                copy(identity, name, &mut item);
            }
            Some(item)
        };
        let sections = twin(members, &place, left_out)?;
        let twin = (!sections.is_empty()).then(|| {
            let mut item = of("updateTwin");
            for (name, section) in sections {
                item[name] = section;
            }
            item
        });
        Ok(Self { identity, twin })
    }
}

/// The identity's own rules, and one of this file: whoever has keys must bring them, or the hub
/// would make others that no device knows.
fn spec(identity: &Value, place: &str) -> Result<IdentitySpec, Fault> {
    let members = object(identity, place)?;
    let authentication = format!("{place}/authentication");
    object(member(members, "authentication", place)?, &authentication)?;
    let spec =
        IdentitySpec::from_value(identity).map_err(|error| Fault::new(place, error.detail))?;
    if spec.authentication == AuthenticationSpec::Sas(None) {
        let place = format!("{authentication}/symmetricKey");
        return Err(Fault::new(place, "has no keys"));
    }
    Ok(spec)
}

/// `tags` and `properties.desired`, as bulk calls have them, without what is empty.
fn twin(
    members: &Map<String, Value>,
    place: &str,
    left_out: &mut LeftOut,
) -> Result<Map<String, Value>, Fault> {
    let mut sections = Map::new();
    let Some(twin) = non_null(members, "twin") else {
        return Ok(sections);
    };
    let place = format!("{place}/twin");
    let twin = object(twin, &place)?;
    if let Some(tags) = section(twin, "tags", &place)? {
        sections.insert("tags".into(), Value::Object(tags));
    }
    let Some(properties) = non_null(twin, "properties") else {
        return Ok(sections);
    };
    let place = format!("{place}/properties");
    let properties = object(properties, &place)?;
    if section(properties, "reported", &place)?.is_some() {
        left_out.reported += 1;
    }
    if let Some(desired) = section(properties, "desired", &place)? {
        sections.insert("properties".into(), json!({"desired": desired}));
    }
    Ok(sections)
}

/// A section of a twin without what the hub adds to it; `None` when nothing is left.
fn section(
    members: &Map<String, Value>,
    name: &str,
    place: &str,
) -> Result<Option<Map<String, Value>>, Fault> {
    let Some(section) = non_null(members, name) else {
        return Ok(None);
    };
    let mut section = object(section, &format!("{place}/{name}"))?.clone();
    section.retain(|name, _| !matches!(name.as_str(), "$metadata" | "$version"));
    Ok((!section.is_empty()).then_some(section))
}

fn copy(from: &Value, name: &str, to: &mut Value) {
    if let Some(value) = from.get(name).filter(|value| !value.is_null()) {
        to[name] = value.clone();
    }
}

fn count_unknown(members: &Map<String, Value>, known: &[&str]) -> u64 {
    let unknown = members
        .keys()
        .filter(|name| !known.contains(&name.as_str()));
    unknown.count().try_into().unwrap_or(u64::MAX)
}

fn non_null<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn member<'a>(
    members: &'a Map<String, Value>,
    name: &str,
    place: &str,
) -> Result<&'a Value, Fault> {
    non_null(members, name).ok_or_else(|| Fault::new(format!("{place}/{name}"), "is missing"))
}

pub(super) fn object<'a>(value: &'a Value, place: &str) -> Result<&'a Map<String, Value>, Fault> {
    value
        .as_object()
        .ok_or_else(|| Fault::new(place, "is no object"))
}
