//! What happened, in one order: connections, methods, twins, messages, refusals, and, while somebody
//! looks, every operation and every byte on the wire.
//!
//! [`Timeline`] keeps the newest of it in bounded lanes; a [`Reader`] follows at its own pace and is
//! told how much it missed. What an entry says to people is worked out when it is read, not when it
//! is made: [`Viewer`] renders entries as JSON.

mod entry;
mod lane;
mod log;
mod reader;
mod viewer;
mod weight;
mod wish;

pub use entry::{C2dStep, Entry, Excerpt, Kind, What};
pub use log::{Interest, Timeline};
pub use reader::{Batch, From, Reader};
pub use viewer::Viewer;
pub use wish::Wish;
