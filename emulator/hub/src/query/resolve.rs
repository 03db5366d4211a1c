//! Binding paths to what rows have (`spec/service.md` 5.2 and 5.3).

use iothub_protocol::Error;

use super::ast::{RawPath, Segment};
use super::lexer::refused;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collection {
    Devices,
    Modules,
    DeviceJobs,
}

/// A path that is bound: a field of the row, and the way on from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) field: Field,
    /// The way below the field; of a job, the whole path.
    pub(super) below: Vec<Segment>,
    /// What a column is called that has no other name.
    pub(super) name: Box<str>,
}

macro_rules! fields {
    ($($field:ident = $name:literal,)*) => {
        /// A field that rows have at the top.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Field {
            $($field,)*
            /// `properties.desired`
            Desired,
            /// `properties.reported`
            Reported,
            /// Whatever a job's document has.
            OfJob,
            /// Nothing has it.
            Unknown,
        }

        impl Field {
            /// The field with this name, whatever its case, and its name in the right one.
            fn find(name: &str) -> Option<(Self, &'static str)> {
                $(if name.eq_ignore_ascii_case($name) { return Some((Self::$field, $name)); })*
                None
            }
        }
    };
}

fields! {
    DeviceId = "deviceId",
    Id = "id",
    ModuleId = "moduleId",
    Etag = "etag",
    DeviceEtag = "deviceEtag",
    Status = "status",
    StatusReason = "statusReason",
    StatusUpdateTime = "statusUpdateTime",
    StatusUpdatedTime = "statusUpdatedTime",
    ConnectionState = "connectionState",
    LastActivityTime = "lastActivityTime",
    C2dCount = "cloudToDeviceMessageCount",
    AuthenticationType = "authenticationType",
    Thumbprints = "x509Thumbprint",
    ModelId = "modelId",
    Version = "version",
    Tags = "tags",
    Properties = "properties",
    Capabilities = "capabilities",
    Configurations = "configurations",
    DeviceScope = "deviceScope",
    ParentScopes = "parentScopes",
    ManagedBy = "managedBy",
}

impl Collection {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "devices.modules" => Self::Modules,
            "devices.jobs" => Self::DeviceJobs,
            _ => Self::Devices,
        }
    }

    /// Binds a path: by the collection's name in front, by `devices`, by the alias, or as it is.
    pub(super) fn resolve(
        self,
        text: &str,
        path: RawPath,
        alias: Option<&str>,
    ) -> Result<Reference, Error> {
        let at = path.at;
        let mut segments = path.segments;
        let prefix = self.prefix_length(&segments, alias);
        segments.drain(..prefix);
        let name = match segments.last() {
            Some(Segment::Name(name)) => name.clone(),
            Some(Segment::Index(_)) | None => "$1".into(),
        };
        let Some(Segment::Name(first)) = segments.first() else {
            return Err(refused(text, at, "expected the name of a property"));
        };
        if self == Self::DeviceJobs {
            return Ok(Reference {
                field: Field::OfJob,
                below: segments,
                name,
            });
        }
        let (field, canonical) = match Field::find(first) {
            Some((field, canonical)) => (field, Some(canonical)),
            None => (Field::Unknown, None),
        };
        let name = match (segments.len(), canonical) {
            (1, Some(canonical)) => canonical.into(),
            _ => name,
        };
        let mut below = segments.split_off(1);
        let field = match (field, below.first()) {
            (Field::Properties, Some(Segment::Name(section))) => {
                let field = if section.eq_ignore_ascii_case("desired") {
                    Field::Desired
                } else if section.eq_ignore_ascii_case("reported") {
                    Field::Reported
                } else {
                    Field::Unknown
                };
                below.remove(0);
                field
            }
            (field, _) => field,
        };
        Ok(Reference { field, below, name })
    }

    /// How many segments in front only say where the property is.
    fn prefix_length(self, segments: &[Segment], alias: Option<&str>) -> usize {
        let is = |index: usize, wanted: &str| {
            // The last segment is a property, whatever it is called.
            index + 1 < segments.len()
                && matches!(&segments[index], Segment::Name(name) if name.eq_ignore_ascii_case(wanted))
        };
        let second = match self {
            Self::Devices => None,
            Self::Modules => Some("modules"),
            Self::DeviceJobs => Some("jobs"),
        };
        if is(0, "devices") {
            return 1 + usize::from(second.is_some_and(|second| is(1, second)));
        }
        usize::from(alias.is_some_and(|alias| is(0, alias)))
    }
}
