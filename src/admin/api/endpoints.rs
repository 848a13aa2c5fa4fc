//! `/api/v1/endpoints`: where models are served, without secrets.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::State as Shared;
use crate::admin::extract::Json;
use crate::config::units::show_duration;
use crate::policy::{Backend, Endpoint, HttpVersion, Provider, Scheme};
use crate::telemetry::metrics::RoomStatus;

/// A place that serves models.
#[derive(Serialize, ToSchema)]
pub(super) struct EndpointNow {
    name: String,
    /// Whose API it speaks.
    provider: &'static str,
    backends: Vec<BackendNow>,
    /// Whether requests carry a key of the gateway's. The key itself is never shown.
    has_api_key: bool,
    /// Of a connection, to the end of its TLS handshake.
    connect_timeout: String,
    /// `auto`, `1.1` or `2`.
    http_version: &'static str,
    /// Whether certificates are verified.
    verifies_tls: bool,
    /// How full it is, where it has a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<RoomNow>,
}

/// The requests at an endpoint that has a limit.
#[derive(Serialize, ToSchema)]
pub(super) struct RoomNow {
    /// The most that it has at once.
    max_concurrent: usize,
    /// Those under way.
    in_flight: usize,
    /// Those that wait for a place.
    queued: usize,
}

/// One address of an endpoint.
#[derive(Serialize, ToSchema)]
pub(super) struct BackendNow {
    url: String,
    weight: u32,
}

/// All endpoints.
#[utoipa::path(get, path = "/endpoints", operation_id = "listEndpoints", responses((status = 200, body = Vec<EndpointNow>)))]
pub(super) async fn list(State(state): State<Arc<Shared>>) -> Json<Vec<EndpointNow>> {
    let configuration = state.live.configuration();
    let endpoints = &(*configuration).as_ref().endpoints;
    let rooms = state.live.rooms();
    let room = |endpoint: &Endpoint| rooms.iter().find(|room| room.endpoint == endpoint.name);
    let now = |endpoint| EndpointNow::of(endpoint, room(endpoint));
    Json(endpoints.iter().map(now).collect())
}

impl EndpointNow {
    fn of(endpoint: &Endpoint, room: Option<&RoomStatus>) -> Self {
        let named = |(_, provider): &&(&str, Provider)| *provider == endpoint.provider;
        let provider = Provider::NAMES.iter().find(named);
        Self {
            name: endpoint.name.to_string(),
            provider: provider.map_or("custom", |(name, _)| name),
            backends: endpoint.backends.iter().map(BackendNow::of).collect(),
            has_api_key: endpoint.api_key.is_some(),
            connect_timeout: show_duration(endpoint.connect_timeout),
            http_version: match endpoint.http_version {
                HttpVersion::Auto => "auto",
                HttpVersion::Http1 => "1.1",
                HttpVersion::Http2 => "2",
            },
            verifies_tls: endpoint.tls.verify,
            room: room.map(|room| RoomNow {
                max_concurrent: room.max_concurrent,
                in_flight: room.in_flight,
                queued: room.queued,
            }),
        }
    }
}

impl BackendNow {
    fn of(backend: &Backend) -> Self {
        let scheme = match backend.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        Self {
            url: format!("{scheme}://{}{}", backend.authority(), backend.base_path),
            weight: backend.weight,
        }
    }
}
