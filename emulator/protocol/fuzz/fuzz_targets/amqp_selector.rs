//! Selectors of event positions: no panic, and what is accepted round-trips.
#![no_main]

use iothub_protocol::amqp::selector::EventPosition;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(position) = EventPosition::parse(text) {
        let selector = position.to_selector();
        // A time is kept in finer steps than milliseconds, so that the largest are cut off.
        let again = EventPosition::parse(&selector).expect("what is written is read");
        assert_eq!(again.to_selector(), selector);
    }
});
