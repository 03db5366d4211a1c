//! Property bags: no panic, sizes hold, and encoding again says the same.
#![no_main]

use iothub_protocol::property_bag::{PropertyBag, SystemProperty};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let bag = PropertyBag::from_encoded(text.to_owned()).expect("a str is UTF-8");
    assert!(bag.size() <= bag.encoded_len());

    let again: PropertyBag = bag.iter().collect();
    assert!(bag.iter().eq(again.iter()));
    assert_eq!(bag.application(), again.application());
    for property in SystemProperty::ALL {
        assert_eq!(bag.system(*property), again.system(*property));
    }
});
