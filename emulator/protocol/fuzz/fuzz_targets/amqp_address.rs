//! Addresses of nodes: no panic, and what is read round-trips.
#![no_main]

use iothub_protocol::amqp::address::Address;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let address = Address::parse(text);
    assert_eq!(Address::parse(&address.to_string()), address);
});
