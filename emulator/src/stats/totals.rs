//! One look at everything that is counted. It costs the same whatever the number of devices.

use std::collections::BTreeMap;
use std::time::Duration;

use iothub_hub::{Census, Hub, QuotaMeter, ThrottleMeter, Tier};
use iothub_protocol::{Clock, ErrorCode, Timestamp};

use crate::activity::{OperationKind, SpanCounts, Tally};
use crate::clock::Stopwatch;
use crate::handle::HubHandle;

/// What there is and what happened so far.
#[derive(Clone, Debug)]
pub struct Totals {
    /// The hub's time.
    pub at: Timestamp,
    /// Whether it stands still.
    pub frozen: bool,
    /// How long the emulator has been running, in the world's time.
    pub uptime: Duration,
    /// What happened to each operation.
    pub tallies: Vec<Tally>,
    /// How often each operation was refused, by what was answered.
    pub refusals: BTreeMap<(OperationKind, ErrorCode), u64>,
    /// Identities and messages.
    pub census: Census,
    /// Clients that are connected, by protocol.
    pub connections: BTreeMap<&'static str, usize>,
    /// Events that the built-in endpoint has ever got, those of earlier runs included.
    pub events: u64,
    /// Their bytes: bodies and properties.
    pub event_bytes: u64,
    /// How many listen to all that happens.
    pub observers: u64,
    /// What they were too slow for.
    pub dropped_observations: u64,
    /// How often something was asked for that is not emulated.
    pub not_emulated: u64,
    /// Rules of the fault plan.
    pub faults_armed: u64,
    /// Operations that they have acted on.
    pub faults_fired: u64,
    /// Operations that were sent to a collector of traces.
    pub spans: SpanCounts,
    /// How many read these numbers as a stream.
    pub watchers: u64,
    /// Throttles and quota, where there are any.
    pub meters: Option<(Tier, Vec<ThrottleMeter>, QuotaMeter)>,
    /// Bytes of the machine's memory that the process holds, where that can be told.
    pub memory: Option<u64>,
    /// When this was looked at.
    pub(super) taken: Stopwatch,
}

impl Totals {
    /// Looks.
    pub fn of(handle: &HubHandle) -> Self {
        let activity = handle.activity();
        let look = |hub: &Hub| {
            let heads = hub.partition_heads().iter();
            let (events, bytes) = heads.fold((0, 0), |(events, bytes), head| {
                (events + head.next_sequence, bytes + head.next_offset)
            });
            (hub.census(), hub.connection_counts().clone(), events, bytes)
        };
        let (census, connections, events, event_bytes) = handle.inspect(look);
        let (observers, dropped_observations) = handle.observers();
        let (faults_armed, faults_fired) = handle.faults().counts();
        Self {
            at: handle.clock().now(),
            frozen: handle.clock().is_frozen(),
            uptime: handle.uptime(),
            tallies: activity.tallies(),
            refusals: activity.refusals(),
            census,
            connections,
            events,
            event_bytes,
            observers,
            dropped_observations,
            not_emulated: activity.not_emulated_requests(),
            faults_armed,
            faults_fired,
            spans: activity.span_counts(),
            watchers: activity.watchers(),
            meters: handle.meters(),
            memory: resident_memory(),
            taken: Stopwatch::start(),
        }
    }

    /// How often these operations were asked for, refused or not.
    pub(super) fn asked(&self, kinds: &[OperationKind]) -> u64 {
        let wanted = self.tallies.iter().filter(|t| kinds.contains(&t.kind));
        wanted.map(|tally| tally.succeeded + tally.refused).sum()
    }

    /// How many things these operations were about that went through.
    pub(super) fn items(&self, kinds: &[OperationKind]) -> u64 {
        let wanted = self.tallies.iter().filter(|t| kinds.contains(&t.kind));
        wanted.map(|tally| tally.items).sum()
    }

    /// All operations, refused or not.
    pub(super) fn requests(&self) -> u64 {
        let all = self.tallies.iter();
        all.map(|tally| tally.succeeded + tally.refused).sum()
    }

    /// All operations that were refused.
    pub(super) fn refused(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.refused).sum()
    }
}

/// What the kernel says that the process holds; `None` where there is no such kernel.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_holds_some_memory() {
        let bytes = resident_memory().unwrap();

        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}
