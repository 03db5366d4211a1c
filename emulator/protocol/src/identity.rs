//! Names of devices and modules.

use std::fmt;
use std::sync::Arc;

/// The name of a device: 1 to 128 characters of `[A-Za-z0-9\-:.+%_#*?!(),=@;$']`, case-sensitive
/// (`spec/service.md` 2.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(Arc<str>);

/// The name of a module of a device; the same grammar as [`DeviceId`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(Arc<str>);

/// Who speaks: a device, or a module of a device.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId {
    /// The device, or the device that the module belongs to.
    pub device: DeviceId,
    /// The module, when it is one that speaks.
    pub module: Option<ModuleId>,
}

/// A name that no device or module can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidId(pub String);

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a device or module id (1 to 128 of A-Z a-z 0-9 - : . + % _ # * ? ! ( ) , = @ ; $ '): {:?}",
            self.0
        )
    }
}

impl std::error::Error for InvalidId {}

macro_rules! id {
    ($name:ident) => {
        impl $name {
            /// Checks the grammar.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if is_valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId(text.into()))
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        // Lets a map keyed by ids be asked with borrowed text.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(DeviceId);
id!(ModuleId);

impl ModuleId {
    /// Whether the hub itself owns the module (`$edgeAgent`, `$edgeHub`).
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl ClientId {
    /// The device itself.
    pub fn device(device: DeviceId) -> Self {
        Self {
            device,
            module: None,
        }
    }

    /// A module of the device.
    pub fn module(device: DeviceId, module: ModuleId) -> Self {
        Self {
            device,
            module: Some(module),
        }
    }

    /// Parses `device` or `device/module`, the spelling of client ids on the wire.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        match text.split_once('/') {
            None => Ok(Self::device(DeviceId::parse(text)?)),
            Some((device, module)) => Ok(Self::module(
                DeviceId::parse(device)?,
                ModuleId::parse(module)?,
            )),
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            None => write!(f, "{}", self.device),
            Some(module) => write!(f, "{}/{}", self.device, module),
        }
    }
}

fn is_valid(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-:.+%_#*?!(),=@;$'".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_character_is_accepted() {
        let id = "Dev.+%_#*?!(),=@$'-:;1";

        assert_eq!(DeviceId::parse(id).unwrap().as_str(), id);
    }

    #[test]
    fn slash_space_empty_and_long_names_are_refused() {
        for bad in ["", "a/b", "a b", "ä", "a\0", &"x".repeat(129)] {
            assert!(DeviceId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn client_id_round_trips() {
        for text in ["d1", "d1/m1", "d1/$edgeHub"] {
            assert_eq!(ClientId::parse(text).unwrap().to_string(), text);
        }
        assert!(ClientId::parse("a/b/c").is_err());
    }
}
