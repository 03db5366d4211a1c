//! The newest entries of some kinds, up to a number and a weight.

use std::collections::VecDeque;
use std::sync::Arc;

use super::entry::{Entry, What};

/// A bounded run of entries. Each has a number within the lane, beginning with 0, besides its place
/// among all.
#[derive(Debug)]
pub(super) struct Lane {
    entries: VecDeque<Arc<Entry>>,
    weight: usize,
    /// How many have left, and so the number of the oldest that is left.
    left: u64,
    /// The place among all of the youngest that has left.
    last_left: u64,
    most_entries: usize,
    most_weight: usize,
}

/// Which lane an entry goes to. What there is much of cannot drive out what there is little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneKind {
    /// Who came and went, and who was not let in.
    Presence,
    /// What else changed, and what was refused.
    Doings,
    /// What is made only while somebody asks for it.
    Watched,
}

impl LaneKind {
    pub(super) const ALL: [Self; 3] = [Self::Presence, Self::Doings, Self::Watched];

    pub(super) fn of(what: &What) -> Self {
        use crate::activity::OperationKind::Connect;
        match what {
            What::Connected { .. }
            | What::Disconnected { .. }
            | What::Operation {
                operation: Connect,
                refusal: Some(_),
                ..
            } => Self::Presence,
            What::Stored { .. } | What::Operation { refusal: None, .. } | What::Exchange(_) => {
                Self::Watched
            }
            What::MethodInvoked { .. }
            | What::MethodEnded { .. }
            | What::TwinChanged { .. }
            | What::IdentityChanged { .. }
            | What::C2d { .. }
            | What::FaultFired { .. }
            | What::Operation {
                refusal: Some(_), ..
            } => Self::Doings,
        }
    }

    /// An empty lane with this kind's bounds.
    pub(super) fn lane(self) -> Lane {
        const MIB: usize = 1024 * 1024;
        match self {
            Self::Presence => Lane::new(4096, 2 * MIB),
            Self::Doings => Lane::new(8192, 4 * MIB),
            Self::Watched => Lane::new(65_536, 16 * MIB),
        }
    }
}

impl Lane {
    pub(super) fn new(most_entries: usize, most_weight: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            weight: 0,
            left: 0,
            last_left: 0,
            most_entries,
            most_weight,
        }
    }

    /// Adds an entry; the oldest leave to make room.
    pub(super) fn push(&mut self, entry: Arc<Entry>, weight: usize) {
        self.weight += weight;
        self.entries.push_back(entry);
        while self.entries.len() > self.most_entries
            || (self.weight > self.most_weight && self.entries.len() > 1)
        {
            self.drop_oldest();
        }
    }

    /// The number that the next entry will have.
    pub(super) fn end(&self) -> u64 {
        self.left + self.entries.len() as u64
    }

    /// The number of the oldest entry.
    pub(super) fn start(&self) -> u64 {
        self.left
    }

    /// The entry with this number.
    pub(super) fn get(&self, number: u64) -> Option<&Arc<Entry>> {
        let index = number.checked_sub(self.left)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// The number of the first entry after the place `seq`, and how many after it have left, at
    /// most: places of other lanes' entries are counted, too.
    pub(super) fn after(&self, seq: u64) -> (u64, u64) {
        let index = self.entries.partition_point(|entry| entry.seq <= seq);
        let gone = self.last_left.saturating_sub(seq).min(self.left);
        (self.left + index as u64, gone)
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.weight -= oldest.what.weight().min(self.weight);
            self.left += 1;
            self.last_left = oldest.seq;
        }
    }
}

#[cfg(test)]
mod tests {
    use iothub_protocol::{ClientId, Timestamp};

    use super::*;

    fn entry(seq: u64) -> Arc<Entry> {
        let client = ClientId::parse("d1").unwrap();
        let what = What::Connected {
            client,
            transport: "test",
        };
        Arc::new(Entry {
            seq,
            at: Timestamp::UNIX_EPOCH,
            what,
        })
    }

    fn filled(entries: usize, weight: usize, seqs: &[u64]) -> Lane {
        let mut lane = Lane::new(entries, weight);
        for &seq in seqs {
            let entry = entry(seq);
            let weight = entry.what.weight();
            lane.push(entry, weight);
        }
        lane
    }

    #[test]
    fn the_oldest_leave_and_are_counted() {
        let lane = filled(2, usize::MAX, &[1, 4, 6, 9]);

        assert_eq!((lane.start(), lane.end()), (2, 4));
        assert!(lane.get(1).is_none());
        assert_eq!(lane.get(2).unwrap().seq, 6);
        assert_eq!(lane.after(6), (3, 0));
        assert_eq!(lane.after(4), (2, 0));
        assert_eq!(lane.after(0), (2, 2));
        assert_eq!(lane.after(9), (4, 0));
    }

    #[test]
    fn weight_bounds_too_but_the_newest_stays() {
        let lane = filled(100, 1, &[1, 2, 3]);

        assert_eq!((lane.start(), lane.end()), (2, 3));
    }
}
