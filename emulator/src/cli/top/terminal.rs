//! The terminal: another screen and single keys while this lives, as it was before afterwards.

use std::io::{self, Read, Write};
use std::sync::OnceLock;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use super::screen::{Line, Look, Screen, Style};

/// How the terminal was before.
static BEFORE: OnceLock<Termios> = OnceLock::new();

/// The other screen, no cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// The usual looks and screen, the cursor.
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";
/// Keys that wait.
const KEYS: usize = 16;

/// The terminal while it is ours.
pub(super) struct Terminal {
    /// Whether people want colours (no-color.org).
    colours: bool,
}

impl Terminal {
    /// Takes the terminal over. A panic gives it back before it says what happened.
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        if BEFORE.set(before).is_ok() {
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                leave();
                hook(info);
            }));
        }
        // From here on, dropping it gives the terminal back.
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = Self { colours };
        io::stdout().lock().write_all(ENTER.as_bytes())?;
        Ok(terminal)
    }

    /// The keys that are pressed from now on.
    pub(super) fn keys(&self) -> mpsc::Receiver<u8> {
        let (sender, receiver) = mpsc::channel(KEYS);
        // A thread, since reading keys cannot be given up; it ends with the process.
        std::thread::spawn(move || {
            for key in io::stdin().lock().bytes().map_while(Result::ok) {
                if sender.blocking_send(key).is_err() {
                    break;
                }
            }
        });
        receiver
    }

    /// Shows the screen as it is now.
    pub(super) fn draw(&mut self, screen: &Screen) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout())?;
        let look = Look {
            width: usize::from(size.ws_col).max(1),
            height: Some(usize::from(size.ws_row).max(1)),
        };
        let text = self.encode(&screen.render(look));
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn encode(&self, lines: &[Line]) -> String {
        let mut out = String::from("\x1b[H");
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                out.push_str("\r\n");
            }
            for (style, text) in line {
                out.push_str(self.code(*style));
                out.push_str(text);
                out.push_str("\x1b[0m");
            }
            out.push_str("\x1b[K");
        }
        out.push_str("\x1b[J");
        out
    }

    fn code(&self, style: Style) -> &'static str {
        match (style, self.colours) {
            (Style::Plain, _) => "",
            (Style::Strong, _) => "\x1b[1m",
            (Style::Faint, _) => "\x1b[2m",
            (Style::Chart, true) => "\x1b[36m",
            (Style::Chart, false) => "",
            (Style::Alarm, true) => "\x1b[1;33m",
            (Style::Alarm, false) => "\x1b[1m",
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        leave();
    }
}

/// As it was before. What fails here fails with the terminal itself.
fn leave() {
    let mut out = io::stdout().lock();
    let _ = out.write_all(LEAVE.as_bytes());
    let _ = out.flush();
    if let Some(before) = BEFORE.get() {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
    }
}

/// How wide the terminal is that is written to, if it is one.
pub(super) fn width() -> Option<usize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}
