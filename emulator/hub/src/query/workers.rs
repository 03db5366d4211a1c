//! Who carries out the parts of a query. The hub says what the parts are, and has no threads.

/// Carries out tasks that do not depend on each other.
pub trait Workers {
    /// Does `task` for every number below `count`, in whatever order or at the same time; answers
    /// in the order of the numbers.
    fn all<T: Send>(&self, count: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T>;
}

/// One task after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct InTurn;

impl Workers for InTurn {
    fn all<T: Send>(&self, count: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
        (0..count).map(task).collect()
    }
}
