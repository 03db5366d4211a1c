//! Patches of digital twins: no panic in parsing or in turning them into desired properties.
#![no_main]

use iothub_protocol::digital_twin::DigitalTwinPatch;
use iothub_protocol::twin::merge;
use libfuzzer_sys::fuzz_target;
use serde_json::Map;

fuzz_target!(|data: &[u8]| {
    let Ok(patch) = DigitalTwinPatch::parse(data) else {
        return;
    };
    let mut desired = Map::new();
    for _ in 0..2 {
        if let Ok(change) = patch.to_desired(&desired, &Map::new()) {
            merge(&mut desired, &change);
        }
    }
});
