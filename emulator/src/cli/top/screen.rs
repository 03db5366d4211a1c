//! What the screen shows: samples become lines of styled text. No terminal is needed for it.

use std::cmp::Reverse;
use std::collections::VecDeque;

use serde_json::Value;

use super::numbers::{bytes, microseconds, short, sparkline};

/// What was told so far, and how it is looked at.
pub(super) struct Screen {
    url: String,
    /// The newest sample that is shown.
    sample: Value,
    /// The rates of the last samples, in the order of [`RATES`].
    history: [VecDeque<f64>; RATES.len()],
    paused: bool,
    sort: Sort,
    /// Whether the emulator has gone.
    lost: bool,
}

/// What operations are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Rate,
    Slowness,
    Name,
}

/// How much room there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) width: usize,
    /// `None`: as much as is needed, once, with no one to press keys.
    pub(super) height: Option<usize>,
}

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Plain,
    Strong,
    Faint,
    Chart,
    Alarm,
}

/// Pieces of text that follow each other.
pub(super) type Line = Vec<(Style, String)>;

/// Rates by their names in samples, and for people.
const RATES: [(&str, &str); 7] = [
    ("telemetry", "telemetry"),
    ("telemetry_bytes", "  bytes"),
    ("methods", "methods"),
    ("twins", "twins"),
    ("c2d", "c2d"),
    ("requests", "operations"),
    ("refused", "refused"),
];
/// Samples that are remembered.
const HISTORY: usize = 300;
/// From this width on, things stand beside each other.
const WIDE: usize = 80;
/// Rows of a list when there is room for any number.
const ROWS: usize = 10;

impl Screen {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            sample: Value::Null,
            history: Default::default(),
            paused: false,
            sort: Sort::Rate,
            lost: false,
        }
    }

    /// Shows a sample, unless the screen stands still.
    pub(super) fn take(&mut self, sample: Value) {
        self.lost = false;
        if self.paused {
            return;
        }
        let is_first = sample["interval_ms"] == 0;
        for ((name, _), history) in RATES.iter().zip(&mut self.history) {
            if is_first {
                continue;
            }
            if history.len() == HISTORY {
                history.pop_front();
            }
            history.push_back(number(&sample["rates"][name]));
        }
        self.sample = sample;
    }

    /// The emulator has gone.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    pub(super) fn toggle_pause(&mut self) {
        self.paused = !self.paused;
    }

    pub(super) fn sort_by_next(&mut self) {
        self.sort = match self.sort {
            Sort::Rate => Sort::Slowness,
            Sort::Slowness => Sort::Name,
            Sort::Name => Sort::Rate,
        };
    }

    /// The lines, each no longer than the width; no more than the height.
    pub(super) fn render(&self, look: Look) -> Vec<Line> {
        let mut lines = vec![self.headline(), Line::new()];
        lines.extend(self.overview(look));
        lines.push(Line::new());
        let keys = look.height.is_some();
        let room = look.height.map_or(usize::MAX, |height| {
            height.saturating_sub(lines.len() + usize::from(keys) + 3)
        });
        let operations = self.operations();
        let shown = operations.len().min((room / 2).max(3)).min(room);
        lines.extend(table(
            &["OPERATION", "PER S", "P50", "P99", "REFUSED"],
            &operations,
            shown,
        ));
        lines.push(Line::new());
        let room = room
            .saturating_sub(shown)
            .min(if keys { usize::MAX } else { ROWS });
        lines.extend(self.ranking(look.width, room));
        if let Some(height) = look.height {
            lines.truncate(height.saturating_sub(1));
            lines.resize(height.saturating_sub(1), Line::new());
            lines.push(self.keys());
            lines.truncate(height);
        }
        for line in &mut lines {
            cut(line, look.width);
        }
        lines
    }

    fn headline(&self) -> Line {
        let time = text(&self.sample["at"]);
        let time = time.split_once('.').map_or(time, |(whole, _)| whole);
        let mut line = vec![(Style::Strong, "iothub-emulator".to_owned())];
        // First, so that a narrow screen has room for it.
        if self.lost {
            line.push((Style::Alarm, "  gone, asked for again".to_owned()));
        }
        if self.paused {
            line.push((Style::Alarm, "  paused".to_owned()));
        }
        let up = span(number(&self.sample["uptime_seconds"]));
        line.push((Style::Faint, format!("  {}", self.url)));
        line.push((Style::Plain, format!("  up {up}")));
        line.push((Style::Faint, format!("  {}", time.replace('T', " "))));
        if self.sample["frozen"] == true {
            line.push((Style::Alarm, " frozen".to_owned()));
        }
        line
    }

    /// Rates with their charts, and beside them what there is.
    fn overview(&self, look: Look) -> Vec<Line> {
        let facts = self.facts();
        let wide = look.width >= WIDE;
        let chart = match (look.height, wide) {
            (None, _) => 0,
            (Some(_), true) => look.width.saturating_sub(68),
            (Some(_), false) => look.width.saturating_sub(24),
        };
        let mut lines = Vec::new();
        for (index, (name, title)) in RATES.iter().enumerate() {
            let rate = number(&self.sample["rates"][name]);
            let value = match *name {
                "telemetry_bytes" => bytes(rate),
                _ => short(rate),
            };
            let style = match *name {
                "refused" if rate > 0.0 => Style::Alarm,
                _ => Style::Strong,
            };
            let history = self.history[index].iter().copied();
            let mut line = vec![
                (Style::Plain, format!("{title:<11}")),
                (style, format!("{value:>9}/s ")),
            ];
            if chart > 0 {
                let bars = sparkline(history, chart);
                line.push((Style::Chart, format!("{bars:<chart$}")));
            }
            if wide && let Some((name, value)) = facts.get(index) {
                line.push((Style::Faint, format!("  {name:<13}")));
                line.push((Style::Plain, value.clone()));
            }
            lines.push(line);
        }
        if !wide {
            let facts = facts
                .iter()
                .take(3)
                .map(|(name, value)| format!("{name} {value}"));
            let facts = facts.collect::<Vec<_>>().join("  ");
            lines.push(vec![(Style::Faint, facts)]);
        }
        lines
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let sample = &self.sample;
        let by_protocol = sample["connections"].as_object().map(|all| {
            let all = all.iter().filter(|(name, _)| *name != "total");
            let all: Vec<_> = all
                .map(|(name, count)| format!("{} {}", printable(name), short(number(count))))
                .collect();
            all.join(", ")
        });
        let total = short(number(&sample["connections"]["total"]));
        let connections = match by_protocol.filter(|it| !it.is_empty()) {
            Some(by_protocol) => format!("{total} ({by_protocol})"),
            None => total,
        };
        let devices = short(number(&sample["devices"]));
        let modules = number(&sample["modules"]);
        let memory = match sample["memory_bytes"].as_f64() {
            Some(memory) => bytes(memory),
            None => "unknown".to_owned(),
        };
        let quota = match sample["quota"]["limit"].as_f64() {
            Some(limit) => format!(
                "{} of {} messages",
                short(number(&sample["quota"]["used"])),
                short(limit)
            ),
            None => "none".to_owned(),
        };
        vec![
            ("connections", connections),
            ("devices", format!("{devices}, modules {}", short(modules))),
            ("c2d waiting", short(number(&sample["c2d_waiting"]))),
            (
                "not emulated",
                short(number(&sample["totals"]["not_emulated"])),
            ),
            ("quota", quota),
            ("memory", memory),
            (
                "observers",
                format!(
                    "{}, dropped {}",
                    short(number(&sample["observers"])),
                    short(number(&sample["dropped_observations"]))
                ),
            ),
        ]
    }

    /// Operations of the last interval.
    fn operations(&self) -> Vec<Vec<String>> {
        let seconds = number(&self.sample["interval_ms"]) / 1000.0;
        let Some(latency) = self.sample["latency"].as_object() else {
            return Vec::new();
        };
        let mut operations: Vec<_> = latency.iter().collect();
        match self.sort {
            Sort::Rate => operations.sort_by_key(|(_, it)| Reverse(whole(&it["count"]))),
            Sort::Slowness => operations.sort_by_key(|(_, it)| Reverse(whole(&it["p99_us"]))),
            Sort::Name => operations.sort_by_key(|(name, _)| name.to_owned()),
        }
        let row = |(name, it): (&String, &Value)| {
            let count = number(&it["count"]);
            let rate = if seconds > 0.0 { count / seconds } else { 0.0 };
            let refused = &self.sample["operations"][name]["refused"];
            vec![
                printable(name),
                short(rate),
                microseconds(number(&it["p50_us"])),
                microseconds(number(&it["p99_us"])),
                short(number(refused)),
            ]
        };
        operations.into_iter().map(row).collect()
    }

    /// The busiest clients and the slowest operations, side by side where there is room.
    fn ranking(&self, width: usize, room: usize) -> Vec<Line> {
        let busiest: Vec<_> = items(&self.sample["busiest"])
            .map(|it| vec![printable(text(&it["client"])), short(number(&it["rate"]))])
            .collect();
        let slowest: Vec<_> = items(&self.sample["slowest"])
            .map(|it| {
                let whom = [text(&it["client"]), text(&it["refusal"])];
                let whom: Vec<_> = whom.into_iter().filter(|it| !it.is_empty()).collect();
                vec![
                    printable(text(&it["operation"])),
                    microseconds(number(&it["ms"]) * 1000.0),
                    printable(&whom.join(" ")),
                ]
            })
            .collect();
        let wide = width >= WIDE;
        let room = if wide {
            room
        } else {
            room.saturating_sub(2) / 2
        };
        let busiest = table(&["BUSIEST", "PER S"], &busiest, room);
        let slowest = table(&["SLOWEST OF THE MINUTE", "TOOK", "WHOM"], &slowest, room);
        if !wide {
            return [busiest, vec![Line::new()], slowest].concat();
        }
        let left = width * 2 / 5;
        let count = busiest.len().max(slowest.len());
        let (mut busiest, mut slowest) = (busiest.into_iter(), slowest.into_iter());
        (0..count)
            .map(|_| {
                let mut line = busiest.next().unwrap_or_default();
                cut(&mut line, left - 2);
                let gap = left - length(&line);
                line.push((Style::Plain, " ".repeat(gap)));
                line.extend(slowest.next().unwrap_or_default());
                line
            })
            .collect()
    }

    fn keys(&self) -> Line {
        let sort = match self.sort {
            Sort::Rate => "rate",
            Sort::Slowness => "slowness",
            Sort::Name => "name",
        };
        let pause = if self.paused { "go on" } else { "pause" };
        let key = |name: &str| (Style::Strong, name.to_owned());
        vec![
            key("q"),
            (Style::Faint, " quit   ".to_owned()),
            key("p"),
            (Style::Faint, format!(" {pause}   ")),
            key("s"),
            (Style::Faint, format!(" sort by {sort}")),
        ]
    }
}

/// A header and rows in columns: the first is left-aligned, and the last one if it is text; numbers
/// are right-aligned.
fn table(header: &[&str], rows: &[Vec<String>], count: usize) -> Vec<Line> {
    let rows = &rows[..rows.len().min(count)];
    let widths: Vec<_> = header
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells
                .chain([title.chars().count()])
                .max()
                .unwrap_or_default()
        })
        .collect();
    let line = |style, cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| {
                let left = column == 0 || header[column] == "WHOM";
                let text = match left {
                    true => format!("{cell:<width$}  "),
                    false => format!("{cell:>width$}  "),
                };
                (style, text)
            });
        cells.collect::<Line>()
    };
    let head = line(Style::Faint, &mut header.iter().copied());
    let rows = rows
        .iter()
        .map(|row| line(Style::Plain, &mut row.iter().map(String::as_str)));
    std::iter::once(head).chain(rows).collect()
}

/// The lines without their looks.
pub(super) fn plain(lines: &[Line]) -> String {
    let mut out = String::new();
    for line in lines {
        let text: String = line.iter().map(|(_, text)| text.as_str()).collect();
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

fn length(line: &Line) -> usize {
    line.iter().map(|(_, text)| text.chars().count()).sum()
}

/// No longer than so many characters.
fn cut(line: &mut Line, width: usize) {
    let mut left = width;
    for (_, text) in line.iter_mut() {
        let count = text.chars().count();
        if count > left {
            *text = text.chars().take(left).collect();
        }
        left = left.saturating_sub(count);
    }
}

/// Without what a terminal would obey.
fn printable(text: &str) -> String {
    let seen = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(seen).collect()
}

fn span(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {} s", seconds % 60),
        (_, _) => format!("{hours} h {minutes} min"),
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests;
