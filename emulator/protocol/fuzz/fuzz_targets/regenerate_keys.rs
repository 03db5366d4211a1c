//! Bodies that ask for new keys: no panic.
#![no_main]

use iothub_protocol::registry::RegenerateRequest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = RegenerateRequest::parse(data);
});
