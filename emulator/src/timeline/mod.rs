//! What happened, in one order: connections, methods, twins, messages, refusals, and, while somebody
//! looks, every operation and every byte on the wire.
//!
//! [`Timeline`] keeps the newest of it in bounded lanes; a [`Reader`] follows at its own pace and is
//! told how much it missed. What an entry says to people is worked out when it is read, not when it
//! is made: [`Viewer`] puts bytes together, reads them and renders all as JSON, [`PcapNg`] writes them
//! for Wireshark.

mod decode;
mod entry;
mod lane;
mod log;
mod pcapng;
mod reader;
mod render;
mod tap;
mod viewer;
mod weight;
mod wire;
mod wish;

pub(crate) use decode::{client_of_path, without_secrets};
pub use entry::{C2dStep, Entry, Excerpt, Kind, What};
pub use log::{Interest, Timeline};
pub use pcapng::PcapNg;
pub use reader::{Batch, From, Reader};
pub(crate) use tap::{Tap, Tapped};
pub use viewer::{Seen, Viewer};
pub use wire::{Connection, Direction, Exchange, Protocol};
pub use wish::Wish;
