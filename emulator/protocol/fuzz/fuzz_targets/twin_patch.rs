//! Twin patches: no panic in parsing, checking, measuring or merging.
#![no_main]

use iothub_protocol::Timestamp;
use iothub_protocol::twin::{Section, SectionKind, TwinPatch, size, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(patch) = TwinPatch::parse(data) else {
        return;
    };
    for (kind, section) in [
        (SectionKind::Tags, patch.tags),
        (SectionKind::Desired, patch.desired),
    ] {
        let Some(Some(value)) = section else { continue };
        if validate(kind, &value).is_ok() {
            let mut section = Section::new(Timestamp::NEVER);
            section.patch(&value, Timestamp::UNIX_EPOCH);
            assert!(size(&section.value) <= size(&value));
            let _ = (section.to_service_json(kind), section.to_device_json());
        }
    }
});
