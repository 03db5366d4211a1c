//! Every number with its meaning and source, and every choice.

use std::time::Duration;

use crate::throttles::Tier;

/// Message routes of a hub (the real hub's published limits, S1).
pub(crate) const ROUTES: usize = 100;
/// Endpoints of routes, the built-in one not counted (the same).
pub(crate) const ENDPOINTS: usize = 10;
/// Enrichments of routed messages (the same).
pub(crate) const ENRICHMENTS: usize = 10;

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
    /// When a connection becomes an event.
    pub connection_events: ConnectionEvents,
    /// What an expired self-signed certificate with the right thumbprint is worth.
    pub expired_certificates: ExpiredCertificates,
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
        }
    }
}
