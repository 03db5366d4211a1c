//! The metrics: names, units and meanings that stay, made from one look at everything that is
//! counted, for those who fetch them and those who are sent them.
//!
//! Nothing that outsiders name is a label: no device, no path. `emulator/docs/metrics.md` lists
//! them all.

mod exposition;
mod families;

pub use exposition::{Format, exposition};
pub use families::{Data, Distribution, Family, Labels, Point, families};
