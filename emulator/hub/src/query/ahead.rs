//! Looking at rows before they are worked out.
//!
//! A registry of a million twins is larger than any cache, so that a query mostly waits for memory:
//! for a twin, or for an identity. What is waited for is loaded for many rows at once when nothing
//! stands between one load and the next.

use std::hint::black_box;

use super::resolve::{Field, Reference};
use super::rows::TwinRow;

/// Rows that are loaded together: few enough to stay in the nearest cache.
const TOGETHER: usize = 64;

/// What is looked at of each row that a query chooses from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Looks {
    pub(super) at_twins: bool,
    pub(super) at_identities: bool,
}

impl Looks {
    /// Adds what a path leads to.
    pub(super) fn add(&mut self, path: &Reference) {
        match path.field {
            Field::Etag
            | Field::ModelId
            | Field::Version
            | Field::Tags
            | Field::Properties
            | Field::Desired
            | Field::Reported => self.at_twins = true,
            Field::DeviceEtag
            | Field::Status
            | Field::StatusReason
            | Field::StatusUpdateTime
            | Field::StatusUpdatedTime
            | Field::LastActivityTime
            | Field::AuthenticationType
            | Field::Thumbprints
            | Field::Capabilities
            | Field::DeviceScope
            | Field::ParentScopes
            | Field::ManagedBy => self.at_identities = true,
            Field::DeviceId
            | Field::Id
            | Field::ModuleId
            | Field::ConnectionState
            | Field::C2dCount
            | Field::Configurations
            | Field::OfJob
            | Field::Unknown => {}
        }
    }
}

/// The same rows in the same order, after a look at them.
pub(super) fn loaded_ahead<'a>(
    mut rows: impl Iterator<Item = TwinRow<'a>>,
    looks: Looks,
) -> impl Iterator<Item = TwinRow<'a>> {
    let mut ready = Vec::new().into_iter();
    std::iter::from_fn(move || {
        if looks == Looks::default() {
            return rows.next();
        }
        if let Some(row) = ready.next() {
            return Some(row);
        }
        let many: Vec<_> = rows.by_ref().take(TOGETHER).collect();
        for row in &many {
            if looks.at_twins {
                black_box(row.twin.first());
            }
            if looks.at_identities {
                black_box(row.identity.map(|identity| identity.status));
            }
        }
        ready = many.into_iter();
        ready.next()
    })
}
