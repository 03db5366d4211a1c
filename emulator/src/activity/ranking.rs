//! The busiest clients and the slowest operations, for as long as somebody watches.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iothub_protocol::{ClientId, ErrorCode, Timestamp};

use super::{OperationKind, Record, lock};
use crate::clock::Stopwatch;

/// Clients that are counted at the same time. When there are more, the less busy half is forgotten
/// and begins anew, so that what is busy stays and nobody can fill the memory.
const CLIENTS: usize = 4096;
/// Operations that are told as the slowest, at most.
const SLOWEST: usize = 50;
/// How long a slow operation is told.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// Everyone who watches.
#[derive(Debug, Default)]
pub(super) struct Rankings {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Lets the usual case, nobody watches, pass without the lock.
    any: AtomicBool,
    /// Guards the rankings; held for one operation.
    rankings: Mutex<Vec<Ranking>>,
}

#[derive(Debug, Default)]
struct Ranking {
    watch: u64,
    counts: HashMap<ClientId, u64>,
    /// The slowest first.
    slowest: Vec<(Stopwatch, Slow)>,
}

/// A ranking that is kept until this is dropped.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    id: u64,
}

/// What a watch has seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranked {
    /// The busiest clients since the last look, the busiest first.
    pub busiest: Vec<Busy>,
    /// The slowest operations of the last minute, the slowest first.
    pub slowest: Vec<Slow>,
}

/// A busy client.
#[derive(Clone, Debug, PartialEq)]
pub struct Busy {
    /// Who.
    pub client: ClientId,
    /// How many things it did or had done to it: operations, messages.
    pub items: u64,
}

/// A slow operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Slow {
    /// When it ended, by the hub's clock.
    pub at: Timestamp,
    /// Which operation.
    pub kind: OperationKind,
    /// The device or module, where it was about one.
    pub client: Option<ClientId>,
    /// How long it took.
    pub elapsed: Duration,
    /// What it was refused with, if it was.
    pub refusal: Option<ErrorCode>,
}

impl Rankings {
    pub(super) fn watch(&self) -> Watch {
        let mut rankings = lock(&self.shared.rankings);
        let id = rankings.last().map_or(0, |ranking| ranking.watch + 1);
        rankings.push(Ranking {
            watch: id,
            ..Ranking::default()
        });
        self.shared.any.store(true, Ordering::Relaxed);
        Watch {
            shared: self.shared.clone(),
            id,
        }
    }

    pub(super) fn record(&self, record: &Record<'_>) {
        if !self.shared.any.load(Ordering::Relaxed) {
            return;
        }
        for ranking in lock(&self.shared.rankings).iter_mut() {
            ranking.record(record);
        }
    }
}

impl Watch {
    /// The `count` busiest since the last look, and the `count` slowest of the last minute.
    pub fn look(&self, count: usize) -> Ranked {
        let counts = {
            let mut rankings = lock(&self.shared.rankings);
            let own = rankings.iter_mut().find(|ranking| ranking.watch == self.id);
            own.map(|ranking| {
                let told = |since: &Stopwatch| since.elapsed() < TOLD_FOR;
                ranking.slowest.retain(|(since, _)| told(since));
                let slowest = ranking.slowest.iter().take(count);
                (
                    std::mem::take(&mut ranking.counts),
                    slowest.map(|(_, slow)| slow.clone()).collect(),
                )
            })
        };
        let (counts, slowest) = counts.unwrap_or_default();
        let mut busiest: Vec<_> = counts
            .into_iter()
            .map(|(client, items)| Busy { client, items })
            .collect();
        // By name among equals, so that the order holds from look to look.
        busiest.sort_unstable_by(|a, b| b.items.cmp(&a.items).then(a.client.cmp(&b.client)));
        busiest.truncate(count);
        Ranked { busiest, slowest }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut rankings = lock(&self.shared.rankings);
        rankings.retain(|ranking| ranking.watch != self.id);
        let any = !rankings.is_empty();
        self.shared.any.store(any, Ordering::Relaxed);
    }
}

impl Ranking {
    fn record(&mut self, record: &Record<'_>) {
        if let Some(client) = record.client {
            self.count(client, record.items);
        }
        let room = self.slowest.len() < SLOWEST;
        let least = self.slowest.last().map(|(_, slow)| slow.elapsed);
        if !room && least.is_some_and(|least| record.elapsed <= least) {
            return;
        }
        let place = self
            .slowest
            .partition_point(|(_, slow)| slow.elapsed >= record.elapsed);
        let slow = Slow {
            at: record.at(),
            kind: record.kind,
            client: record.client.cloned(),
            elapsed: record.elapsed,
            refusal: record.refusal.map(|error| error.code),
        };
        self.slowest.truncate(SLOWEST - 1);
        self.slowest.insert(place, (Stopwatch::start(), slow));
    }

    fn count(&mut self, client: &ClientId, items: u64) {
        if let Some(count) = self.counts.get_mut(client) {
            *count += items;
            return;
        }
        if self.counts.len() >= CLIENTS {
            self.forget_the_less_busy();
        }
        self.counts.insert(client.clone(), items);
    }

    fn forget_the_less_busy(&mut self) {
        let mut all: Vec<u64> = self.counts.values().copied().collect();
        let (_, &mut median, _) = all.select_nth_unstable(CLIENTS / 2);
        self.counts.retain(|_, count| *count > median);
    }
}

#[cfg(test)]
mod tests {
    use iothub_protocol::DeviceId;

    use super::*;
    use crate::clock::HubClock;

    fn client(name: &str) -> ClientId {
        ClientId::device(DeviceId::parse(name).unwrap())
    }

    fn note(rankings: &Rankings, client: &ClientId, items: u64, millis: u64) {
        rankings.record(&Record {
            clock: &HubClock::frozen(Timestamp::UNIX_EPOCH),
            kind: OperationKind::SendTelemetry,
            client: Some(client),
            items,
            elapsed: Duration::from_millis(millis),
            refusal: None,
        });
    }

    #[test]
    fn the_busiest_come_first_and_are_counted_from_look_to_look() {
        let rankings = Rankings::default();
        let watch = rankings.watch();
        for (name, items) in [("a", 3), ("b", 50), ("c", 7), ("b", 1)] {
            note(&rankings, &client(name), items, 1);
        }

        let busiest = watch.look(2).busiest;

        let told: Vec<_> = busiest
            .iter()
            .map(|busy| (&busy.client, busy.items))
            .collect();
        assert_eq!(told, [(&client("b"), 51), (&client("c"), 7)]);
        assert_eq!(watch.look(2).busiest, []);
    }

    #[test]
    fn who_is_busy_stays_when_there_are_more_clients_than_are_counted() {
        let rankings = Rankings::default();
        let watch = rankings.watch();
        let busy = client("busy");
        for number in 0..3 * CLIENTS {
            note(&rankings, &client(&format!("d{number}")), 1, 1);
            note(&rankings, &busy, 1, 1);
        }

        let kept = lock(&rankings.shared.rankings)[0].counts.len();
        assert!(kept <= CLIENTS, "{kept}");
        assert_eq!(watch.look(1).busiest[0].client, busy);
    }

    #[test]
    fn the_slowest_come_first_and_are_bounded() {
        let rankings = Rankings::default();
        let watch = rankings.watch();
        for millis in 0..200 {
            note(&rankings, &client("a"), 1, millis * 7 % 200);
        }

        let slowest = watch.look(usize::MAX).slowest;

        let told: Vec<_> = slowest
            .iter()
            .map(|slow| slow.elapsed.as_millis())
            .collect();
        assert_eq!(told, (150..200).rev().collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_kept_while_nobody_watches() {
        let rankings = Rankings::default();
        drop(rankings.watch());
        note(&rankings, &client("a"), 1, 1);

        assert!(!rankings.shared.any.load(Ordering::Relaxed));
        assert_eq!(rankings.watch().look(5), Ranked::default());
    }
}
