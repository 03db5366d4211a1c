//! Deliveries of a session that are not settled, in the order of their numbers.

use std::collections::VecDeque;

use super::terms::LinkId;

/// What is done with an entry that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stays.
    Keep,
    /// Its outcome is known, but not settled.
    Tell,
    /// It is settled.
    Remove,
}

/// One delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Its number here; never used twice in a session.
    pub(super) id: u64,
    /// Its number on the wire.
    pub(super) wire: u32,
    link: u32,
}

/// Of a link number: the outcome has been told.
const TOLD: u32 = 1 << 31;
/// Instead of a link number: the entry is gone. Entries leave the front at once and the middle
/// when half of them have gone.
const GONE: u32 = u32::MAX;
/// Fewer entries than this are not worth the order's upkeep.
const FEW: usize = 32;

impl Entry {
    /// The link.
    pub(super) fn link(&self) -> LinkId {
        LinkId(self.link & !TOLD)
    }

    /// Whether its outcome has been told.
    pub(super) fn is_told(&self) -> bool {
        self.link & TOLD != 0
    }
}

/// Deliveries in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    entries: VecDeque<Entry>,
    gone: usize,
}

impl Unsettled {
    /// Adds the newest.
    pub(super) fn push(&mut self, id: u64, wire: u32, link: LinkId) {
        self.entries.push_back(Entry {
            id,
            wire,
            link: link.0 & !TOLD,
        });
    }

    /// Looks at every delivery with a number in the range, in order.
    pub(super) fn visit(&mut self, first: u64, last: u64, mut look: impl FnMut(&Entry) -> Verdict) {
        let from = self.entries.partition_point(|entry| entry.id < first);
        let mut index = from;
        while let Some(entry) = self.entries.get_mut(index) {
            if entry.id > last {
                break;
            }
            if entry.link != GONE {
                match look(entry) {
                    Verdict::Keep => {}
                    Verdict::Tell => entry.link |= TOLD,
                    Verdict::Remove => {
                        entry.link = GONE;
                        self.gone += 1;
                    }
                }
            }
            index += 1;
        }
        self.tidy();
    }

    /// Removes one; `None`: it is not here, or another link's.
    pub(super) fn remove(&mut self, id: u64, link: LinkId) -> Option<Entry> {
        let mut found = None;
        self.visit(id, id, |entry| {
            if entry.link() == link {
                found = Some(*entry);
                Verdict::Remove
            } else {
                Verdict::Keep
            }
        });
        found
    }

    /// One of this number and link.
    pub(super) fn find(&self, id: u64, link: LinkId) -> Option<&Entry> {
        let index = self
            .entries
            .binary_search_by_key(&id, |entry| entry.id)
            .ok()?;
        self.entries
            .get(index)
            .filter(|entry| entry.link != GONE && entry.link() == link)
    }

    /// Removes all of a link.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.visit(0, u64::MAX, |entry| {
            if entry.link() == link {
                Verdict::Remove
            } else {
                Verdict::Keep
            }
        });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.gone
    }

    fn tidy(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.link == GONE) {
            self.entries.pop_front();
            self.gone -= 1;
        }
        if self.gone > FEW && self.gone > self.entries.len() / 2 {
            self.entries.retain(|entry| entry.link != GONE);
            self.gone = 0;
        }
        if self.entries.is_empty() && self.entries.capacity() > FEW {
            self.entries = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{FEW, Unsettled, Verdict};
    use crate::amqp::connection::LinkId;

    proptest! {
        /// Beside a map that does the same.
        #[test]
        fn what_is_not_settled_is_found_in_order(
            steps in vec((0_u8..8, 0_u64..300, 0_u64..40, 0_u32..3), 0..400),
        ) {
            let mut unsettled = Unsettled::default();
            let mut model: BTreeMap<u64, LinkId> = BTreeMap::new();
            let mut next = 0;
            for (step, first, span, link) in steps {
                let link = LinkId(link);
                let last = first + span;
                match step {
                    0..4 => {
                        for _ in 0..span % 8 {
                            unsettled.push(next, next as u32, link);
                            model.insert(next, link);
                            next += 1;
                        }
                    }
                    4 => {
                        let found = unsettled.remove(first, link).map(|entry| entry.id);
                        let is_there = model.get(&first) == Some(&link);
                        prop_assert_eq!(found, is_there.then_some(first));
                        if is_there {
                            model.remove(&first);
                        }
                    }
                    5 | 6 => {
                        let mut seen = Vec::new();
                        unsettled.visit(first, last, |entry| {
                            seen.push((entry.id, entry.link()));
                            match (step, entry.id % 3) {
                                (5, _) => Verdict::Remove,
                                (_, 0) => Verdict::Tell,
                                (_, 1) => Verdict::Remove,
                                _ => Verdict::Keep,
                            }
                        });
                        let there: Vec<_> =
                            model.range(first..=last).map(|(id, link)| (*id, *link)).collect();
                        prop_assert_eq!(seen, there);
                        model.retain(|id, _| {
                            !(first..=last).contains(id) || (step == 6 && id % 3 != 1)
                        });
                    }
                    _ => {
                        if span == 0 {
                            unsettled.forget(link);
                            model.retain(|_, of| *of != link);
                        }
                        let is_there = model.get(&first) == Some(&link);
                        prop_assert_eq!(unsettled.find(first, link).is_some(), is_there);
                    }
                }
                prop_assert_eq!(unsettled.len(), model.len());
                prop_assert!(unsettled.entries.len() <= 2 * model.len() + FEW + 1);
            }
        }
    }
}
