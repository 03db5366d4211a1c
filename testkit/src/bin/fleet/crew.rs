//! Many tasks on few threads, all ready before any starts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::progress::Bar;

/// What a task of a crew does, given the stage.
pub(crate) type Task<T> = Box<dyn FnOnce(Arc<Stage>) -> TaskFuture<T> + Send>;
type TaskFuture<T> = Pin<Box<dyn Future<Output = anyhow::Result<T>> + Send>>;

/// Connections that are opened at a time, so that no accept queue overflows.
const LOGINS_AT_A_TIME: usize = 64;

/// Tells the tasks of a crew when to begin and when to end.
#[derive(Debug)]
pub(crate) struct Stage {
    logins: Semaphore,
    ready: mpsc::Sender<anyhow::Result<()>>,
    started: watch::Sender<bool>,
    stopped: AtomicBool,
    stopping: watch::Sender<bool>,
}

/// Tasks that have logged in and wait for the start.
#[derive(Debug)]
pub(crate) struct Crew<T> {
    stage: Arc<Stage>,
    threads: Vec<oneshot::Receiver<anyhow::Result<Vec<T>>>>,
}

impl Stage {
    /// Logs in with a few others at a time, then waits until everyone has and the crew is started.
    pub(crate) async fn log_in<T>(
        &self,
        login: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let permit = self.logins.acquire().await?;
        let logged_in = login.await?;
        drop(permit);
        // Nobody listens any more once another task has failed.
        let _ = self.ready.send(Ok(())).await;
        self.started
            .subscribe()
            .wait_for(|started| *started)
            .await?;
        Ok(logged_in)
    }

    /// Whether it is time to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Waits until it is time to end.
    pub(crate) async fn stopped(&self) {
        // The sender lives in the same value.
        let _ = self.stopping.subscribe().wait_for(|stopped| *stopped).await;
    }
}

impl<T: Send + 'static> Crew<T> {
    /// Spreads tasks over threads and waits until all have logged in, or one has failed.
    pub(crate) async fn muster(threads: usize, tasks: Vec<Task<T>>) -> anyhow::Result<Self> {
        let count = tasks.len();
        // A full queue makes tasks wait until they have been counted.
        let (ready, mut ready_tasks) = mpsc::channel(64);
        let stage = Arc::new(Stage {
            logins: Semaphore::new(LOGINS_AT_A_TIME),
            ready,
            started: watch::Sender::new(false),
            stopped: AtomicBool::new(false),
            stopping: watch::Sender::new(false),
        });

        let mut shares: Vec<Vec<Task<T>>> = (0..threads.clamp(1, count.max(1)))
            .map(|_| Vec::new())
            .collect();
        let share_count = shares.len();
        for (index, task) in tasks.into_iter().enumerate() {
            shares[index % share_count].push(task);
        }
        let mut threads = Vec::new();
        for share in shares {
            let (sender, receiver) = oneshot::channel();
            let stage = stage.clone();
            std::thread::Builder::new()
                .name("fleet".into())
                .spawn(move || {
                    // Nobody listens when the crew has been given up.
                    let _ = sender.send(run(share, &stage));
                })?;
            threads.push(receiver);
        }

        let bar = Bar::new("connecting", count as u64);
        for _ in 0..count {
            ready_tasks.recv().await.context("no task is left")??;
            bar.advance(1);
        }
        Ok(Self { stage, threads })
    }

    /// Lets all tasks begin.
    pub(crate) fn start(&self) {
        self.stage.started.send_replace(true);
    }

    /// Asks all tasks to end.
    pub(crate) fn stop(&self) {
        self.stage.stopped.store(true, Ordering::Relaxed);
        self.stage.stopping.send_replace(true);
    }

    /// Waits for all tasks; the first failure of one is the crew's.
    pub(crate) async fn finish(self) -> anyhow::Result<Vec<T>> {
        let mut results = Vec::new();
        for thread in self.threads {
            results.extend(
                thread
                    .await
                    .context("a thread of the fleet has ended early")??,
            );
        }
        Ok(results)
    }
}

fn run<T: Send + 'static>(tasks: Vec<Task<T>>, stage: &Arc<Stage>) -> anyhow::Result<Vec<T>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut set = JoinSet::new();
        for task in tasks {
            let stage = stage.clone();
            set.spawn(async move {
                let result = task(stage.clone()).await;
                if let Err(error) = &result {
                    // While the crew is mustered, this ends it; afterwards nobody listens.
                    let _ = stage.ready.send(Err(anyhow::anyhow!("{error:#}"))).await;
                }
                result
            });
        }
        let mut results = Vec::new();
        while let Some(result) = set.join_next().await {
            results.push(result.context("a task of the fleet has panicked")??);
        }
        Ok(results)
    })
}
