//! User names: no panic, and what is accepted round-trips.
#![no_main]

use iothub_protocol::mqtt::username::UserName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(name) = UserName::parse(text) {
        assert_eq!(UserName::parse(&name.to_string()), Ok(name));
    }
});
