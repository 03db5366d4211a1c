//! The url-encoded property bag: the grammar used inside topics (`spec/device.md` 4.3).
//!
//! A bag is kept as the encoded text and decoded when it is read, because most bags are stored and
//! never looked at. This module knows the grammar and the names of system properties; it does not
//! know where in a topic a bag stands (`mqtt::topic`) or what a property does.

mod system;

use std::borrow::Cow;
use std::fmt;
use std::str::Utf8Error;

use bytes::{Bytes, BytesMut};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

pub use system::{EventPlace, SystemProperty};

/// What is encoded: all but `A-Z a-z 0-9 - _ . ~` (`spec/device.md` 5.2).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Properties of a message, system and application, in the order they were sent.
///
/// Two bags are equal when their encoded texts are.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PropertyBag(Bytes);

impl PropertyBag {
    /// A bag without properties.
    pub const fn new() -> Self {
        Self(Bytes::from_static(b""))
    }

    /// Keeps `text` as the encoded bag; refuses what is not UTF-8. No other text is refused: invalid
    /// percent sequences stand for themselves (`spec/device.md` 4.3, Q15).
    ///
    /// The `?` and `/` that some clients put around a bag belong to the topic, and
    /// [`DeviceTopic`](crate::mqtt::topic::DeviceTopic) has removed them.
    pub fn from_encoded(text: impl Into<Bytes>) -> Result<Self, Utf8Error> {
        let text = text.into();
        std::str::from_utf8(&text)?;
        Ok(Self(text))
    }

    /// Adds an application property after all others, encoded as the hub encodes.
    pub fn push(&mut self, name: &str, value: &str) {
        let end = self.0.len();
        self.insert(end, name, value);
    }

    /// Adds a system property at its place: system properties come before application properties,
    /// in the order that clients rely on (`spec/device.md` 5.2, T17).
    pub fn push_system(&mut self, property: SystemProperty, value: &str) {
        let place = self
            .pairs()
            .find(|(_, pair)| {
                system_property(split(pair).0).is_none_or(|other| other.rank() > property.rank())
            })
            .map_or(self.0.len(), |(offset, _)| offset);
        self.insert(place, property.wire_name(), value);
    }

    /// The text as it stands in a topic.
    pub fn as_encoded(&self) -> &str {
        std::str::from_utf8(&self.0).expect("both constructors leave UTF-8")
    }

    /// The length of the encoded text, which is never less than [`size`](Self::size).
    pub fn encoded_len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every name with its value, decoded, in order, duplicates included. A name without `=` has
    /// the empty value.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.pairs().map(|(_, pair)| {
            let (name, value) = split(pair);
            (decode(name), decode(value))
        })
    }

    /// The value of a system property; the last one when there are several (`spec/device.md` Q14).
    pub fn system(&self, property: SystemProperty) -> Option<Cow<'_, str>> {
        self.pairs()
            .map(|(_, pair)| split(pair))
            .filter(|(name, _)| system_property(name) == Some(property))
            .last()
            .map(|(_, value)| decode(value))
    }

    /// The value of an application property; the last one when there are several.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        if SystemProperty::from_wire(name).is_some() {
            return None;
        }
        self.pairs()
            .map(|(_, pair)| split(pair))
            .filter(|(other, _)| decode(other) == name)
            .last()
            .map(|(_, value)| decode(value))
    }

    /// The application properties in order of first appearance, each with its last value. A name
    /// that begins with `$.` and is no system property is one of them, under its full name
    /// (`spec/device.md` 4.3).
    pub fn application(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        let mut found: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for (name, value) in self.iter() {
            if SystemProperty::from_wire(&name).is_some() {
                continue;
            }
            match places.entry(name.clone()) {
                std::collections::hash_map::Entry::Occupied(place) => {
                    let place: &usize = place.get();
                    found[*place].1 = value;
                }
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(found.len());
                    found.push((name, value));
                }
            }
        }
        found
    }

    /// The part of the message size that the properties are: values of system properties, names
    /// and values of application properties, decoded, duplicates included (`spec/device.md` 4.4).
    pub fn size(&self) -> usize {
        self.pairs()
            .map(|(_, pair)| {
                let (name, value) = split(pair);
                let name_size = if system_property(name).is_some() {
                    0
                } else {
                    decode(name).len()
                };
                name_size + decode(value).len()
            })
            .sum()
    }

    /// Encoded pairs with their offsets; empty pairs (`a=1&&b=2`) are none.
    fn pairs(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut next = 0;
        self.as_encoded().split('&').filter_map(move |pair| {
            let offset = next;
            next += pair.len() + 1;
            (!pair.is_empty()).then_some((offset, pair))
        })
    }

    /// Writes `name=value` before the pair at `offset`, or at the end.
    fn insert(&mut self, offset: usize, name: &str, value: &str) {
        // The buffer is reused when no clone of the bag shares it.
        let mut text = std::mem::take(&mut self.0)
            .try_into_mut()
            .unwrap_or_else(BytesMut::from);
        // Splitting would end that, so it is done only where something follows: many properties are
        // added one after the other in time that grows with their number, not its square.
        let tail = match offset < text.len() {
            true => text.split_off(offset),
            false => BytesMut::new(),
        };
        if text.last().is_some_and(|last| *last != b'&') {
            text.extend_from_slice(b"&");
        }
        for piece in utf8_percent_encode(name, ENCODED) {
            text.extend_from_slice(piece.as_bytes());
        }
        text.extend_from_slice(b"=");
        for piece in utf8_percent_encode(value, ENCODED) {
            text.extend_from_slice(piece.as_bytes());
        }
        if !tail.is_empty() {
            text.extend_from_slice(b"&");
            text.extend_from_slice(&tail);
        }
        self.0 = text.freeze();
    }
}

impl fmt::Debug for PropertyBag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PropertyBag({:?})", self.as_encoded())
    }
}

impl fmt::Display for PropertyBag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_encoded())
    }
}

/// Application properties, in order.
impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for PropertyBag {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        let mut bag = Self::new();
        for (name, value) in pairs {
            bag.push(name.as_ref(), value.as_ref());
        }
        bag
    }
}

/// The system property with this encoded name.
fn system_property(name: &str) -> Option<SystemProperty> {
    // Only an encoded or a plain `$` can begin the name of one; nearly every other name is settled
    // by this comparison.
    if name.starts_with(['$', '%']) {
        SystemProperty::from_wire(&decode(name))
    } else {
        None
    }
}

fn split(pair: &str) -> (&str, &str) {
    pair.split_once('=').unwrap_or((pair, ""))
}

/// Decodes percent sequences; text that does not decode to UTF-8 stands for itself. `+` is a plus:
/// no SDK sends it for a space (`spec/device.md` 4.3).
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    percent_decode_str(text)
        .decode_utf8()
        .unwrap_or(Cow::Borrowed(text))
}

/// Encodes everything but unreserved characters, with upper-case digits.
pub(crate) fn encode(text: &str) -> percent_encoding::PercentEncode<'_> {
    utf8_percent_encode(text, ENCODED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bag(text: &str) -> PropertyBag {
        PropertyBag::from_encoded(text.to_owned()).unwrap()
    }

    fn application(bag: &PropertyBag) -> Vec<(String, String)> {
        bag.application()
            .into_iter()
            .map(|(n, v)| (n.into_owned(), v.into_owned()))
            .collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn the_bag_of_the_python_sdk_is_read() {
        let bag =
            bag("%24.mid=m1&%24.cid=c1&%24.ct=application%2Fjson&%24.ce=utf-8&a%20b=c%2Bd%2Fe");

        assert_eq!(bag.system(SystemProperty::MessageId).unwrap(), "m1");
        assert_eq!(bag.system(SystemProperty::CorrelationId).unwrap(), "c1");
        assert_eq!(
            bag.system(SystemProperty::ContentType).unwrap(),
            "application/json"
        );
        assert_eq!(
            bag.system(SystemProperty::ContentEncoding).unwrap(),
            "utf-8"
        );
        assert_eq!(bag.system(SystemProperty::UserId), None);
        assert_eq!(application(&bag), pairs(&[("a b", "c+d/e")]));
    }

    #[test]
    fn names_are_decoded_before_the_prefix_is_looked_for() {
        // Java sends `$.mid` raw, C puts application properties first (`spec/device.md` T8, T10).
        let bag = bag("level=high&$.mid=j1&%24%2Ect=text%2Fplain");

        assert_eq!(bag.system(SystemProperty::MessageId).unwrap(), "j1");
        assert_eq!(
            bag.system(SystemProperty::ContentType).unwrap(),
            "text/plain"
        );
        assert_eq!(application(&bag), pairs(&[("level", "high")]));
    }

    #[test]
    fn values_of_the_c_sdk_may_hold_slashes_and_spaces() {
        assert_eq!(
            application(&bag("path=/a b/c")),
            pairs(&[("path", "/a b/c")])
        );
    }

    #[test]
    fn plus_is_a_plus_and_only_the_first_equals_sign_separates() {
        assert_eq!(application(&bag("a+b=c=d+e")), pairs(&[("a+b", "c=d+e")]));
    }

    #[test]
    fn invalid_percent_sequences_stand_for_themselves() {
        let bag = bag("a=%&b=%4&c=%zz%41&d=%FF%41");

        assert_eq!(
            application(&bag),
            pairs(&[("a", "%"), ("b", "%4"), ("c", "%zzA"), ("d", "%FF%41")])
        );
    }

    #[test]
    fn a_name_without_equals_sign_has_the_empty_value_and_empty_pairs_are_none() {
        assert_eq!(
            application(&bag("&a&&b=&=c&")),
            pairs(&[("a", ""), ("b", ""), ("", "c")])
        );
        assert!(bag("").application().is_empty());
    }

    #[test]
    fn the_last_duplicate_wins() {
        let bag = bag("a=1&$.mid=x&b=2&%61=3&%24.mid=y");

        assert_eq!(application(&bag), pairs(&[("a", "3"), ("b", "2")]));
        assert_eq!(bag.get("a").unwrap(), "3");
        assert_eq!(bag.system(SystemProperty::MessageId).unwrap(), "y");
    }

    #[test]
    fn unknown_dollar_names_are_application_properties() {
        assert_eq!(application(&bag("%24.new=1")), pairs(&[("$.new", "1")]));
        assert_eq!(bag("%24.mid=1").get("$.mid"), None);
    }

    #[test]
    fn what_is_not_utf8_is_refused() {
        assert!(PropertyBag::from_encoded(Bytes::from_static(b"a=\xff")).is_err());
    }

    #[test]
    fn pushed_text_is_encoded_as_the_hub_encodes() {
        let mut bag = PropertyBag::new();
        bag.push("a b", "c+d/e");
        bag.push("$x", "~-_.!é&=");
        bag.push("empty", "");

        assert_eq!(
            bag.as_encoded(),
            "a%20b=c%2Bd%2Fe&%24x=~-_.%21%C3%A9%26%3D&empty="
        );
    }

    #[test]
    fn system_properties_stand_first_in_the_order_of_the_service() {
        // `spec/device.md` 5.2, first real sample.
        let mut bag = PropertyBag::new();
        bag.push("key1", "value1");
        bag.push_system(SystemProperty::To, "/devices/dev1/messages/devicebound");
        bag.push_system(SystemProperty::MessageId, "7d2");
        bag.push("key2", "value2");

        assert_eq!(
            bag.as_encoded(),
            "%24.mid=7d2&%24.to=%2Fdevices%2Fdev1%2Fmessages%2Fdevicebound&key1=value1&key2=value2"
        );

        // And the second.
        let mut bag = PropertyBag::new();
        bag.push_system(SystemProperty::ContentEncoding, "utf-8");
        bag.push("bbb", "bbbb");
        bag.push_system(SystemProperty::ContentType, "text/plain; charset=UTF-8");
        bag.push_system(SystemProperty::To, "/devices/dev1/messages/deviceBound");

        assert_eq!(
            bag.as_encoded(),
            "%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound\
             &%24.ct=text%2Fplain%3B%20charset%3DUTF-8&%24.ce=utf-8&bbb=bbbb"
        );
    }

    #[test]
    fn pushing_to_a_clone_leaves_the_original_alone() {
        let original = bag("a=1");
        let mut copy = original.clone();
        copy.push("b", "2");

        assert_eq!(original.as_encoded(), "a=1");
        assert_eq!(copy.as_encoded(), "a=1&b=2");
    }

    #[test]
    fn pushing_after_a_dangling_separator_adds_no_second_one() {
        let mut bag = bag("a=1&");
        bag.push("b", "2");

        assert_eq!(bag.as_encoded(), "a=1&b=2");
    }
}
