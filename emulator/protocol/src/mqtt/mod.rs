//! MQTT 3.1.1 as IoT Hub speaks it: packets, the strict codec, and the hub's topics.
//!
//! [`codec`] turns bytes into [`packet`]s and back and knows nothing of IoT Hub; [`topic`] and
//! [`username`] give the texts inside packets their meaning and know nothing of packets.

pub mod codec;
pub mod packet;
pub mod topic;
pub mod username;
