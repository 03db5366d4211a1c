//! What each tier allows. Figures are those of Microsoft's `iot-hub-devguide-quotas-throttling`
//! ("Basic and standard tier operations", "Standard tier operations", "Other limits") and of the
//! pricing page for messages of a day; those for S1 are also in `spec/device.md` 16.1.

use std::fmt;
use std::str::FromStr;

/// What a hub is sold as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sku {
    /// Free.
    F1,
    /// Basic, without what goes from the cloud to devices.
    B1,
    /// Basic.
    B2,
    /// Basic.
    B3,
    /// Standard.
    S1,
    /// Standard.
    S2,
    /// Standard.
    S3,
}

/// What a hub is sold as, and how many of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    sku: Sku,
    units: u32,
}

macro_rules! throttles {
    ($($(#[$doc:meta])* $throttle:ident = $name:literal,)*) => {
        /// Operations that share a limit of their rate.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Throttle {
            $($(#[$doc])* $throttle,)*
        }

        impl Throttle {
            /// Every throttle.
            pub const ALL: &'static [Self] = &[$(Self::$throttle,)*];

            /// Its name as people see it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$throttle => $name,)* }
            }
        }
    };
}

throttles! {
    /// Identities: create, retrieve, list, update, delete; a bulk call counts its elements.
    Registry = "registry",
    /// New connections.
    Connections = "connections",
    /// Messages from devices.
    DeviceToCloud = "deviceToCloud",
    /// Messages to devices.
    CloudToDevice = "cloudToDevice",
    /// Messages that devices ask for.
    CloudToDeviceReceives = "cloudToDeviceReceives",
    /// Beginnings of file uploads.
    Uploads = "uploads",
    /// Queries.
    Queries = "queries",
    /// Direct methods, in pieces of 4 KB of what they carry to the device.
    Methods = "methods",
    /// Twins of devices and modules, read.
    TwinReads = "twinReads",
    /// Twins of devices and modules, written.
    TwinUpdates = "twinUpdates",
    /// Jobs: create, update, list, delete.
    Jobs = "jobs",
    /// What jobs do to devices.
    JobDevices = "jobDevices",
    /// Configurations and edge deployments: create, update, list, delete.
    Configurations = "configurations",
}

impl Throttle {
    /// Operations of a minute; `None` for what basic tiers do not have.
    pub fn per_minute(self, tier: Tier) -> Option<u64> {
        let second = |rate: u64| rate * 60;
        // By size: free and 1, 2, 3.
        let (units, size) = (u64::from(tier.units), tier.sku.size());
        let unit = |rates: [u64; 3]| units * rates[size];
        let rate = match self {
            Self::Registry | Self::Uploads => unit([100, 100, 5_000]),
            Self::Connections | Self::DeviceToCloud => {
                let rate = unit([second(12), second(120), second(6_000)]);
                if size == 0 {
                    rate.max(second(100))
                } else {
                    rate
                }
            }
            Self::Queries => unit([20, 20, 1_000]),
            Self::CloudToDevice | Self::Jobs => unit([100, 100, 5_000]),
            Self::CloudToDeviceReceives => unit([1_000, 1_000, 50_000]),
            // 160 KB, 480 KB and 24 MB a second.
            Self::Methods => unit([second(40), second(120), second(6_000)]),
            Self::TwinReads => match size {
                0 => second(100),
                1 => second(100).max(units * second(10)),
                _ => units * second(500),
            },
            Self::TwinUpdates => match size {
                0 => second(50),
                1 => second(50).max(units * second(5)),
                _ => units * second(250),
            },
            Self::JobDevices => match size {
                0 => second(10),
                1 => second(10).max(units * second(1)),
                _ => units * second(50),
            },
            Self::Configurations => units * 20,
        };
        (!tier.sku.is_basic() || self.is_basic()).then_some(rate)
    }

    /// Whether basic tiers have it.
    fn is_basic(self) -> bool {
        match self {
            Self::Registry
            | Self::Connections
            | Self::DeviceToCloud
            | Self::Uploads
            | Self::Queries => true,
            Self::CloudToDevice
            | Self::CloudToDeviceReceives
            | Self::Methods
            | Self::TwinReads
            | Self::TwinUpdates
            | Self::Jobs
            | Self::JobDevices
            | Self::Configurations => false,
        }
    }
}

impl Sku {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::F1,
        Self::B1,
        Self::B2,
        Self::B3,
        Self::S1,
        Self::S2,
        Self::S3,
    ];

    /// As it is sold.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F1 => "F1",
            Self::B1 => "B1",
            Self::B2 => "B2",
            Self::B3 => "B3",
            Self::S1 => "S1",
            Self::S2 => "S2",
            Self::S3 => "S3",
        }
    }

    /// How many units one may have (Microsoft's `azure-subscription-service-limits`).
    pub const fn max_units(self) -> u32 {
        match self {
            Self::F1 => 1,
            Self::B1 | Self::B2 | Self::S1 | Self::S2 => 200,
            Self::B3 | Self::S3 => 10,
        }
    }

    const fn is_basic(self) -> bool {
        matches!(self, Self::B1 | Self::B2 | Self::B3)
    }

    const fn size(self) -> usize {
        match self {
            Self::F1 | Self::B1 | Self::S1 => 0,
            Self::B2 | Self::S2 => 1,
            Self::B3 | Self::S3 => 2,
        }
    }
}

impl Tier {
    /// So many units; `None` when there can be none so.
    pub fn new(sku: Sku, units: u32) -> Option<Self> {
        (1..=sku.max_units())
            .contains(&units)
            .then_some(Self { sku, units })
    }

    /// What it is sold as.
    pub fn sku(self) -> Sku {
        self.sku
    }

    /// How many.
    pub fn units(self) -> u32 {
        self.units
    }

    /// Messages of a day.
    pub fn daily_messages(self) -> u64 {
        let unit = match self.sku {
            Sku::F1 => 8_000,
            Sku::B1 | Sku::S1 => 400_000,
            Sku::B2 | Sku::S2 => 6_000_000,
            Sku::B3 | Sku::S3 => 300_000_000,
        };
        unit * u64::from(self.units)
    }

    /// Bytes that count as one message of the day.
    pub fn message_size(self) -> usize {
        match self.sku {
            Sku::F1 => 512,
            Sku::B1 | Sku::B2 | Sku::B3 | Sku::S1 | Sku::S2 | Sku::S3 => 4096,
        }
    }

    /// Scheduled jobs that have not ended (`spec/service.md` 6.1).
    pub fn active_jobs(self) -> usize {
        [1, 5, 10][self.sku.size()]
    }
}

impl FromStr for Sku {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|sku| sku.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| "expected one of F1, B1, B2, B3, S1, S2, S3".to_owned())
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(throttle: Throttle, sku: Sku, units: u32) -> Option<u64> {
        throttle.per_minute(Tier::new(sku, units).unwrap())
    }

    #[test]
    fn microsofts_examples_hold() {
        // "Two S1 units are 2*12 = 24/sec, but you have at least 100/sec across your units. With
        // nine S1 units, you have 108/sec (9*12)."
        let sends = |units| rate(Throttle::DeviceToCloud, Sku::S1, units);
        assert_eq!(sends(2), Some(100 * 60));
        assert_eq!(sends(9), Some(108 * 60));
        // "You can make up to 40 calls per second per unit."
        assert_eq!(rate(Throttle::Methods, Sku::S1, 1), Some(40 * 60));
    }

    #[test]
    fn the_table_is_that_of_the_reference() {
        for (throttle, one, two, three) in [
            (Throttle::Registry, 100, 100, 5_000),
            (Throttle::Connections, 6_000, 7_200, 360_000),
            (Throttle::DeviceToCloud, 6_000, 7_200, 360_000),
            (Throttle::CloudToDevice, 100, 100, 5_000),
            (Throttle::CloudToDeviceReceives, 1_000, 1_000, 50_000),
            (Throttle::Uploads, 100, 100, 5_000),
            (Throttle::Queries, 20, 20, 1_000),
            (Throttle::Methods, 2_400, 7_200, 360_000),
            (Throttle::TwinReads, 6_000, 6_000, 30_000),
            (Throttle::TwinUpdates, 3_000, 3_000, 15_000),
            (Throttle::Jobs, 100, 100, 5_000),
            (Throttle::JobDevices, 600, 600, 3_000),
            (Throttle::Configurations, 20, 20, 20),
        ] {
            let rates = [Sku::S1, Sku::S2, Sku::S3].map(|sku| rate(throttle, sku, 1));
            assert_eq!(rates, [one, two, three].map(Some), "{}", throttle.name());
            assert_eq!(rate(throttle, Sku::F1, 1), Some(one));
            let basic = throttle.is_basic().then_some(two);
            assert_eq!(rate(throttle, Sku::B2, 1), basic);
        }
        assert_eq!(rate(Throttle::TwinReads, Sku::S2, 20), Some(200 * 60));
    }

    #[test]
    fn units_are_limited() {
        assert_eq!(Tier::new(Sku::F1, 2), None);
        assert_eq!(Tier::new(Sku::S1, 0), None);
        assert_eq!(Tier::new(Sku::S1, 201), None);
        assert_eq!(Tier::new(Sku::S1, 2).unwrap().daily_messages(), 800_000);
    }
}
