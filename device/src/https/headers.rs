//! A message's properties as headers (`spec/device.md` 9.2, 9.3), and as members of a batch.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use iothub_protocol::http::IOTHUB_APP_PREFIX;
use iothub_protocol::property_bag::{PropertyBag, SystemProperty};
use serde_json::{Map, Value};

use crate::{Error, ErrorKind};

/// The wish for feedback, which is an application property everywhere else.
const ACK: &str = "iothub-ack";

/// System properties with their headers.
const SYSTEM: [(SystemProperty, &str); 11] = [
    (SystemProperty::MessageId, "iothub-messageid"),
    (SystemProperty::CorrelationId, "iothub-correlationid"),
    (SystemProperty::UserId, "iothub-userid"),
    (SystemProperty::To, "iothub-to"),
    (SystemProperty::Expiry, "iothub-expiry"),
    (SystemProperty::ContentType, "iothub-contenttype"),
    (SystemProperty::ContentEncoding, "iothub-contentencoding"),
    (SystemProperty::InterfaceId, "iothub-interface-id"),
    (SystemProperty::Component, "dt-subject"),
    (
        SystemProperty::CreationTime,
        "iothub-app-iothub-creation-time-utc",
    ),
    (
        SystemProperty::MessageSchema,
        "iothub-app-iothub-message-schema",
    ),
];

/// The headers of a message. Names of application properties lose their case, as all headers do.
///
/// Refused: what no header can carry, and the system properties that HTTPS has no header for.
pub(super) fn of_bag(bag: &PropertyBag) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in named(bag)? {
        let unfit = |what: &str| configuration(format!("no header can carry the {what} {name:?}"));
        let header = HeaderName::try_from(&name).map_err(|_| unfit("property name"))?;
        let value =
            HeaderValue::from_bytes(value.as_bytes()).map_err(|_| unfit("value of property"))?;
        headers.insert(header, value);
    }
    Ok(headers)
}

/// The properties of one message of a batch, under the same names.
pub(super) fn to_members(bag: &PropertyBag) -> Result<Map<String, Value>, Error> {
    let named = named(bag)?;
    Ok(named
        .into_iter()
        .map(|(name, value)| (name, Value::String(value)))
        .collect())
}

/// The properties that headers are.
pub(super) fn to_bag(headers: &HeaderMap) -> PropertyBag {
    let mut bag = PropertyBag::new();
    for (property, name) in SYSTEM {
        if let Some(value) = headers.get(name) {
            bag.push_system(property, &text(value));
        }
    }
    if let Some(value) = headers.get(ACK) {
        bag.push(ACK, &text(value));
    }
    for (name, value) in headers {
        let is_system = SYSTEM.iter().any(|(_, system)| *system == name.as_str());
        if let Some(name) = name.as_str().strip_prefix(IOTHUB_APP_PREFIX)
            && !is_system
        {
            bag.push(name, &text(value));
        }
    }
    bag
}

/// Each property with its name over HTTPS.
fn named(bag: &PropertyBag) -> Result<Vec<(String, String)>, Error> {
    let mut named = Vec::new();
    for property in SystemProperty::ALL {
        let Some(value) = bag.system(*property) else {
            continue;
        };
        let known = SYSTEM.iter().find(|(known, _)| known == property);
        let (_, name) = known
            .ok_or_else(|| configuration(format!("{property:?} cannot be sent over HTTPS")))?;
        named.push(((*name).to_owned(), value.into_owned()));
    }
    for (name, value) in bag.application() {
        let name = match &*name {
            ACK => ACK.to_owned(),
            name => format!("{IOTHUB_APP_PREFIX}{name}"),
        };
        named.push((name, value.into_owned()));
    }
    Ok(named)
}

fn configuration(what: String) -> Error {
    Error::new(ErrorKind::Configuration(what))
}

/// What is not UTF-8 is Latin-1, which the grammar of headers was made for.
fn text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().map(|&b| char::from(b)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_survive_the_headers() {
        let mut bag = PropertyBag::new();
        for (property, _) in SYSTEM {
            bag.push_system(property, &format!("{property:?} + 1/%"));
        }
        bag.push("iothub-ack", "full");
        bag.push("k1", "v+ 1/% é");

        let headers = of_bag(&bag).unwrap();

        assert_eq!(headers["iothub-messageid"], "MessageId + 1/%");
        assert_eq!(headers["iothub-app-k1"].as_bytes(), "v+ 1/% é".as_bytes());
        assert_eq!(headers["iothub-ack"], "full");
        assert_eq!(to_bag(&headers).as_encoded(), bag.as_encoded());
    }

    #[test]
    fn what_headers_cannot_carry_is_refused() {
        let refused = |name: &str, value: &str| {
            let mut bag = PropertyBag::new();
            bag.push(name, value);
            of_bag(&bag).unwrap_err().to_string()
        };

        assert!(refused("a b", "v").contains("property name"));
        assert!(refused("k", "a\nb").contains("value of property"));
        let mut output = PropertyBag::new();
        output.push_system(SystemProperty::OutputName, "o");
        assert!(of_bag(&output).is_err());
    }
}
