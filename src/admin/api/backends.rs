//! `/api/v1/backends`: the addresses that requests are sent to, and how they stand.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::shapes::{clock, moment};
use crate::admin::State as Shared;
use crate::admin::extract::Json;
use crate::telemetry::BackendReport;

/// A backend as it is now.
#[derive(Serialize, ToSchema)]
pub(super) struct BackendState {
    /// The endpoint's name.
    endpoint: String,
    /// Its host and port as configured, or its address where that was found by DNS: as in the access log.
    backend: String,
    /// Whether health checks leave it in service; without checks it is.
    healthy: bool,
    /// When that last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    since: Option<String>,
    /// Its configured share of the endpoint's requests.
    weight: u32,
    /// What it has of its share now: less than 1 while it comes back slowly.
    share: f64,
    /// Requests under way there; absent for an endpoint's only address, where they aren't counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<u32>,
    /// The last health check; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_check: Option<LastCheck>,
}

/// A health check that is over.
#[derive(Serialize, ToSchema)]
pub(super) struct LastCheck {
    /// When it ended.
    #[schema(format = DateTime)]
    at: String,
    /// Whether it found what it should. It may take several to change `healthy`.
    passed: bool,
}

/// All backends, as they are now.
#[utoipa::path(get, path = "/backends", operation_id = "listBackends", responses((status = 200, body = Vec<BackendState>)))]
pub(super) async fn list(State(state): State<Arc<Shared>>) -> Json<Vec<BackendState>> {
    let now = Instant::now();
    let backends = state.live.backends();
    Json(
        backends
            .iter()
            .map(|backend| BackendState::of(backend, now))
            .collect(),
    )
}

impl BackendState {
    fn of(report: &BackendReport, now: Instant) -> Self {
        let time = |instant| moment(clock(instant, now));
        Self {
            endpoint: report.endpoint.to_string(),
            backend: report.backend.to_string(),
            healthy: report.healthy,
            since: report.since.map(time),
            weight: report.weight,
            share: report.share,
            requests: report.in_flight,
            last_check: report.last_check.map(|(at, passed)| LastCheck {
                at: time(at),
                passed,
            }),
        }
    }
}
