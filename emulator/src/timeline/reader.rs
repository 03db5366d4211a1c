//! Reading a timeline at one's own pace.

use std::sync::Arc;

use super::entry::Entry;
use super::lane::LaneKind;
use super::log::Timeline;
use super::wish::Wish;

/// Entries that are looked at under one lock.
const CHUNK: usize = 512;

/// Reads a timeline from a place on. It holds its place and nothing else, so that a slow one costs
/// nothing; what has left the timeline before it was read is counted.
#[derive(Debug)]
pub struct Reader {
    timeline: Arc<Timeline>,
    wish: Wish,
    /// Which lanes it reads.
    lanes: [bool; 3],
    /// The place up to which it has read.
    seq: u64,
    /// The number of the next entry of each lane.
    next: [u64; 3],
    missed: u64,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// After this place.
    After(u64),
    /// With what happens from now on.
    Now,
}

/// Some entries, and how many between them and the ones before had left already.
#[derive(Debug, Default)]
pub struct Batch {
    /// In order.
    pub entries: Vec<Arc<Entry>>,
    /// How many were missed; those are counted, too, that the reader would not have wanted.
    pub missed: u64,
}

impl Reader {
    /// Reads what `wish` says. As long as the reader lives, what is made only on demand is made.
    pub fn new(timeline: Arc<Timeline>, wish: Wish, from: From) -> Self {
        wish.interests().for_each(|it| timeline.ask_for(it));
        let mut reader = Self {
            seq: 0,
            next: [0; 3],
            missed: 0,
            lanes: LaneKind::ALL.map(|lane| wish.reads(lane)),
            wish,
            timeline,
        };
        reader.begin(from);
        reader
    }

    fn begin(&mut self, from: From) {
        let entries = self.timeline.lock();
        self.seq = match from {
            From::Now => entries.last,
            // Whoever is ahead has read another timeline.
            From::After(seq) if seq > entries.last => 0,
            From::After(seq) => seq,
        };
        for ((next, lane), wanted) in self.next.iter_mut().zip(&entries.lanes).zip(self.lanes) {
            let (number, gone) = lane.after(self.seq);
            *next = number;
            // Whoever begins at the beginning has not missed what had left before.
            if wanted && self.seq > 0 {
                self.missed += gone;
            }
        }
    }

    /// The next entries that are wanted, up to `most` of them; none when there are none yet, or too
    /// many others to look through at once, see [`Reader::is_at_end`].
    pub fn take(&mut self, most: usize) -> Batch {
        let mut batch = Batch {
            entries: Vec::new(),
            missed: std::mem::take(&mut self.missed),
        };
        let entries = self.timeline.lock();
        for ((next, lane), wanted) in self.next.iter_mut().zip(&entries.lanes).zip(self.lanes) {
            let gone = lane.start().saturating_sub(*next);
            *next += gone;
            batch.missed += if wanted { gone } else { 0 };
        }
        for _ in 0..CHUNK {
            if batch.entries.len() >= most {
                break;
            }
            let heads = LaneKind::ALL.map(|lane| {
                let lane = lane as usize;
                let head = entries.lanes[lane].get(self.next[lane])?;
                self.lanes[lane].then_some((head, lane))
            });
            let Some((entry, lane)) = heads.into_iter().flatten().min_by_key(|it| it.0.seq) else {
                self.seq = entries.last;
                break;
            };
            self.next[lane] += 1;
            self.seq = entry.seq;
            if self.wish.wants(entry) {
                batch.entries.push(entry.clone());
            }
        }
        batch
    }

    /// Whether it has read everything that there is.
    pub fn is_at_end(&self) -> bool {
        let entries = self.timeline.lock();
        let mut lanes = self.next.iter().zip(&entries.lanes).zip(self.lanes);
        lanes.all(|((next, lane), wanted)| !wanted || *next >= lane.end())
    }

    /// The place of the newest entry that there is.
    pub fn newest_place(&self) -> u64 {
        self.timeline.last()
    }

    /// The place up to which it has read.
    pub fn place(&self) -> u64 {
        self.seq
    }

    /// Completes when there is more to read. Safe to drop half-way.
    pub async fn more(&self) {
        self.timeline.grown_beyond(self.seq).await;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.wish
            .interests()
            .for_each(|it| self.timeline.ask_no_more(it));
    }
}
