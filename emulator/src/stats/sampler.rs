//! Who watches the numbers. All who want them equally often share one sample; when nobody watches,
//! nothing is done.
//!
//! There is no task: the first watcher whose sleep ends takes the sample, and the others find it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use super::{Sample, Totals};
use crate::activity::Watch;
use crate::clock;
use crate::handle::HubHandle;

/// The shortest interval, and what intervals are multiples of: so there are but so many.
const STEP: Duration = Duration::from_millis(100);
/// The longest interval.
const LONGEST: Duration = Duration::from_secs(60);
/// How many of the busiest and slowest are told, at most.
pub(crate) const RANK_LIMIT: usize = 50;

/// Takes samples for those who watch. Cheap to clone.
#[derive(Clone)]
pub struct Sampler {
    shared: Arc<Shared>,
}

struct Shared {
    handle: HubHandle,
    /// Guards the feeds by their intervals; held to find or to add one.
    feeds: Mutex<HashMap<Duration, Weak<Feed>>>,
}

/// The samples of one interval.
struct Feed {
    interval: Duration,
    /// Guards the newest sample; held while one is taken.
    state: Mutex<State>,
}

struct State {
    totals: Totals,
    sample: Arc<Sample>,
    /// There once a watcher asked for a ranking.
    watch: Option<Watch>,
}

/// Somebody who watches.
pub struct Watcher {
    shared: Arc<Shared>,
    feed: Arc<Feed>,
    rank: usize,
    /// The sample that comes next.
    next: u64,
}

impl Sampler {
    /// Samples of this hub.
    pub fn new(handle: HubHandle) -> Self {
        Self {
            shared: Arc::new(Shared {
                handle,
                feeds: Mutex::default(),
            }),
        }
    }

    /// Watches with about this interval, and ranks so many clients and operations.
    pub fn watch(&self, interval: Duration, rank: usize) -> Watcher {
        let steps = interval.min(LONGEST).div_duration_f64(STEP).round();
        let interval = STEP * (steps as u32).max(1);
        self.shared.handle.activity().count_watcher(true);
        let feed = self.feed(interval);
        let rank = rank.min(RANK_LIMIT);
        let next = {
            let mut state = lock(&feed.state);
            if rank > 0 && state.watch.is_none() {
                state.watch = Some(self.shared.handle.activity().watch());
            }
            state.sample.number
        };
        Watcher {
            shared: self.shared.clone(),
            feed,
            rank,
            next,
        }
    }

    fn feed(&self, interval: Duration) -> Arc<Feed> {
        let mut feeds = lock(&self.shared.feeds);
        if let Some(feed) = feeds.get(&interval).and_then(Weak::upgrade) {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let totals = Totals::of(&self.shared.handle);
        let sample = Sample::between(0, None, &totals, None);
        let feed = Arc::new(Feed {
            interval,
            state: Mutex::new(State {
                totals,
                sample: Arc::new(sample),
                watch: None,
            }),
        });
        feeds.insert(interval, Arc::downgrade(&feed));
        feed
    }
}

impl Watcher {
    /// The next sample as JSON with its number; the first one is there at once. Who comes late for
    /// some gets the newest.
    pub async fn next(&mut self) -> (u64, String) {
        loop {
            let wait = match self.newest() {
                Ok(sample) => {
                    self.next = sample.number + 1;
                    return (sample.number, sample.to_json(self.rank));
                }
                Err(wait) => wait,
            };
            clock::rest(wait).await;
        }
    }

    /// The newest sample, taken here if it is due; or how long to wait for it.
    fn newest(&self) -> Result<Arc<Sample>, Duration> {
        let mut state = lock(&self.feed.state);
        if state.sample.number >= self.next {
            return Ok(state.sample.clone());
        }
        let since = state.totals.taken.elapsed();
        if since < self.feed.interval {
            return Err(self.feed.interval - since);
        }
        let totals = Totals::of(&self.shared.handle);
        let ranked = state.watch.as_ref().map(|watch| watch.look(RANK_LIMIT));
        let number = state.sample.number + 1;
        let sample = Sample::between(number, Some(&state.totals), &totals, ranked);
        state.sample = Arc::new(sample);
        state.totals = totals;
        Ok(state.sample.clone())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.handle.activity().count_watcher(false);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
