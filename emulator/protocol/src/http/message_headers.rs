//! Properties of messages as HTTP carries them: headers, and their like in batches
//! (`spec/device.md` 9.2).

use super::IOTHUB_APP_PREFIX;
use crate::Error;
use crate::property_bag::{PropertyBag, SystemProperty};

/// What an HTTP name says about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning<'a> {
    System(SystemProperty),
    Application(&'a str),
}

/// Names of system properties in HTTP, without the prefix `iothub-`, in the order of the
/// specification.
const NAMES: [(&str, SystemProperty); 8] = [
    ("messageid", SystemProperty::MessageId),
    ("correlationid", SystemProperty::CorrelationId),
    ("userid", SystemProperty::UserId),
    ("to", SystemProperty::To),
    ("expiry", SystemProperty::Expiry),
    ("contenttype", SystemProperty::ContentType),
    ("contentencoding", SystemProperty::ContentEncoding),
    ("interface-id", SystemProperty::InterfaceId),
];

/// Adds what a header of a sent message says to its properties; headers that say nothing about the
/// message are ignored.
///
/// Refuses with `ArgumentInvalid` characters that HTTP properties may not have
/// (`spec/device.md` 4.4).
pub fn push_header(properties: &mut PropertyBag, name: &str, value: &[u8]) -> Result<(), Error> {
    let lower = name.to_ascii_lowercase();
    let meaning = if lower.starts_with(IOTHUB_APP_PREFIX) {
        // The name as it was received: its case may be lost, which is the client's doing.
        name.get(IOTHUB_APP_PREFIX.len()..).map(application)
    } else if lower == "dt-subject" {
        Some(Meaning::System(SystemProperty::Component))
    } else {
        // `iothub-to` is informational: every device names the path of the request in it.
        lower
            .strip_prefix("iothub-")
            .filter(|rest| *rest != "to")
            .and_then(system)
    };
    let Some(meaning) = meaning else {
        return Ok(());
    };
    let value = std::str::from_utf8(value)
        .map_err(|_| Error::argument_invalid(format!("the value of {name} is not text")))?;
    push(properties, meaning, value)
}

/// Adds what a property of a message of a batch says: named like a header, or like the property
/// itself; what has neither name is an application property.
pub fn push_batch_property(
    properties: &mut PropertyBag,
    name: &str,
    value: &str,
) -> Result<(), Error> {
    let lower = name.to_ascii_lowercase();
    let meaning = if lower.starts_with(IOTHUB_APP_PREFIX) {
        application(&name[IOTHUB_APP_PREFIX.len()..])
    } else if lower == "dt-subject" {
        Meaning::System(SystemProperty::Component)
    } else {
        let plain = lower.strip_prefix("iothub-").unwrap_or(&lower);
        system(plain).unwrap_or_else(|| application(name))
    };
    push(properties, meaning, value)
}

fn system<'a>(name: &str) -> Option<Meaning<'a>> {
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|&(_, property)| Meaning::System(property))
}

fn application(name: &str) -> Meaning<'_> {
    // The one property of the system that has the application's prefix.
    if name.eq_ignore_ascii_case("iothub-creation-time-utc") {
        Meaning::System(SystemProperty::CreationTime)
    } else {
        Meaning::Application(name)
    }
}

fn push(properties: &mut PropertyBag, meaning: Meaning<'_>, value: &str) -> Result<(), Error> {
    match meaning {
        Meaning::System(property) => {
            check_system(property, value)?;
            properties.push_system(property, value);
        }
        Meaning::Application(name) => {
            if name.is_empty() || !name.bytes().chain(value.bytes()).all(is_allowed) {
                return Err(Error::argument_invalid(format!(
                    "property {:?} has characters that HTTP does not carry",
                    name.chars().take(100).collect::<String>()
                )));
            }
            properties.push(name, value);
        }
    }
    Ok(())
}

/// System properties have rules of their own (`spec/device.md` 4.4).
fn check_system(property: SystemProperty, value: &str) -> Result<(), Error> {
    let good = match property {
        SystemProperty::MessageId | SystemProperty::CorrelationId => {
            let allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || b"-:.+%_#*?!(),=@;$'".contains(&byte);
            value.len() <= 128 && value.bytes().all(allowed)
        }
        _ => value.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
    };
    if good {
        return Ok(());
    }
    Err(Error::argument_invalid(format!(
        "{property:?} is too long or has characters that it may not have"
    )))
}

/// ASCII letters and digits and what else may stand in names of headers (`spec/device.md` 4.4).
fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bag(headers: &[(&str, &str)]) -> Result<PropertyBag, Error> {
        let mut bag = PropertyBag::new();
        for (name, value) in headers {
            push_header(&mut bag, name, value.as_bytes())?;
        }
        Ok(bag)
    }

    #[test]
    fn headers_become_properties() {
        let bag = bag(&[
            ("iothub-to", "/devices/dev1/messages/events"),
            ("Authorization", "secret"),
            ("iothub-app-K1", "v+1%"),
            ("IoTHub-MessageId", "m1"),
            ("iothub-contenttype", "application/json; charset=utf-8"),
            ("iothub-interface-id", "urn:a:b:1"),
            ("dt-subject", "thermostat"),
            (
                "iothub-app-iothub-creation-time-utc",
                "2026-01-01T00:00:00Z",
            ),
        ])
        .unwrap();

        assert_eq!(bag.application(), [("K1".into(), "v+1%".into())]);
        for (property, value) in [
            (SystemProperty::MessageId, "m1"),
            (
                SystemProperty::ContentType,
                "application/json; charset=utf-8",
            ),
            (SystemProperty::InterfaceId, "urn:a:b:1"),
            (SystemProperty::Component, "thermostat"),
            (SystemProperty::CreationTime, "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(bag.system(property).as_deref(), Some(value));
        }
        assert_eq!(bag.system(SystemProperty::To), None);
    }

    #[test]
    fn characters_that_http_does_not_carry_are_refused() {
        for header in [
            ("iothub-app-k", "a b"),
            ("iothub-app-k", "a/b"),
            ("iothub-app-k", "é"),
            ("iothub-app-", "v"),
            ("iothub-messageid", "a b"),
            ("iothub-messageid", &"x".repeat(129)),
        ] {
            assert!(bag(&[header]).is_err(), "{header:?}");
        }
        assert!(push_header(&mut PropertyBag::new(), "iothub-app-k", b"\xff").is_err());
    }

    #[test]
    fn properties_of_a_batch_have_either_name() {
        let mut bag = PropertyBag::new();
        for (name, value) in [
            ("iothub-app-k", "v"),
            ("messageId", "m1"),
            ("iothub-correlationid", "c1"),
            ("plain", "p"),
        ] {
            push_batch_property(&mut bag, name, value).unwrap();
        }

        assert_eq!(
            bag.application(),
            [("k".into(), "v".into()), ("plain".into(), "p".into())]
        );
        assert_eq!(bag.system(SystemProperty::MessageId).unwrap(), "m1");
        assert_eq!(bag.system(SystemProperty::CorrelationId).unwrap(), "c1");
    }
}
