//! How the places stand that requests are sent to.

use std::sync::Arc;
use std::time::Instant;

/// How a backend stands, for those who operate the gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendReport {
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// Its host and port as configured, or its address where that was found by DNS: as in the access log.
    pub backend: Arc<str>,
    /// Its configured share among the endpoint's backends.
    pub weight: u32,
    /// Whether there are health checks: without them it is always healthy.
    pub checked: bool,
    /// Whether checks leave it in service.
    pub healthy: bool,
    /// When `healthy` last changed; `None`: never.
    pub since: Option<Instant>,
    /// When it was last checked, and whether it passed; `None`: not since the gateway knows it.
    pub last_check: Option<(Instant, bool)>,
    /// Of its share, what it has now: under 1 while it comes back slowly.
    pub share: f64,
    /// The requests under way there; `None` for the only backend of an endpoint, where they aren't counted.
    pub in_flight: Option<u32>,
}
