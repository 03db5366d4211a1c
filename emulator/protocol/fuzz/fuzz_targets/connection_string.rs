//! Connection strings: no panic, and what is accepted round-trips.
#![no_main]

use iothub_protocol::connection_string::{ConnectionString, EventHubConnectionString};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(parsed) = ConnectionString::parse(text) {
        let again = ConnectionString::parse(&parsed.to_string());
        assert_eq!(again.expect("a printed string parses"), parsed);
    }
    if let Ok(parsed) = EventHubConnectionString::parse(text) {
        let again = EventHubConnectionString::parse(&parsed.to_string());
        assert_eq!(again.expect("a printed string parses"), parsed);
    }
});
