//! How far long work has come, for a person who waits: a line on the terminal's standard error.
//! Scripts, pipes and whoever says `--quiet` see nothing of it.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Whether anybody wants to see how far things are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    /// Shown on a terminal that can redraw a line, unless it shall be quiet.
    pub(super) fn new(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|kind| kind == "dumb");
        Self {
            shown: !quiet && !dumb && std::io::stderr().is_terminal(),
        }
    }

    /// Whether somebody sees it: otherwise a command may say in lines how far it is.
    pub(super) fn is_shown(self) -> bool {
        self.shown
    }

    /// A bar for `total` things; its line goes when it is dropped. It has no colours, so that
    /// there is nothing for `NO_COLOR` to take away.
    pub(super) fn bar(self, what: &'static str, total: u64) -> Bar {
        let target = if self.shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style = ProgressStyle::with_template(
            "{msg} {bar:30} {human_pos} of {human_len} ({per_sec}, {eta} left)",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(Some(total), target)
            .with_style(style)
            .with_message(what);
        // At once: the first thing may take long.
        bar.tick();
        Bar(bar)
    }
}

/// A bar on the terminal, or nothing at all.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// So many more are done.
    pub(super) fn advance(&self, count: u64) {
        self.0.inc(count);
    }

    /// So many are done of so many: for work whose size is learned on the way.
    pub(super) fn set(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
