//! SAS tokens: no panic, whatever is asked of what was accepted.
#![no_main]

use iothub_protocol::sas::SasToken;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(token) = SasToken::parse(text) {
        let _ = (
            token.resource(),
            token.sr_text(),
            token.expiry(),
            token.policy(),
        );
        assert!(!token.host().contains('/'));
        let _ = token.covers("localhost/devices/d1");
    }
});
