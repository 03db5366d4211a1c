//! Threads that share the parts of a query (`iothub_hub::Workers`).

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, available_parallelism, scope};

use iothub_hub::Workers;

/// The calling thread, helped by others as far as there are processors beside its own. However
/// many queries run at once, they have these helpers together: who finds none does it alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threads;

impl Workers for Threads {
    fn all<T: Send>(&self, count: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let next = AtomicUsize::new(0);
        let work = || {
            let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            let mine = numbers.take_while(|&number| number < count);
            mine.map(|number| (number, task(number)))
                .collect::<Vec<_>>()
        };
        let mut done = scope(|scope| {
            let helpers = (1..count).map_while(|_| Helper::find());
            // A thread that cannot be had is no help, and no harm.
            let helpers: Vec<_> = helpers
                .map_while(|helper| {
                    let work = &work;
                    let name = Builder::new().name("query".to_owned());
                    let help = move || {
                        let _helper = helper;
                        work()
                    };
                    name.spawn_scoped(scope, help).ok()
                })
                .collect();
            let mut done = work();
            for helper in helpers {
                done.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            done
        });
        done.sort_unstable_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, answer)| answer).collect()
    }
}

/// One of the helpers, for as long as it is held.
struct Helper;

static HELPING: AtomicUsize = AtomicUsize::new(0);
static HELPERS: LazyLock<usize> = LazyLock::new(|| {
    available_parallelism().map_or(0, |processors| NonZeroUsize::get(processors) - 1)
});

impl Helper {
    fn find() -> Option<Self> {
        let one_more = |helping| (helping < *HELPERS).then_some(helping + 1);
        let found = HELPING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        found.ok().map(|_| Self)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        HELPING.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_and_answers_come_in_order() {
        for count in [0, 1, 2, 100] {
            let done = AtomicUsize::new(0);

            let answers = Threads.all(count, |number| {
                done.fetch_add(1, Ordering::Relaxed);
                number * 2
            });

            assert_eq!(
                answers,
                (0..count).map(|number| number * 2).collect::<Vec<_>>()
            );
            assert_eq!(done.into_inner(), count);
        }
    }

    #[test]
    fn many_at_once_share_the_helpers() {
        let sums = Threads.all(20, |n| {
            Threads.all(20, |m| n * m).into_iter().sum::<usize>()
        });

        assert_eq!(sums, (0..20).map(|n| n * 190).collect::<Vec<_>>());
    }
}
