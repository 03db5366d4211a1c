//! How far a run has come, for a person who waits: a line on the terminal's standard error, drawn
//! twice a second, so that it costs the measurement nothing.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock;

/// Said once, by the command line.
static QUIET: AtomicBool = AtomicBool::new(false);

const EVERY: Duration = Duration::from_millis(500);

/// Shows nothing from now on.
pub(crate) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// A bar for `total` things; its line goes when it is dropped.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|kind| kind == "dumb");
        let shown = !QUIET.load(Ordering::Relaxed) && !dumb && std::io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr_with_hz(2)
        } else {
            ProgressDrawTarget::hidden()
        };
        let style = ProgressStyle::with_template("{msg} {bar:30} {human_pos} of {human_len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        Self(
            ProgressBar::with_draw_target(Some(total), target)
                .with_style(style)
                .with_message(what),
        )
    }

    /// So many more are done.
    pub(crate) fn advance(&self, count: u64) {
        self.0.inc(count);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Lets the time of a run pass.
pub(crate) async fn run_for(duration: Duration) {
    let bar = Bar::new("running, seconds", duration.as_secs());
    let began = clock::now();
    let mut shown = 0;
    while clock::now() < began + duration {
        clock::sleep_until((clock::now() + EVERY).min(began + duration)).await;
        let seconds = (clock::now() - began).as_secs();
        bar.advance(seconds - shown);
        shown = seconds;
    }
}
