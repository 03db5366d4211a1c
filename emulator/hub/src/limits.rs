//! Every number with its meaning and source, and every choice.

use std::time::Duration;

use crate::throttles::Tier;

/// Message routes of a hub (the real hub's published limits, S1).
pub(crate) const ROUTES: usize = 100;
/// Endpoints of routes, the built-in one not counted (the same).
pub(crate) const ENDPOINTS: usize = 10;
/// Enrichments of routed messages (the same).
pub(crate) const ENRICHMENTS: usize = 10;
/// Consumer groups beside `$Default` (the same).
pub(crate) const CONSUMER_GROUPS: usize = 20;
/// Readers of a partition in one consumer group, unless one reads alone (the same).
pub(crate) const READERS: usize = 5;

/// The hub's limits. The defaults are those of the real hub's S1 tier, where it has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How much later than its expiry a token is still taken, for clocks that differ
    /// (`spec/device.md` 3.4).
    pub token_skew: Duration,
    /// How long a live connection outlives its token (`spec/device.md` 2.8, Q3).
    pub session_grace: Duration,
    /// Bytes of a method's request or response (`spec/device.md` 6.3).
    pub method_payload: usize,
    /// Unanswered calls of one client (`spec/device.md` 6.5, Q22).
    pub methods_in_flight: usize,
    /// Modules of one device (`spec/service.md` 2.6).
    pub modules_per_device: usize,
    /// Whether queries know only the functions that are documented for them
    /// (`spec/service.md` 5.2).
    pub strict_queries: bool,
    /// Throttles and quotas are those of this; `None`: there are none (`spec/service.md` 14).
    pub tier: Option<Tier>,
    /// Scheduled jobs that have not ended; `None`: as many as the tier allows, or any number
    /// (`spec/service.md` 6.1).
    pub active_jobs: Option<usize>,
    /// Configurations of the hub (`spec/service.md` 14).
    pub configurations: usize,
    /// Devices and modules that are looked at in one go when a configuration changes: few enough
    /// that nobody waits for long. The real hub takes minutes.
    pub evaluation_slice: usize,
    /// Identities that `GET /devices` lists (`spec/service.md` 2.3).
    pub list_top: usize,
    /// Certificate authorities of a hub (its documented limit).
    pub authorities: usize,
    /// When a connection becomes an event.
    pub connection_events: ConnectionEvents,
    /// What an expired self-signed certificate with the right thumbprint is worth.
    pub expired_certificates: ExpiredCertificates,
    /// Cloud-to-device messages that wait for one client (`spec/device.md` 5.4).
    pub c2d_queue_depth: usize,
    /// Bytes of a cloud-to-device message: body, system values, application names and values
    /// (`spec/device.md` 5.4).
    pub c2d_message: usize,
    /// How long a message waits unless its sender says otherwise (`spec/device.md` 5.4).
    pub c2d_ttl: Duration,
    /// The longest that its sender can say (`spec/device.md` 5.4).
    pub c2d_ttl_ceiling: Duration,
    /// How often a message may be given back (`spec/device.md` 5.4).
    pub c2d_delivery_count: u32,
    /// Which returns that counts.
    pub c2d_counted_returns: CountedReturns,
    /// How long a message is out of the others' sight (`spec/device.md` 5.4).
    pub c2d_lock: Duration,
    /// The longest lock that a client can ask for; as that of feedback (`spec/device.md` 5.4, 9.3).
    pub c2d_lock_ceiling: Duration,
    /// Messages that a session has been sent and has not settled. Not the real hub's number, which
    /// is not known: enough to keep a connection busy, few enough not to flood a slow device.
    pub c2d_window: u32,
    /// What becomes of messages older than a new subscription.
    pub c2d_before_first_subscribe: BeforeSubscription,
    /// Records in a batch of feedback (`spec/device.md` 5.6).
    pub feedback_batch: usize,
    /// How long after its last record a batch is closed; zero: each record is a batch at once
    /// (`spec/device.md` 5.6).
    pub feedback_delay: Duration,
    /// How long a batch waits to be received (`spec/device.md` 5.4).
    pub feedback_ttl: Duration,
    /// How long a batch is out of the others' sight (`spec/device.md` 5.4).
    pub feedback_lock: Duration,
    /// How often a batch may be given back (`spec/device.md` 5.4).
    pub feedback_delivery_count: u32,
    /// Batches that wait. Not the real hub's number: it keeps the memory bounded when nobody reads;
    /// beyond it the oldest is dropped.
    pub feedback_batches: usize,
    /// How long a device may write the file that it has begun to upload: 1 minute to 24 hours
    /// (`spec/device.md` 8.1).
    pub upload_ttl: Duration,
    /// File uploads of one device that have begun and not ended (`spec/device.md` 8.4).
    pub uploads_in_progress: usize,
    /// How long a file-upload notification waits for a back end: 1 minute to 48 hours.
    pub file_notification_ttl: Duration,
    /// How long a back end that received a file-upload notification has to settle it: 5 to 300
    /// seconds.
    pub file_notification_lock: Duration,
    /// How often a file-upload notification is delivered: 1 to 100 times.
    pub file_notification_deliveries: u32,
}

/// Which returns of a message to its queue count as deliveries (`spec/device.md` 5.4, Q5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountedReturns {
    /// Those that a client asked for: what the documentation says since 2026.
    #[default]
    AbandonOnly,
    /// Also a lost lock and a lost connection: what it said before.
    EveryReturn,
}

/// What becomes of messages that are older than a new subscription (`spec/device.md` 5.5, Q6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BeforeSubscription {
    /// They are delivered: friendlier to tests that send first.
    #[default]
    Deliver,
    /// They are rejected, as the real hub does.
    Reject,
}

/// When a connection becomes an event (`spec/device.md` 16.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionEvents {
    /// Once it subscribes or sends, as on the real hub.
    #[default]
    FirstUse,
    /// At once.
    Connect,
}

/// What an expired self-signed certificate with the right thumbprint is worth (`spec/device.md`
/// 11, Q19).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpiredCertificates {
    /// Nothing.
    #[default]
    Refuse,
    /// As much as one that is valid.
    Accept,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            token_skew: Duration::from_secs(300),
            session_grace: Duration::from_secs(600),
            method_payload: 128 * 1024,
            methods_in_flight: 10,
            modules_per_device: 50,
            strict_queries: false,
            tier: None,
            active_jobs: None,
            configurations: 100,
            evaluation_slice: 2000,
            list_top: 1000,
            connection_events: ConnectionEvents::default(),
            expired_certificates: ExpiredCertificates::default(),
            c2d_queue_depth: 50,
            c2d_message: iothub_protocol::message::MAX_C2D_SIZE,
            c2d_ttl: Duration::from_secs(3600),
            c2d_ttl_ceiling: Duration::from_secs(2 * 24 * 3600),
            c2d_delivery_count: 10,
            c2d_counted_returns: CountedReturns::default(),
            c2d_lock: Duration::from_secs(60),
            c2d_lock_ceiling: Duration::from_secs(300),
            c2d_window: 16,
            c2d_before_first_subscribe: BeforeSubscription::default(),
            feedback_batch: 64,
            feedback_delay: Duration::from_secs(15),
            feedback_ttl: Duration::from_secs(3600),
            feedback_lock: Duration::from_secs(60),
            feedback_delivery_count: 10,
            feedback_batches: 10_000,
            authorities: 25,
            upload_ttl: Duration::from_secs(3600),
            uploads_in_progress: 10,
            file_notification_ttl: Duration::from_secs(3600),
            file_notification_lock: Duration::from_secs(60),
            file_notification_deliveries: 10,
        }
    }
}
