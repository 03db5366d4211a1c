//! What the operating system tells about the server process.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A process on this machine, read from `/proc`. Everything is `None` where there is no such
/// process, or no `/proc`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(Option<u32>);

impl Process {
    pub(crate) fn new(pid: Option<u32>) -> Self {
        Self(pid)
    }

    /// Processor time spent so far, in user and kernel mode, by all threads.
    pub(crate) fn cpu(self) -> Option<Duration> {
        let stat = self.read("stat")?;
        // The name is in parentheses and may itself have spaces and parentheses.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: u64 =
            fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        // USER_HZ is 100 on every architecture that this runs on.
        Some(Duration::from_millis(ticks * 10))
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(self) -> Option<u64> {
        let status = self.read("status")?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kibibytes * 1024)
    }

    fn read(self, file: &str) -> Option<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0?)).ok()
    }
}

/// Microseconds of processor time between two readings, for each of `count` things.
pub(crate) fn micros_each(
    before: Option<Duration>,
    after: Option<Duration>,
    count: u64,
) -> Option<f64> {
    let spent = after?.checked_sub(before?)?;
    (count > 0).then(|| spent.as_secs_f64() * 1e6 / count as f64)
}

/// Ten thousand connections need ten thousand descriptors; the usual soft limit is 1024.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // What cannot be raised shows itself when a connection cannot be opened.
    let _ = setrlimit(Resource::Nofile, raised);
}
