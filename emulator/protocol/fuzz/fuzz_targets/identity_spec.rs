//! Bodies that create or update identities: no panic.
#![no_main]

use iothub_protocol::registry::IdentitySpec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = IdentitySpec::parse(data);
});
