//! Looking at rows before they are worked out.
//!
//! A registry of a million twins is larger than any cache, so that a query mostly waits for memory:
//! for a twin, then for its members, then for a text. What is waited for is loaded for many rows at
//! once when nothing stands between one load and the next.

use std::hint::black_box;

use super::ast::Segment;
use super::resolve::{Field, Reference};
use super::rows::TwinRow;

/// Rows that are loaded together: few enough to stay in the nearest cache.
const TOGETHER: usize = 64;
/// Members of a section that are looked at; the others wait.
const FEW: usize = 8;

/// The same rows in the same order, after a look at what `paths` say of them.
pub(super) fn loaded_ahead<'a>(
    mut rows: impl Iterator<Item = TwinRow<'a>>,
    paths: &'a [Reference],
) -> impl Iterator<Item = TwinRow<'a>> {
    let mut ready = Vec::new().into_iter();
    std::iter::from_fn(move || {
        if let Some(row) = ready.next() {
            return Some(row);
        }
        let many: Vec<_> = rows.by_ref().take(TOGETHER).collect();
        if many.len() > 1 {
            for path in paths {
                load(&many, path);
            }
        }
        ready = many.into_iter();
        ready.next()
    })
}

fn load(rows: &[TwinRow<'_>], path: &Reference) {
    let Some(Segment::Name(wanted)) = path.below.first() else {
        return;
    };
    for row in rows {
        black_box(members(row, path).len());
    }
    for row in rows {
        black_box(members(row, path).next().map(|(name, _)| name.len()));
    }
    for row in rows {
        let alike = |(name, _): &(&String, _)| name.len() == wanted.len();
        for (name, value) in members(row, path).take(FEW).filter(alike) {
            black_box(name.as_bytes().first());
            black_box(value.as_str().and_then(|text| text.as_bytes().first()));
        }
    }
}

fn members<'a>(row: &TwinRow<'a>, path: &Reference) -> serde_json::map::Iter<'a> {
    match path.field {
        Field::Tags => row.twin.tags.iter(),
        Field::Desired => row.twin.desired.value.iter(),
        _ => row.twin.reported.value.iter(),
    }
}

/// Whether a path leads to what lies beside the twin.
pub(super) fn is_worth_it(path: &Reference) -> bool {
    matches!(path.field, Field::Tags | Field::Desired | Field::Reported) && !path.below.is_empty()
}
