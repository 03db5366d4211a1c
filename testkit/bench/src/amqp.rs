//! AMQP: events to consumers that only count, telemetry in, messages with their feedback, idle
//! connections and links. There is no peer: no broker beside it speaks AMQP 1.0 as a hub does.

use crate::cases::{Bench, Entry, Verdict};
use crate::server::Kind;
use crate::table::{Table, cell};

impl Bench {
    pub(crate) fn amqp(&self, verdicts: &mut Vec<Verdict>) -> anyhow::Result<String> {
        let mut tables = self.events_read(verdicts)?;
        tables += &self.telemetry_over_amqp()?;
        tables += &self.trips_over_amqp()?;
        tables += &self.idle_over_amqp(verdicts)?;
        Ok(tables)
    }

    fn events_read(&self, verdicts: &mut Vec<Verdict>) -> anyhow::Result<String> {
        let columns = [
            "deliveries",
            "events/s",
            "server CPU each",
            "server CPU",
            "device over MQTT to consumer, p50",
            "p99",
        ];
        let title = "Built-in endpoint: events of 100 B to one consumer over AMQP that counts";
        let mut table = Table::new(title, &columns);
        for (name, how) in [("unsettled", ""), ("settled", " --settled")] {
            let load = format!("events --messages 400000{how}");
            let entries = self.measure(vec![Entry::new(Kind::Emulator, &load)])?;
            table.row(&[
                name.into(),
                entries[0].cell("per_second", 1.0, ""),
                entries[0].cell("cpu_us", 1.0, "µs"),
                entries[0].cell("cpu_percent", 1.0, "%"),
                entries[0].cell("p50_us", 1.0, "µs"),
                entries[0].cell("p99_us", 1.0, "µs"),
            ]);
            verdicts.push([
                format!("events of 100 B to one consumer over AMQP, {name}, events/s"),
                entries[0].cell("per_second", 1.0, ""),
                String::new(),
                "≥ 500k/s".into(),
            ]);
        }
        Ok(table.into_text())
    }

    fn telemetry_over_amqp(&self) -> anyhow::Result<String> {
        let columns = [
            "load",
            "messages/s",
            "server CPU each",
            "p50",
            "p99",
            "lost (worst round)",
        ];
        let mut table = Table::new("Telemetry over AMQP", &columns);
        for (name, devices, how) in [
            ("1 × 100 B, accepted", 1, ""),
            ("1 × 100 B, settled", 1, " --settled"),
            ("50 × 100 B, accepted", 50, ""),
            ("50 × 100 B, settled", 50, " --settled"),
        ] {
            let seconds = self.seconds;
            let load = format!("amqp-telemetry --devices {devices} --seconds {seconds}{how}");
            let entries = self.measure(vec![Entry::new(Kind::Emulator, &load)])?;
            table.row(&[
                name.into(),
                entries[0].cell("per_second", 1.0, ""),
                entries[0].cell("cpu_us", 1.0, "µs"),
                entries[0].cell("p50_us", 1.0, "µs"),
                entries[0].cell("p99_us", 1.0, "µs"),
                cell(entries[0].sample.max("lost"), ""),
            ]);
        }
        Ok(table.into_text())
    }

    fn trips_over_amqp(&self) -> anyhow::Result<String> {
        let columns = ["trip", "p50", "p99"];
        let mut table = Table::new("One after the other, over AMQP", &columns);
        for (name, load) in [
            (
                "cloud-to-device: back end over AMQP, device over MQTT",
                "c2d --amqp",
            ),
            (
                "the same, and its feedback over AMQP",
                "c2d --amqp --feedback",
            ),
        ] {
            let load = format!("{load} --seconds {}", self.seconds);
            let entries = self.measure(vec![Entry::new(Kind::Emulator, &load)])?;
            table.row(&[
                name.into(),
                entries[0].cell("p50_us", 1.0, "µs"),
                entries[0].cell("p99_us", 1.0, "µs"),
            ]);
        }
        Ok(table.into_text())
    }

    fn idle_over_amqp(&self, verdicts: &mut Vec<Verdict>) -> anyhow::Result<String> {
        const FEW: f64 = 1.0;
        const MANY: f64 = 11.0;
        let columns = ["links of each", "memory each", "logins/s", "CPU per login"];
        let mut table = Table::new("2,000 idle AMQP connections", &columns);
        let mut memory = Vec::new();
        for links in [FEW, MANY] {
            let load = format!("amqp-idle --devices 2000 --links {links} --seconds 1");
            let entries = self.measure(vec![Entry::new(Kind::Emulator, &load)])?;
            table.row(&[
                links.to_string(),
                entries[0].cell("rss_each", 1.0 / 1024.0, "KiB"),
                entries[0].cell("per_second", 1.0, ""),
                entries[0].cell("cpu_us", 1.0, "µs"),
            ]);
            memory.push(entries[0].sample.median("rss_each"));
        }
        let per_link = match memory[..] {
            [Some(few), Some(many)] => Some((many - few) / (MANY - FEW)),
            _ => None,
        };
        for (name, bytes) in [
            ("memory per idle AMQP connection with one link", memory[0]),
            ("memory per further link", per_link),
        ] {
            let kibibytes = bytes.map(|bytes| bytes / 1024.0);
            verdicts.push([
                name.into(),
                cell(kibibytes, "KiB"),
                String::new(),
                String::new(),
            ]);
        }
        Ok(table.into_text())
    }
}
