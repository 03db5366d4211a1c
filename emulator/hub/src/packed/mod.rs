//! Twins as the hub keeps them: each in one block of memory.
//!
//! A registry may hold a million twins, and nearly all of them lie still. As maps, the members of
//! a small twin are a dozen allocations of ten times their text; in a block they are their text and
//! a byte or two each, and a query that looks at every twin goes to one place for each.
//!
//! A block is read in place; it is changed by [`PackedTwin::unpack`] and [`PackedTwin::pack`]. What
//! its bytes mean is known here alone and never leaves the process.

mod bytes;
mod json;
mod metadata;
mod twin;

pub(crate) use json::{Node, Object};
pub(crate) use twin::PackedSection;
pub use twin::PackedTwin;
