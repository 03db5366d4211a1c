//! Looking at very many rows in parts, which workers may share.
//!
//! Where the parts begin depends on the rows alone: who carries them out, and how many they are,
//! changes nothing in the answer, also not in the last digit of a sum.

use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};

use iothub_protocol::{ClientId, DeviceId};

use super::groups::Groups;
use super::{Column, ColumnValue, Narrowed, Query, Range, begin_of};
use crate::query::eval::Row;
use crate::query::rows::{TwinRow, View};
use crate::query::workers::Workers;

/// Parts of the rows: more than there are workers, so that these end at about the same time.
const PARTS: usize = 16;

impl Query {
    /// The first rows behind `after` in order, at least `wanted` if there are so many.
    pub(super) fn first_rows<'a>(
        &'a self,
        view: View<'a>,
        after: Option<ClientId>,
        wanted: usize,
        workers: &impl Workers,
    ) -> Vec<TwinRow<'a>> {
        let parts = self.parts(view, after);
        let mut found: Vec<_> = self
            .twin_rows(view, parts[0].clone())
            .take(wanted)
            .collect();
        if found.len() >= wanted {
            return found;
        }
        let wanted = wanted - found.len();
        let rest = &parts[1..];
        let counts: Vec<_> = rest.iter().map(|_| AtomicUsize::new(0)).collect();
        let more = workers.all(rest.len(), |n| {
            let counted = counts[..n]
                .iter()
                .map(|count| count.load(Ordering::Relaxed));
            if counted.sum::<usize>() >= wanted {
                return Vec::new();
            }
            let rows = self.twin_rows(view, rest[n].clone());
            let rows: Vec<_> = rows.take(wanted).collect();
            counts[n].store(rows.len(), Ordering::Relaxed);
            rows
        });
        found.extend(more.into_iter().flatten());
        found
    }

    /// How many twins satisfy it.
    pub(super) fn count_twins(&self, view: View<'_>, workers: &impl Workers) -> usize {
        let parts = self.parts(view, None);
        let counts = workers.all(parts.len(), |n| {
            self.twin_rows(view, parts[n].clone()).count()
        });
        counts.into_iter().sum()
    }

    /// The groups of all twins that satisfy it, in the order in which they first occur. Without
    /// GROUP BY there is one group, also of no rows.
    pub(super) fn tallied(
        &self,
        view: View<'_>,
        columns: &[Column],
        workers: &impl Workers,
    ) -> Groups {
        let parts = self.parts(view, None);
        let groups = workers.all(parts.len(), |n| {
            self.tallied_within(view, columns, parts[n].clone())
        });
        groups
            .into_iter()
            .reduce(|mut all, part| {
                all.add(part);
                all
            })
            .unwrap_or_default()
    }

    fn tallied_within(&self, view: View<'_>, columns: &[Column], within: Range) -> Groups {
        let mut groups = Groups::default();
        let is_grouped = !self.group_by.is_empty();
        if !is_grouped {
            groups.find("", Vec::new, columns.len());
        }
        let mut text = String::new();
        for row in self.twin_rows(view, within) {
            let group = if is_grouped {
                text.clear();
                for path in &self.group_by {
                    row.get(path).write_key(&mut text);
                }
                let key = || self.group_by.iter().map(|path| row.get(path).into_json());
                groups.find(&text, || key().collect(), columns.len())
            } else {
                groups.only()
            };
            for (column, tally) in columns.iter().zip(&mut group.tallies) {
                if let ColumnValue::Aggregate(_, of) = &column.value {
                    tally.add(of.as_ref().map(|path| row.get(path)));
                }
            }
        }
        groups
    }

    /// The rows behind `after` in parts, in order; at least one. The first is a small one: mostly
    /// it fills a page.
    fn parts(&self, view: View<'_>, after: Option<ClientId>) -> Vec<Range> {
        let mut begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut parts = Vec::with_capacity(PARTS + 1);
        for place in self.places(view, begin.clone()) {
            parts.push((begin, Bound::Excluded(place.clone())));
            begin = Bound::Included(place);
        }
        parts.push((begin, Bound::Unbounded));
        parts
    }

    fn places(&self, view: View<'_>, begin: Bound<ClientId>) -> Vec<ClientId> {
        let filter = self.filter.as_ref();
        let prefix = match filter.map_or(Narrowed::All, Narrowed::of) {
            Narrowed::All => None,
            Narrowed::Prefix(prefix) => Some(prefix),
            Narrowed::Ids(_) => return Vec::new(),
        };
        let begin = match &prefix {
            Some(prefix) => begin_of(prefix, begin),
            None => begin,
        };
        let holds = |client: &ClientId| {
            let device = client.device.as_str();
            let starts = |prefix: &DeviceId| device.starts_with(prefix.as_str());
            prefix.as_ref().is_none_or(starts)
        };
        let landmarks = view.hub.twins.landmarks();
        let Some(first) = landmarks.first(begin, holds) else {
            return Vec::new();
        };
        let rest = landmarks.within(Bound::Excluded(first.clone()), holds, PARTS - 1);
        std::iter::once(first).chain(rest).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::LazyLock;

    use iothub_protocol::Timestamp;
    use iothub_protocol::registry::BulkItem;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::landmarks::is_landmark;
    use crate::query::select::everything::EVERYBODY;
    use crate::query::{InTurn, PageRequest, QuerySnapshot};
    use crate::{Cx, Hub, HubConfig, Outcome, Principal};

    /// Starts at the end, as the last of many workers may come first.
    struct Backwards;

    impl Workers for Backwards {
        fn all<T: Send>(&self, count: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
            let mut done: Vec<_> = (0..count).rev().map(task).collect();
            done.reverse();
            done
        }
    }

    /// Devices of which every other one is a landmark, so that few rows have many parts.
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let numbers = (0..).map(|n| format!("d{n}"));
        let landmark = |name: &String| ClientId::parse(name).is_ok_and(|it| is_landmark(&it));
        let landmarks = numbers.filter(landmark).take(30);
        landmarks
            .flat_map(|name| [format!("{name}!"), name])
            .collect()
    });

    fn hub_of(devices: &[(usize, u8, Option<f64>)]) -> QuerySnapshot {
        let mut hub = Hub::new(HubConfig::default());
        let named = devices
            .iter()
            .map(|device| (device.0 % NAMES.len(), device));
        let named: BTreeMap<_, _> = named.collect();
        let items: Vec<_> = named
            .into_iter()
            .map(|(at, (_, floor, rate))| {
                json!({
                    "id": NAMES[at],
                    "importMode": "createOrUpdate",
                    "status": if floor % 2 == 0 { "enabled" } else { "disabled" },
                    "tags": {"floor": floor, "rate": rate},
                })
            })
            .collect();
        let items = BulkItem::parse_all(Value::from(items).to_string().as_bytes()).unwrap();
        let operator = Principal::operator();
        let mut outcome = Outcome::default();
        let mut cx = Cx::new(Timestamp::UNIX_EPOCH, &mut outcome);
        assert_eq!(hub.bulk(&mut cx, &operator, items).unwrap(), []);
        hub.query_snapshot(&operator).unwrap()
    }

    fn pages(
        query: &Query,
        snapshot: &QuerySnapshot,
        by: &impl Workers,
        size: usize,
    ) -> Vec<Value> {
        let mut request = PageRequest {
            size: Some(size),
            continuation: None,
        };
        let mut items = Vec::new();
        loop {
            let page = query.run_by(by, snapshot, &request).unwrap();
            assert!(page.items.len() <= size);
            items.extend(page.items);
            request.continuation = page.continuation;
            if request.continuation.is_none() {
                return items;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn parts_together_are_the_whole(
            devices in vec((any::<usize>(), 0u8..4, proptest::option::of(0.0..9.0)), 1..80),
            size in 1usize..20,
        ) {
            let snapshot = hub_of(&devices);
            for text in [
                "SELECT * FROM devices",
                "SELECT * FROM devices WHERE tags.floor = 3",
                "SELECT * FROM devices WHERE status = 'disabled'",
                "SELECT deviceId, tags.floor FROM devices WHERE tags.floor < 2",
                "SELECT TOP 9 deviceId FROM devices WHERE tags.floor <> 1",
                "SELECT deviceId FROM devices WHERE STARTSWITH(deviceId, 'd1') AND tags.floor > 0",
                "SELECT deviceId FROM devices WHERE deviceId IN ['d1', 'd4096!'] OR tags.floor = 2",
            ] {
                let query = Query::parse(text, false).unwrap();
                let undivided: Vec<_> = query.rows(&snapshot).collect();
                prop_assert_eq!(&pages(&query, &snapshot, &Backwards, size), &undivided);
                prop_assert_eq!(&pages(&query, &snapshot, &InTurn, size), &undivided);
                prop_assert_eq!(query.row_count(&snapshot), undivided.len() as u64);
            }
        }

        #[test]
        fn groups_of_parts_are_groups_of_the_whole(
            devices in vec((any::<usize>(), 0u8..4, proptest::option::of(0.0..9.0)), 1..80),
        ) {
            let snapshot = hub_of(&devices);
            for text in [
                "SELECT COUNT() AS n FROM devices",
                "SELECT status, COUNT() AS n FROM devices GROUP BY status",
                "SELECT tags.floor, COUNT() AS n, MIN(tags.rate) AS a, MAX(tags.rate) AS b \
                 FROM devices WHERE tags.floor > 0 GROUP BY tags.floor",
                "SELECT SUM(tags.floor) AS s, AVG(tags.floor) AS a FROM devices",
            ] {
                let query = Query::parse(text, false).unwrap();
                let columns = query.columns.as_ref().unwrap();
                let objects = |groups: Groups| -> Vec<_> {
                    let groups = groups.into_ordered();
                    groups.map(|group| query.group_object(columns, group)).collect()
                };
                let view = snapshot.view();
                let undivided = objects(query.tallied_within(view, columns, EVERYBODY));
                prop_assert_eq!(&objects(query.tallied(view, columns, &Backwards)), &undivided);
                prop_assert_eq!(&objects(query.tallied(view, columns, &InTurn)), &undivided);
            }
        }
    }

    #[test]
    fn rows_are_divided_unless_they_are_named() {
        let devices: Vec<_> = (0..60).map(|n| (n, 0, None)).collect();
        let snapshot = hub_of(&devices);
        let parts = |filter: &str| {
            let query = Query::parse(&format!("SELECT * FROM devices WHERE {filter}"), false);
            query.unwrap().parts(snapshot.view(), None).len()
        };

        assert!(parts("tags.floor = 0") > 4);
        assert_eq!(parts("deviceId = 'd1' AND tags.floor = 0"), 1);
        assert_eq!(parts("STARTSWITH(deviceId, 'e')"), 1);
        assert!(parts("STARTSWITH(deviceId, 'd1')") > 1);
    }
}
