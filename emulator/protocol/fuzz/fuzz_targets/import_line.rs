//! Lines of an import, and the bodies that create such jobs and file uploads: no panic.
#![no_main]

use iothub_protocol::DeviceId;
use iothub_protocol::registry::{BulkItem, ConfigurationLine, RegistryJobSpec};
use iothub_protocol::upload::{UploadEnd, parse_start};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = BulkItem::parse_line(data);
    let _ = ConfigurationLine::parse(data);
    let _ = RegistryJobSpec::parse(data);
    let _ = UploadEnd::parse(data, None);
    if let Ok(device) = DeviceId::parse("d1") {
        let _ = parse_start(data, &device);
    }
});
