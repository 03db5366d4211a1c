//! How a [`TestHub`] is to be, before it starts.

use iothub_emulator::Config;
use iothub_emulator::config::ClockSetting;
use iothub_protocol::Timestamp;

use crate::TestHub;

/// Settles how a [`TestHub`] is set up. The default is a hub as a newcomer starts it: the system's
/// clock, the usual policies, nothing registered.
#[must_use = "no hub runs before `start`"]
#[derive(Clone, Debug)]
pub struct TestHubBuilder {
    config: Config,
}

/// Where a virtual clock stands at first: 2026-01-01T00:00:00Z.
const VIRTUAL_START: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);

impl TestHubBuilder {
    pub(crate) fn new() -> Self {
        let mut config = Config::default();
        // One family is enough, and half the sockets: a test may run a hundred hubs.
        config.listen.addresses = vec![std::net::Ipv4Addr::LOCALHOST.into()];
        Self { config }
    }

    /// Time stands still, at the start of 2026, until [`crate::TestClock::advance`] moves it.
    pub fn virtual_clock(self) -> Self {
        self.virtual_clock_at(VIRTUAL_START)
    }

    /// As [`Self::virtual_clock`], from this time on.
    pub fn virtual_clock_at(mut self, start: Timestamp) -> Self {
        self.config.clock = ClockSetting::Frozen(start);
        self
    }

    /// Makes keys, etags, generations and tracking ids from this seed. With a virtual clock, the
    /// same inputs then have the same outputs, byte for byte.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    /// Changes anything else: limits, partitions, policies, time limits of the MQTT endpoint.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Starts the hub. When it returns, every listener accepts.
    ///
    /// # Panics
    ///
    /// When the hub cannot start: no socket to be had, a setting that makes no sense.
    pub async fn start(self) -> TestHub {
        TestHub::open(self.config).await
    }
}
