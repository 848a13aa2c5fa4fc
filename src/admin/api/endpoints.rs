//! `/api/v1/endpoints`: where models are served, without secrets.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::shapes::{clock, moment, standing_name};
use crate::admin::State as Shared;
use crate::admin::extract::Json;
use crate::config::units::show_duration;
use crate::gateway::suspension::{EndpointKey, Standing, Suspensions};
use crate::policy::{Backend, Credential, Endpoint, HttpVersion, Provider, Scheme, Secret};
use crate::telemetry::metrics::RoomStatus;

/// A place that serves models.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct EndpointNow {
    pub(in crate::admin) name: String,
    /// Whose API it speaks.
    pub(in crate::admin) provider: &'static str,
    pub(in crate::admin) backends: Vec<BackendNow>,
    /// What it is shown in the place of the caller's credential: `keys`, `passthrough` (the caller's own)
    /// or `none`.
    pub(in crate::admin) credential: &'static str,
    /// The keys of the gateway's, in the order of the configuration. What they are is never shown.
    pub(in crate::admin) keys: Vec<KeyNow>,
    /// Of a connection, to the end of its TLS handshake.
    pub(in crate::admin) connect_timeout: String,
    /// `auto`, `1.1` or `2`.
    pub(in crate::admin) http_version: &'static str,
    /// Whether certificates are verified.
    pub(in crate::admin) verifies_tls: bool,
    /// How full it is, where it has a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) room: Option<RoomNow>,
}

/// The requests at an endpoint that has a limit.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct RoomNow {
    /// The most that it has at once.
    pub(in crate::admin) max_concurrent: usize,
    /// Those under way.
    pub(in crate::admin) in_flight: usize,
    /// Those that wait for a place.
    pub(in crate::admin) queued: usize,
}

/// One of an endpoint's keys.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct KeyNow {
    /// `healthy`, `suspended` (set aside), `ended` (the next request with it is the probe) or `probing`;
    /// an only key is never set aside.
    pub(in crate::admin) standing: &'static str,
    /// When it is back, or could have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Why it was set aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) reason: Option<String>,
}

/// One address of an endpoint.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct BackendNow {
    pub(in crate::admin) url: String,
    pub(in crate::admin) weight: u32,
}

/// All endpoints.
#[utoipa::path(get, path = "/endpoints", operation_id = "listEndpoints", responses((status = 200, body = Vec<EndpointNow>)))]
pub(super) async fn list(State(state): State<Arc<Shared>>) -> Json<Vec<EndpointNow>> {
    let configuration = state.live.configuration();
    let endpoints = &(*configuration).as_ref().endpoints;
    let rooms = state.live.rooms();
    let room = |endpoint: &Endpoint| rooms.iter().find(|room| room.endpoint == endpoint.name);
    let suspensions = state.live.suspensions();
    let now = |endpoint| EndpointNow::of(endpoint, suspensions, room(endpoint));
    Json(endpoints.iter().map(now).collect())
}

impl EndpointNow {
    pub(in crate::admin) fn of(
        endpoint: &Endpoint,
        suspensions: &Suspensions,
        room: Option<&RoomStatus>,
    ) -> Self {
        let named = |(_, provider): &&(&str, Provider)| *provider == endpoint.provider;
        let provider = Provider::NAMES.iter().find(named);
        Self {
            name: endpoint.name.to_string(),
            provider: provider.map_or("custom", |(name, _)| name),
            backends: endpoint.backends.iter().map(BackendNow::of).collect(),
            credential: match endpoint.credential {
                Credential::None => "none",
                Credential::Keys { .. } => "keys",
                Credential::Passthrough => "passthrough",
            },
            keys: keys(endpoint, suspensions),
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

fn keys(endpoint: &Endpoint, suspensions: &Suspensions) -> Vec<KeyNow> {
    let now = Instant::now();
    let shown = |key: &Secret| {
        let known = suspensions.get_key(&EndpointKey::new(endpoint, key));
        let aside = known.and_then(|known| known.suspension(now));
        let standing = aside.as_ref().map(|aside| aside.standing);
        KeyNow {
            standing: standing_name(standing.unwrap_or(Standing::Healthy)),
            until: aside.as_ref().map(|aside| moment(clock(aside.until, now))),
            reason: aside.map(|aside| aside.reason.to_string()),
        }
    };
    endpoint.credential.keys().iter().map(shown).collect()
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
