//! What the emulator does, in numbers: one look, what happened between two, and who watches.

mod sample;
mod sampler;
mod totals;

pub use sample::Sample;
pub(crate) use sample::{latency_so_far, snapshot};
pub use sampler::{Sampler, Watcher};
pub use totals::Totals;
