//! A message's properties as its device sees them (`spec/device.md` 5.2).

use iothub_protocol::feedback::AckRequest;
use iothub_protocol::property_bag::{PropertyBag, SystemProperty};
use iothub_protocol::{ClientId, Error, ErrorCode, Timestamp};

use crate::limits::Limits;

/// The wish for feedback; the plain name that travels to devices (`spec/device.md` 5.2).
pub(super) const ACK: &str = "iothub-ack";

/// Puts what a sender gave in the order that devices rely on, adds the address, and works out
/// when the message expires.
///
/// Refuses with `InvalidMessageExpiryTime` an expiry that is past or too far away, and with
/// `ArgumentInvalid` one that is no time and a wish for feedback that there is not.
pub(super) fn arrange(
    given: &PropertyBag,
    client: &ClientId,
    now: Timestamp,
    limits: &Limits,
) -> Result<(PropertyBag, Timestamp), Error> {
    let expiry = expiry(given, now, limits)?;
    let wish = wish(given)?;
    let address = || {
        let module = client.module.as_ref();
        let module = module.map_or(String::new(), |module| format!("/modules/{module}"));
        format!("/devices/{}{module}/messages/deviceBound", client.device)
    };

    // Only what a user can set travels (`spec/device.md` 5.2); Java loses what stands before the
    // system properties (T17), C# needs a bag that is not empty (T15).
    let mut bag = PropertyBag::new();
    let mut put = |property: SystemProperty, value: Option<String>| {
        if let Some(value) = value {
            bag.push(property.wire_name(), &value);
        }
    };
    let text = |property| {
        given
            .system(property)
            .filter(|value| !value.is_empty())
            .map(|value| value.into_owned())
    };
    put(SystemProperty::MessageId, text(SystemProperty::MessageId));
    put(SystemProperty::Expiry, expiry.map(Timestamp::to_iso));
    let to = text(SystemProperty::To).unwrap_or_else(address);
    put(SystemProperty::To, Some(to));
    let correlation = SystemProperty::CorrelationId;
    put(correlation, text(correlation));
    put(SystemProperty::UserId, text(SystemProperty::UserId));
    if wish != AckRequest::None {
        bag.push(ACK, wish.name());
    }
    for property in [SystemProperty::ContentType, SystemProperty::ContentEncoding] {
        if let Some(value) = text(property) {
            bag.push(property.wire_name(), &value);
        }
    }
    for (name, value) in given.application() {
        if !is_wish(&name, &value) {
            bag.push(&name, &value);
        }
    }
    Ok((bag, expiry.unwrap_or(now + limits.c2d_ttl)))
}

/// The wish for feedback of properties that have been arranged.
pub(super) fn arranged_wish(arranged: &PropertyBag) -> AckRequest {
    let name = arranged.get(ACK);
    name.and_then(|name| AckRequest::from_name(&name))
        .unwrap_or_default()
}

/// The expiry that a sender gave; .NET's `DateTime.MinValue` stands for none.
fn expiry(
    given: &PropertyBag,
    now: Timestamp,
    limits: &Limits,
) -> Result<Option<Timestamp>, Error> {
    let text = given.system(SystemProperty::Expiry);
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let expires = Timestamp::parse_iso(&text).ok_or_else(|| {
        Error::argument_invalid(format!("the expiry {text} is no time of ISO 8601"))
    })?;
    if expires == Timestamp::NEVER {
        return Ok(None);
    }
    let invalid = |detail: String| Error::new(ErrorCode::InvalidMessageExpiryTime, detail);
    if expires <= now {
        return Err(invalid(format!("the expiry {text} is past")));
    }
    if expires > now + limits.c2d_ttl_ceiling {
        let hours = limits.c2d_ttl_ceiling.as_secs() / 3600;
        return Err(invalid(format!(
            "the expiry {text} is more than {hours} hours away"
        )));
    }
    Ok(Some(expires))
}

fn wish(given: &PropertyBag) -> Result<AckRequest, Error> {
    if let Some(name) = given.get(ACK).filter(|name| !name.is_empty()) {
        return AckRequest::from_name(&name).ok_or_else(|| {
            Error::argument_invalid(format!(
                "{ACK} is {name}, expected none, positive, negative or full"
            ))
        });
    }
    let other = given
        .application()
        .into_iter()
        .find(|(name, value)| is_wish(name, value));
    Ok(other
        .and_then(|(_, value)| AckRequest::from_name(&value))
        .unwrap_or_default())
}

/// Whether an application property is the wish for feedback: under its own name, or under the
/// short one that some tools use, where the value leaves no doubt.
fn is_wish(name: &str, value: &str) -> bool {
    match name {
        ACK => true,
        "ack" | "$.ack" => AckRequest::from_name(value).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);

    fn arranged(given: &str, client: &str) -> Result<(String, Timestamp), ErrorCode> {
        let given = PropertyBag::from_encoded(given.to_owned()).unwrap();
        let client = ClientId::parse(client).unwrap();
        arrange(&given, &client, NOW, &Limits::default())
            .map(|(bag, expires)| (bag.as_encoded().to_owned(), expires))
            .map_err(|error| error.code)
    }

    #[test]
    fn system_properties_come_first_and_in_order() {
        let given = "key1=value1&$.ce=utf-8&iothub-ack=Full&$.ct=text%2Fplain&$.uid=u&$.cid=c\
                     &$.to=%2Fx&$.mid=m&key2=&$.cdid=forged";

        let (bag, expires) = arranged(given, "dev1").unwrap();

        assert_eq!(
            bag,
            "%24.mid=m&%24.to=%2Fx&%24.cid=c&%24.uid=u&iothub-ack=full&%24.ct=text%2Fplain\
             &%24.ce=utf-8&key1=value1&key2="
        );
        assert_eq!(expires, NOW + Duration::from_secs(3600));
    }

    #[test]
    fn the_address_is_always_there() {
        assert_eq!(
            arranged("", "dev1").unwrap().0,
            "%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound"
        );
        assert_eq!(
            arranged("iothub-ack=none", "dev1/mod1").unwrap().0,
            "%24.to=%2Fdevices%2Fdev1%2Fmodules%2Fmod1%2Fmessages%2FdeviceBound"
        );
    }

    #[test]
    fn the_wish_for_feedback_has_other_spellings() {
        for (given, wish) in [
            ("iothub-ack=positive", AckRequest::Positive),
            ("ack=negative", AckRequest::Negative),
            ("$.ack=full", AckRequest::Full),
            ("ack=yes", AckRequest::None),
            ("iothub-ack=none&ack=full", AckRequest::None),
            ("iothub-ack=", AckRequest::None),
        ] {
            let (bag, _) = arranged(given, "d1").unwrap();
            let bag = PropertyBag::from_encoded(bag).unwrap();
            assert_eq!(arranged_wish(&bag), wish, "{given}");
        }
        assert!(arranged("ack=yes", "d1").unwrap().0.ends_with("&ack=yes"));
        assert_eq!(
            arranged("iothub-ack=maybe", "d1"),
            Err(ErrorCode::ArgumentInvalid)
        );
    }

    #[test]
    fn an_expiry_is_ahead_by_two_days_at_most() {
        let (bag, expires) = arranged("$.exp=2026-01-03T02:00:00%2B02:00", "d1").unwrap();
        assert_eq!(expires, NOW + Duration::from_secs(48 * 3600));
        assert!(bag.starts_with("%24.exp=2026-01-03T00%3A00%3A00.0000000Z&%24.to="));

        for given in ["2026-01-01T00:00:00Z", "2026-01-03T00:00:00.0000001Z"] {
            let code = arranged(&format!("$.exp={given}"), "d1").unwrap_err();
            assert_eq!(code, ErrorCode::InvalidMessageExpiryTime, "{given}");
        }
        assert_eq!(
            arranged("$.exp=tomorrow", "d1"),
            Err(ErrorCode::ArgumentInvalid)
        );
        let (bag, expires) = arranged("$.exp=0001-01-01T00:00:00Z", "d1").unwrap();
        assert_eq!(expires, NOW + Duration::from_secs(3600));
        assert!(bag.starts_with("%24.to="));
    }

    proptest! {
        #[test]
        fn arranging_again_changes_nothing(given in "([a-c$.]{0,4}=[a-z%/+ ]{0,4}&){0,4}") {
            if let Ok((bag, _)) = arranged(&given, "d1") {
                prop_assert_eq!(arranged(&bag, "d1").unwrap().0, bag);
            }
        }
    }
}
