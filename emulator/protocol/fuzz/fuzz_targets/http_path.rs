//! Paths of the REST surface: no panic.
#![no_main]

use iothub_protocol::http::path_segments;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = path_segments(text);
});
