//! `tail`: what happens in a running emulator, as it happens.

mod line;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use iothub_backend::{TimelineFrom, TimelineLines, TimelineRequest};
use iothub_protocol::{ClientId, Timestamp};
use serde_json::Value;

use super::context::CliContext;
use super::output::{progress, write_line};

/// Prints what happens: who comes and goes, telemetry, calls, twins, messages, refusals; and, when
/// asked for, every operation and every packet on the wire.
#[derive(Debug, Args)]
pub(crate) struct TailCommand {
    #[command(flatten)]
    context: CliContext,
    /// What to print [default: everything but operations and wire].
    #[arg(value_enum, value_name = "WHAT")]
    what: Vec<What>,
    /// Only this device and its modules, or only this module: `d1`, `d1/m1`.
    #[arg(long, short = 'd', visible_alias = "device-id", value_name = "ID")]
    device: Option<String>,
    /// One JSON document a line.
    #[arg(long)]
    json: bool,
    /// Begin with the oldest that the emulator remembers.
    #[arg(long, conflicts_with = "since")]
    from_start: bool,
    /// Begin with what happened within this time, such as `90s`, `10m` or `2h`.
    #[arg(long, value_parser = duration)]
    since: Option<Duration>,
    /// End after what is there, or was asked for, instead of waiting for more.
    #[arg(long)]
    no_follow: bool,
    /// End after so many lines.
    #[arg(long, value_name = "LINES")]
    count: Option<usize>,
    /// With `wire` and `--json`: so many bytes of each packet in hexadecimal.
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 0,
        hide_default_value = true
    )]
    hex: usize,
}

/// What can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Messages of devices, as they are stored.
    Telemetry,
    /// Direct methods, called and ended.
    Methods,
    /// Twins, written.
    Twins,
    /// Who comes and goes, and who is not let in.
    Connections,
    /// Cloud-to-device messages.
    Messages,
    /// Identities, created, changed and deleted.
    Identities,
    /// Faults that fired.
    Faults,
    /// Operations that were refused.
    Refusals,
    /// Every operation.
    Operations,
    /// Every packet.
    Wire,
}

/// What is printed unless it is said.
const USUAL: [What; 8] = [
    What::Telemetry,
    What::Methods,
    What::Twins,
    What::Connections,
    What::Messages,
    What::Identities,
    What::Faults,
    What::Refusals,
];

impl TailCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        if let Some(device) = &self.device
            && ClientId::parse(device).is_err()
        {
            bail!("{device:?} is no device, and no module of one");
        }
        let not_before = match self.since {
            None => None,
            Some(since) => {
                let now = self.context.emulator_time().await?;
                Some(Timestamp::from_ticks(
                    now.ticks() - i64::try_from(since.as_nanos() / 100).unwrap_or(i64::MAX),
                ))
            }
        };
        let lines = self.context.timeline()?.read(&self.request()).await;
        let lines = lines.map_err(|error| self.context.unanswered(error))?;
        tokio::select! {
            printed = self.print(lines, not_before) => printed,
            // Whoever has seen enough has not failed.
            interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        }
    }

    async fn print(
        &self,
        mut lines: TimelineLines,
        not_before: Option<Timestamp>,
    ) -> anyhow::Result<()> {
        let colour = !self.json
            && std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let mut printed = 0;
        while self.count.is_none_or(|count| printed < count) {
            let Some(line) = lines.next().await? else {
                if !self.no_follow {
                    progress(format_args!("the emulator has ended"));
                }
                break;
            };
            if !self.wants(&line) || not_before.is_some_and(|time| is_before(&line, time)) {
                continue;
            }
            printed += 1;
            let text = match self.json {
                true => line.to_string(),
                false => line::of(&line, colour),
            };
            if !write_line(&text)? {
                break;
            }
        }
        Ok(())
    }

    fn request(&self) -> TimelineRequest {
        let mut kinds = Vec::new();
        let mut events = Vec::new();
        for what in self.what() {
            let kind = what.kind();
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
            events.extend(what.events());
        }
        if self.wants_any(&[What::Connections]) {
            kinds.push("refusal");
        }
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        TimelineRequest {
            kinds: owned(kinds),
            events: owned(events),
            client: self.device.clone(),
            from: match self.from_start || self.since.is_some() {
                true => TimelineFrom::Start,
                false => TimelineFrom::Now,
            },
            follow: !self.no_follow,
            hex: self.hex,
        }
    }

    fn what(&self) -> &[What] {
        match self.what.is_empty() {
            true => &USUAL,
            false => &self.what,
        }
    }

    fn wants_any(&self, any: &[What]) -> bool {
        self.what().iter().any(|what| any.contains(what))
    }

    /// Of operations, those are sent, too, that only one of several wishes needs.
    fn wants(&self, line: &Value) -> bool {
        if line["kind"] != "operation" {
            return true;
        }
        let refused = !line["refusal"].is_null();
        let connect = line["operation"] == "connect";
        self.wants_any(&[What::Operations])
            || (refused && self.wants_any(&[What::Refusals]))
            || (refused && connect && self.wants_any(&[What::Connections]))
    }
}

impl What {
    /// The kind of entries that it is among.
    fn kind(self) -> &'static str {
        match self {
            Self::Refusals => "refusal",
            Self::Operations => "operation",
            Self::Wire => "wire",
            Self::Telemetry
            | Self::Methods
            | Self::Twins
            | Self::Connections
            | Self::Messages
            | Self::Identities
            | Self::Faults => "notice",
        }
    }

    /// The names of its notices.
    fn events(self) -> &'static [&'static str] {
        match self {
            Self::Telemetry => &["telemetryStored"],
            Self::Methods => &["methodInvoked", "methodEnded"],
            Self::Twins => &["twinChanged"],
            Self::Connections => &["connected", "disconnected"],
            Self::Messages => &["c2dSent", "c2dDelivered", "c2dReturned", "c2dEnded"],
            Self::Identities => &["identityChanged"],
            Self::Faults => &["faultFired"],
            Self::Refusals | Self::Operations | Self::Wire => &[],
        }
    }
}

fn is_before(line: &Value, time: Timestamp) -> bool {
    let at = line["at"].as_str().and_then(Timestamp::parse_iso);
    at.is_some_and(|at| at < time)
}

/// A number with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?}: expected a number and a unit, such as 90s, 10m or 2h");
    let unit_at = text.len() - text.chars().next_back().map_or(0, char::len_utf8);
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let seconds = |text| duration(text).map(|it| it.as_secs());

        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("10m"), Ok(600));
        assert_eq!(seconds("2h"), Ok(7200));
        for wrong in ["", "s", "90", "-1s", "1 s", "1ä", "99999999999s"] {
            assert!(seconds(wrong).is_err(), "{wrong:?}");
        }
    }
}
