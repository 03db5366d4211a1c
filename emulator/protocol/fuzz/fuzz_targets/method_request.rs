//! Bodies that invoke methods: no panic.
#![no_main]

use iothub_protocol::method::MethodRequest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = MethodRequest::parse(data);
});
