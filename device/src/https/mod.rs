//! What devices and modules ask for over HTTPS (`spec/device.md` 8 and 9): telemetry,
//! cloud-to-device messages, file uploads.

mod client;
mod headers;
mod messages;
mod rest;
mod upload;

pub use client::{HttpDeviceClient, HttpModuleClient};
pub use messages::LockedMessage;
pub use upload::StorageInfo;

pub(crate) use rest::{Rest, RestAddress, RestSettings};
pub(crate) use upload::Source;
