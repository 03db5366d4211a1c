//! A message's properties as headers (`spec/device.md` 9.1 to 9.3, `spec/service.md` 8).

use std::borrow::Cow;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use iothub_protocol::http::IOTHUB_APP_PREFIX;
use iothub_protocol::property_bag::{PropertyBag, SystemProperty};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// The wish for feedback, which is an application property everywhere else.
const ACK: &str = "iothub-ack";

/// System properties with their headers.
const SYSTEM: [(&str, SystemProperty); 7] = [
    ("iothub-messageid", SystemProperty::MessageId),
    ("iothub-correlationid", SystemProperty::CorrelationId),
    ("iothub-userid", SystemProperty::UserId),
    ("iothub-to", SystemProperty::To),
    ("iothub-expiry", SystemProperty::Expiry),
    ("iothub-contenttype", SystemProperty::ContentType),
    ("iothub-contentencoding", SystemProperty::ContentEncoding),
];

/// The names under which the C SDK and the CLI look for the two (`spec/device.md` 9.3).
const ALSO: [(&str, SystemProperty); 2] = [
    ("contenttype", SystemProperty::ContentType),
    ("contentencoding", SystemProperty::ContentEncoding),
];

/// What a header's value cannot hold, and the sign of the encoding itself.
const NOT_IN_VALUES: &AsciiSet = &CONTROLS.add(b'%');
/// What a header's name cannot hold, and the sign of the encoding itself.
const NOT_IN_NAMES: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'(')
    .add(b')')
    .add(b',')
    .add(b'/')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'{')
    .add(b'}')
    .add(b'%');

/// The properties that a request's headers are. Values are raw (`spec/device.md` 9.2); names of
/// application properties are in lower case, as headers are.
pub(super) fn properties(headers: &HeaderMap) -> PropertyBag {
    let mut bag = PropertyBag::new();
    for (name, property) in SYSTEM {
        if let Some(value) = headers.get(name) {
            bag.push_system(property, &text(value));
        }
    }
    if let Some(value) = headers.get(ACK) {
        bag.push(ACK, &text(value));
    }
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix(IOTHUB_APP_PREFIX)
            && !name.is_empty()
        {
            bag.push(name, &text(value));
        }
    }
    bag
}

/// Writes properties as headers. What no header can hold is percent-encoded; the real hub takes no
/// such properties from those who send over this protocol, and what it does with those of others is
/// not known.
pub(super) fn write(bag: &PropertyBag, headers: &mut HeaderMap) {
    for (name, property) in SYSTEM.into_iter().chain(ALSO) {
        if let Some(value) = bag.system(property) {
            headers.insert(HeaderName::from_static(name), header_value(&value));
        }
    }
    for (name, value) in bag.application() {
        let name = match &*name {
            ACK => Ok(HeaderName::from_static(ACK)),
            name => header_name(name),
        };
        if let Ok(name) = name {
            headers.insert(name, header_value(&value));
        }
    }
}

/// A value that is ours, or that has been percent-encoded where it needs to be.
pub(super) fn header_value(value: &str) -> HeaderValue {
    let plain = HeaderValue::from_bytes(value.as_bytes());
    plain.unwrap_or_else(|_| {
        let encoded = utf8_percent_encode(value, NOT_IN_VALUES).to_string();
        HeaderValue::try_from(encoded).unwrap_or(HeaderValue::from_static(""))
    })
}

fn header_name(name: &str) -> Result<HeaderName, http::header::InvalidHeaderName> {
    let prefixed = format!("{IOTHUB_APP_PREFIX}{name}");
    HeaderName::try_from(&prefixed).or_else(|_| {
        let encoded = utf8_percent_encode(name, NOT_IN_NAMES);
        HeaderName::try_from(format!("{IOTHUB_APP_PREFIX}{encoded}"))
    })
}

/// What is not UTF-8 is Latin-1, which the grammar of headers was made for.
fn text(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => value.as_bytes().iter().map(|&b| char::from(b)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::try_from(*name).unwrap();
                (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
            })
            .collect()
    }

    #[test]
    fn headers_are_read_whatever_their_case() {
        let headers = headers(&[
            ("IoTHub-MessageId", "m1"),
            ("iothub-contenttype", "application/json"),
            ("Content-Type", "text/plain"),
            ("iothub-app-k1", "v+ 1/%"),
            ("iothub-app-", "nobody's"),
            ("IoTHub-Ack", "full"),
        ]);

        let bag = properties(&headers);

        assert_eq!(
            bag.as_encoded(),
            "%24.mid=m1&%24.ct=application%2Fjson&iothub-ack=full&k1=v%2B%201%2F%25"
        );
    }

    #[test]
    fn properties_become_headers() {
        let bag = PropertyBag::from_encoded("$.mid=m&$.ce=utf-8&iothub-ack=full&k=%C3%A4+b&e=");
        let mut headers = HeaderMap::new();

        write(&bag.unwrap(), &mut headers);

        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", text(value)))
            .collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "contentencoding: utf-8",
                "iothub-ack: full",
                "iothub-app-e: ",
                "iothub-app-k: ä+b",
                "iothub-contentencoding: utf-8",
                "iothub-messageid: m",
            ]
        );
    }

    #[test]
    fn what_no_header_can_hold_is_encoded() {
        let mut bag = PropertyBag::new();
        bag.push("a b", "line\nfeed %");
        let mut headers = HeaderMap::new();

        write(&bag, &mut headers);

        assert_eq!(headers["iothub-app-a%20b"], "line%0Afeed %25");
    }

    proptest! {
        #[test]
        fn any_property_can_be_written(name in ".{0,8}", value in ".{0,8}") {
            let mut bag = PropertyBag::new();
            bag.push(&name, &value);
            bag.push_system(SystemProperty::MessageId, &value);
            let mut headers = HeaderMap::new();
            write(&bag, &mut headers);
            let _ = properties(&headers);
        }

        #[test]
        fn any_header_can_be_read(value in proptest::collection::vec(32_u8..127, 0..20),
                                  high in proptest::collection::vec(128_u8..=255, 0..9)) {
            let value = HeaderValue::from_bytes(&[value, high].concat()).unwrap();
            let headers = HeaderMap::from_iter([(HeaderName::from_static("iothub-app-x"), value)]);
            prop_assert_eq!(properties(&headers).application().len(), 1);
        }
    }
}
