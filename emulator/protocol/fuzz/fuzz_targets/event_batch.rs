//! Batches of telemetry, and headers of single messages: no panic, and no more than was sent.
#![no_main]

use iothub_protocol::http::{parse_batch, push_header};
use iothub_protocol::property_bag::PropertyBag;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(messages) = parse_batch(data) {
        let bodies: usize = messages.iter().map(|message| message.body.len()).sum();
        assert!(bodies <= data.len());
    }
    let (name, value) = data.split_at(data.len() / 2);
    if let Ok(name) = std::str::from_utf8(name) {
        let _ = push_header(&mut PropertyBag::new(), name, value);
    }
});
