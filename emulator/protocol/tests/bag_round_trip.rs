//! What is pushed into a property bag is read back, and any text is a bag.

use iothub_protocol::property_bag::{PropertyBag, SystemProperty};
use proptest::collection::vec;
use proptest::prelude::*;

/// Text that is likely to look like a bag.
fn bag_text() -> impl Strategy<Value = String> {
    vec(
        prop_oneof![
            Just("%24."),
            Just("mid"),
            Just("="),
            Just("&"),
            Just("%"),
            Just("$.ct"),
            Just("%2"),
            Just("%C3%A9"),
            Just("%FF"),
            Just("é"),
            Just("/"),
            Just("?"),
            Just("a")
        ],
        0..30,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn application_properties_round_trip(
        pairs in vec(("[^$]\\PC{0,10}", any::<String>()), 0..8),
    ) {
        let bag: PropertyBag = pairs.iter().cloned().collect();

        let read: Vec<(String, String)> =
            bag.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        prop_assert_eq!(&read, &pairs);
        for (name, _) in &pairs {
            let last = pairs.iter().rfind(|(other, _)| other == name).unwrap();
            prop_assert_eq!(bag.get(name).unwrap(), last.1.as_str());
        }
    }

    #[test]
    fn system_properties_come_first_in_one_order_whatever_the_order_of_pushes(
        // The seven that travel to a device.
        properties in Just(SystemProperty::ALL[..7].to_vec()).prop_shuffle(),
        split in 0..7usize,
    ) {
        let mut bag = PropertyBag::new();
        properties[..split].iter().for_each(|property| bag.push_system(*property, "v"));
        bag.push("a", "1");
        properties[split..].iter().for_each(|property| bag.push_system(*property, "v"));

        // `spec/device.md` 5.2.
        prop_assert_eq!(
            bag.as_encoded(),
            "%24.mid=v&%24.exp=v&%24.to=v&%24.cid=v&%24.uid=v&%24.ct=v&%24.ce=v&a=1"
        );
    }

    #[test]
    fn encoded_text_has_unreserved_characters_alone(name: String, value: String) {
        let mut bag = PropertyBag::new();
        bag.push(&name, &value);

        let (name, value) = bag.as_encoded().split_once('=').unwrap();
        for part in [name, value] {
            prop_assert!(
                part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~%".contains(&b)),
                "{}", part
            );
        }
    }

    #[test]
    fn any_text_is_a_bag(text in prop_oneof![bag_text(), any::<String>()]) {
        let bag = PropertyBag::from_encoded(text.clone()).unwrap();

        prop_assert_eq!(bag.as_encoded(), text);
        prop_assert!(bag.size() <= bag.encoded_len());
        let application = bag.application();
        for (index, (name, value)) in application.iter().enumerate() {
            prop_assert_eq!(bag.get(name).unwrap(), value.as_ref());
            prop_assert!(application[..index].iter().all(|(other, _)| other != name));
        }
    }

    #[test]
    fn pushing_keeps_what_any_text_says(text in bag_text(), value: String) {
        let before = PropertyBag::from_encoded(text).unwrap();
        let mut bag = before.clone();
        bag.push("pushed", &value);
        bag.push_system(SystemProperty::CreationTime, "now");

        prop_assert_eq!(bag.get("pushed").unwrap(), value.as_str());
        for (name, value) in before.application() {
            prop_assert_eq!(bag.get(&name), Some(value));
        }
        for property in SystemProperty::ALL.iter().filter(|p| **p != SystemProperty::CreationTime) {
            prop_assert_eq!(bag.system(*property), before.system(*property));
        }
    }
}
