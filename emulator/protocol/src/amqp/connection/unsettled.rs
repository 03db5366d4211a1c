//! Deliveries of a session that are not settled, in the order of their numbers.

use std::collections::BTreeMap;

use super::terms::LinkId;

/// One delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Its number here; never used twice in a session.
    pub(super) id: u64,
    /// Its number on the wire.
    pub(super) wire: u32,
    /// Its link.
    pub(super) link: LinkId,
}

/// Deliveries by their numbers. Those whose outcome is known stand apart, so that nobody who tells
/// it again and again makes us walk over them.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    open: BTreeMap<u64, Kept>,
    told: BTreeMap<u64, Kept>,
}

/// What is kept of a delivery beside its number.
#[derive(Clone, Copy, Debug)]
struct Kept {
    wire: u32,
    link: LinkId,
}

impl Kept {
    fn entry(self, id: u64) -> Entry {
        Entry {
            id,
            wire: self.wire,
            link: self.link,
        }
    }
}

impl Unsettled {
    /// Adds the newest.
    pub(super) fn push(&mut self, id: u64, wire: u32, link: LinkId) {
        self.open.insert(id, Kept { wire, link });
    }

    /// Takes the first delivery of the range whose outcome is not known; it is from now on.
    pub(super) fn tell_next(&mut self, first: u64, last: u64) -> Option<Entry> {
        let id = next(&self.open, first, last)?;
        let kept = self.open.remove(&id)?;
        self.told.insert(id, kept);
        Some(kept.entry(id))
    }

    /// Removes the first delivery of the range.
    pub(super) fn settle_next(&mut self, first: u64, last: u64) -> Option<Entry> {
        let open = next(&self.open, first, last);
        let told = next(&self.told, first, last);
        let (from, id) = match (open, told) {
            (Some(open), Some(told)) if told < open => (&mut self.told, told),
            (Some(open), _) => (&mut self.open, open),
            (None, Some(told)) => (&mut self.told, told),
            (None, None) => return None,
        };
        from.remove(&id).map(|kept| kept.entry(id))
    }

    /// Removes those that are asked for, in order; it looks at all. For deliveries of the peer,
    /// which tells us no outcomes.
    pub(super) fn settle_where(&mut self, mut asked: impl FnMut(&Entry) -> bool) {
        self.open.retain(|id, kept| !asked(&kept.entry(*id)));
    }

    /// Removes one; `None`: it is not here, or another link's.
    pub(super) fn remove(&mut self, id: u64, link: LinkId) -> Option<Entry> {
        self.find(id, link)?;
        self.settle_next(id, id)
    }

    /// One of this number and link.
    pub(super) fn find(&self, id: u64, link: LinkId) -> Option<Entry> {
        let kept = self.open.get(&id).or_else(|| self.told.get(&id))?;
        (kept.link == link).then(|| kept.entry(id))
    }

    /// Removes all of a link.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.open.retain(|_, kept| kept.link != link);
        self.told.retain(|_, kept| kept.link != link);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.open.len() + self.told.len()
    }
}

/// The first number of a range.
fn next(deliveries: &BTreeMap<u64, Kept>, first: u64, last: u64) -> Option<u64> {
    let from = deliveries.range(first..).next();
    from.map(|(id, _)| *id).filter(|id| *id <= last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::Unsettled;
    use crate::amqp::connection::LinkId;

    proptest! {
        /// Beside a map that does the same.
        #[test]
        fn what_is_not_settled_is_found_in_order(
            steps in vec((0_u8..8, 0_u64..300, 0_u64..40, 0_u32..3), 0..400),
        ) {
            let mut unsettled = Unsettled::default();
            // Of each its link, and whether its outcome was told.
            let mut model: BTreeMap<u64, (LinkId, bool)> = BTreeMap::new();
            let mut next = 0;
            for (step, first, span, link) in steps {
                let link = LinkId(link);
                let last = first + span;
                match step {
                    0..4 => {
                        for _ in 0..span % 8 {
                            unsettled.push(next, next as u32, link);
                            model.insert(next, (link, false));
                            next += 1;
                        }
                    }
                    4 => {
                        let found = unsettled.remove(first, link).map(|entry| entry.id);
                        let is_there = model.get(&first).is_some_and(|(of, _)| *of == link);
                        prop_assert_eq!(found, is_there.then_some(first));
                        if is_there {
                            model.remove(&first);
                        }
                    }
                    5 => {
                        let mut seen = Vec::new();
                        while let Some(entry) = unsettled.settle_next(first, last) {
                            seen.push((entry.id, entry.link));
                        }
                        let there: Vec<_> =
                            model.range(first..=last).map(|(id, (of, _))| (*id, *of)).collect();
                        prop_assert_eq!(seen, there);
                        model.retain(|id, _| !(first..=last).contains(id));
                    }
                    6 => {
                        let mut seen = Vec::new();
                        while let Some(entry) = unsettled.tell_next(first, last) {
                            seen.push(entry.id);
                        }
                        let mut there = Vec::new();
                        for (id, (_, told)) in model.range_mut(first..=last) {
                            if !std::mem::replace(told, true) {
                                there.push(*id);
                            }
                        }
                        prop_assert_eq!(seen, there);
                    }
                    _ => {
                        if span == 0 {
                            unsettled.forget(link);
                            model.retain(|_, (of, _)| *of != link);
                        }
                        let is_there = model.get(&first).is_some_and(|(of, _)| *of == link);
                        prop_assert_eq!(unsettled.find(first, link).is_some(), is_there);
                    }
                }
                prop_assert_eq!(unsettled.len(), model.len());
                // What is walked by whoever tells an outcome is what has none.
                let open = model.values().filter(|(_, told)| !told).count();
                prop_assert_eq!(unsettled.open.len(), open);
            }
        }
    }

    #[test]
    fn what_the_peer_settles_need_not_be_in_order() {
        let mut unsettled = Unsettled::default();
        for (id, wire) in [(0, 7), (1, 3), (2, 9), (3, 7)] {
            unsettled.push(id, wire, LinkId(0));
        }
        let mut seen = Vec::new();
        unsettled.settle_where(|entry| {
            let asked = entry.wire == 7;
            if asked {
                seen.push(entry.id);
            }
            asked
        });
        assert_eq!(seen, [0, 3]);
        assert_eq!(unsettled.len(), 2);
    }
}
