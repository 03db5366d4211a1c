//! Throttles and daily quotas of a tier (`spec/device.md` 16.1, `spec/service.md` 14). Off unless
//! [`crate::Limits::tier`] says which tier the hub is of.
//!
//! What a tier allows is in `tier`, how a rate is held to in `bucket`. Nobody waits in here: a
//! [`Decision`] says until when whoever asked has to.

mod bucket;
mod tier;

use iothub_protocol::{Error, ErrorCode, Timestamp};
use serde_json::{Value, json};

use crate::Hub;
use crate::cx::{Change, Cx};
use crate::documents::{Document, DocumentKind};

use bucket::Bucket;

pub use bucket::Decision;
pub use tier::{Sku, Throttle, Tier};

/// The key of the one meter that is kept.
const MESSAGES: &str = "messages";
/// The meter is written down whenever it has passed a multiple of this: a restart forgets less.
const NOTED_EVERY: u64 = 100;
const DAY_SECONDS: i64 = 24 * 3600;

/// What `GET /_emulator/throttles` tells of one throttle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleMeter {
    /// Which.
    pub throttle: Throttle,
    /// How many it lets through in a minute; `None`: the tier does not have the operation.
    pub per_minute: Option<u64>,
    /// How many it would let through at once.
    pub available: u64,
    /// How many wait for their turn.
    pub waiting: u64,
    /// How many had to wait so far.
    pub delayed: u64,
    /// How many were refused so far.
    pub refused: u64,
}

/// What `GET /_emulator/throttles` tells of the daily quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaMeter {
    /// Messages of a day.
    pub limit: u64,
    /// Those of today.
    pub used: u64,
    /// Bytes that count as one message.
    pub message_size: usize,
    /// When a new day begins.
    pub resets: Timestamp,
}

#[derive(Clone, Default)]
pub(crate) struct Throttles(Option<Box<Meters>>);

#[derive(Clone)]
struct Meters {
    tier: Tier,
    buckets: Vec<Bucket>,
    /// Days since 1970, and the messages of that one.
    day: i64,
    used: u64,
    /// The day and the hundreds that were written down last.
    noted: (i64, u64),
}

impl Hub {
    /// Whether operations of a throttle may go on now. What has to wait keeps its place meanwhile.
    pub fn throttle(&mut self, now: Timestamp, throttle: Throttle, count: u64) -> Decision {
        match &mut self.throttles.0 {
            None => Decision::Pass,
            Some(meters) => meters.buckets[throttle as usize].admit(now, count),
        }
    }

    /// Whether the day has room for so many messages; refuses with `IotHubQuotaExceeded`.
    pub fn check_quota(&mut self, now: Timestamp, messages: u64) -> Result<(), Error> {
        let Some(meters) = &mut self.throttles.0 else {
            return Ok(());
        };
        meters.roll(now);
        let limit = meters.tier.daily_messages();
        if messages > 0 && meters.used.saturating_add(messages) > limit {
            let detail = format!(
                "Total number of messages on the hub exceeded the allocated quota. Max allowed \
                 message count: {limit}, current message count: {}.",
                meters.used
            );
            return Err(Error::new(ErrorCode::IotHubQuotaExceeded, detail));
        }
        Ok(())
    }

    /// Counts messages that went through.
    pub fn charge_quota(&mut self, cx: &mut Cx<'_>, messages: u64) {
        let Some(meters) = &mut self.throttles.0 else {
            return;
        };
        meters.roll(cx.now());
        meters.used = meters.used.saturating_add(messages);
        let noted = (meters.day, meters.used / NOTED_EVERY);
        if noted != meters.noted {
            meters.noted = noted;
            cx.change(Change::PutDocument(meters.to_document()));
        }
    }

    /// The throttles and the quota, when there are any.
    pub fn meters(&mut self, now: Timestamp) -> Option<(Tier, Vec<ThrottleMeter>, QuotaMeter)> {
        let meters = self.throttles.0.as_mut()?;
        meters.roll(now);
        let throttles = Throttle::ALL
            .iter()
            .map(|&throttle| meters.buckets[throttle as usize].meter(now, throttle))
            .collect();
        let quota = QuotaMeter {
            limit: meters.tier.daily_messages(),
            used: meters.used,
            message_size: meters.tier.message_size(),
            resets: Timestamp::from_unix_seconds((meters.day + 1) * DAY_SECONDS),
        };
        Some((meters.tier, throttles, quota))
    }
}

impl Throttles {
    pub(crate) fn new(tier: Option<Tier>) -> Self {
        Self(tier.map(|tier| {
            let buckets = Throttle::ALL
                .iter()
                .map(|throttle| Bucket::new(throttle.per_minute(tier)))
                .collect();
            Box::new(Meters {
                tier,
                buckets,
                day: 0,
                used: 0,
                noted: (0, 0),
            })
        }))
    }

    /// Lets one operation through that can come back later; or says when.
    pub(crate) fn take(&mut self, now: Timestamp, throttle: Throttle) -> Result<(), Timestamp> {
        match &mut self.0 {
            None => Ok(()),
            Some(meters) => meters.buckets[throttle as usize].take(now),
        }
    }

    pub(crate) fn restore_meter(&mut self, key: &str, document: Option<&Value>) {
        let (Some(meters), Some(document)) = (&mut self.0, document) else {
            return;
        };
        if key == MESSAGES {
            meters.day = document["day"].as_i64().unwrap_or_default();
            meters.used = document["used"].as_u64().unwrap_or_default();
            meters.noted = (meters.day, meters.used / NOTED_EVERY);
        }
    }
}

impl Meters {
    /// Begins a new day, at midnight UTC.
    fn roll(&mut self, now: Timestamp) {
        let today = now.unix_seconds().div_euclid(DAY_SECONDS);
        if today > self.day {
            self.day = today;
            self.used = 0;
        }
    }

    fn to_document(&self) -> Document {
        Document {
            kind: DocumentKind::Meter,
            key: MESSAGES.into(),
            value: json!({"day": self.day, "used": self.used}).into(),
        }
    }
}
