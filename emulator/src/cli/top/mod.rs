//! `top`: what a running emulator does, on a screen of the terminal that goes on by itself.

mod numbers;
mod screen;
mod terminal;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use iothub_backend::{EmulatorStream, Error};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::context::CliContext;
use super::output;
use crate::clock;
use screen::{Look, Screen};
use terminal::Terminal;

/// Show rates, connections, the busiest devices and the slowest calls, live.
#[derive(Debug, Args)]
pub(crate) struct TopCommand {
    #[command(flatten)]
    context: CliContext,
    /// Print one table and end, which is also what happens when standard output is no terminal.
    #[arg(long)]
    once: bool,
    /// Milliseconds between two looks, 100 to 60000.
    #[arg(
        long,
        default_value_t = 1000,
        value_name = "MILLISECONDS",
        value_parser = clap::value_parser!(u64).range(100..=60_000)
    )]
    interval: u64,
}

/// How many of the busiest and slowest to ask for; a screen has seldom room for more.
const RANK: usize = 50;
/// How long a terminal is unless it says.
const WIDTH: usize = 100;
/// How long to wait before an emulator that has gone is asked for again.
const PATIENCE: Duration = Duration::from_secs(1);

impl TopCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stream = self.open().await.with_context(|| {
            let address = self.context.address();
            format!(
                "no stream of numbers from {}; is an emulator running there?",
                address.url()
            )
        })?;
        if self.once || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            return self.print_once(stream).await;
        }
        let mut terminal = Terminal::enter().context("use the terminal")?;
        let ended = self.watch(&mut terminal, stream).await;
        // Before anything is printed.
        drop(terminal);
        ended
    }

    async fn open(&self) -> Result<EmulatorStream, Error> {
        let path = format!("/_emulator/stats?interval={}&rank={RANK}", self.interval);
        EmulatorStream::open(self.context.address(), &path).await
    }

    async fn print_once(&self, mut stream: EmulatorStream) -> anyhow::Result<()> {
        let mut screen = self.screen();
        // The first one has nothing to compare with.
        for _ in 0..2 {
            let Some(sample) = next(&mut stream).await? else {
                bail!("the emulator is stopping");
            };
            screen.take(sample);
        }
        let width = terminal::width().unwrap_or(WIDTH);
        let look = Look {
            width,
            height: None,
        };
        output::text(&screen::plain(&screen.render(look)))
    }

    fn screen(&self) -> Screen {
        Screen::new(self.context.address().url().to_owned())
    }

    /// The next sample; `None` when there is none: the stream has ended, or is opened again after a
    /// while. Safe to drop half-way.
    async fn follow(&self, stream: &mut Option<EmulatorStream>) -> Option<Value> {
        let Some(open) = stream else {
            clock::rest(PATIENCE).await;
            *stream = self.open().await.ok();
            return None;
        };
        let sample = next(open).await.ok().flatten();
        if sample.is_none() {
            *stream = None;
        }
        sample
    }

    /// Until somebody has had enough.
    async fn watch(&self, terminal: &mut Terminal, stream: EmulatorStream) -> anyhow::Result<()> {
        let mut screen = self.screen();
        let mut stream = Some(stream);
        let mut keys = terminal.keys();
        let mut resized = signal(SignalKind::window_change())?;
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            terminal.draw(&screen)?;
            tokio::select! {
                // Keys are heard also while an emulator is asked for that does not answer.
                told = self.follow(&mut stream) => match told {
                    Some(sample) => screen.take(sample),
                    None => screen.lose(),
                },
                key = keys.recv() => match key {
                    Some(b'p') => screen.toggle_pause(),
                    Some(b's') => screen.sort_by_next(),
                    // Ctrl-C and Ctrl-D are keys like others in this mode.
                    Some(b'q' | 3 | 4) | None => return Ok(()),
                    Some(_) => {}
                },
                _ = resized.recv() => {}
                _ = terminate.recv() => return Ok(()),
            }
        }
    }
}

async fn next(stream: &mut EmulatorStream) -> anyhow::Result<Option<Value>> {
    let event = stream.next_event().await?;
    let sample = event.map(|event| serde_json::from_str(&event.data));
    sample.transpose().context("read a sample")
}
