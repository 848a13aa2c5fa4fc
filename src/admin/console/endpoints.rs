//! Endpoints: where models are served, and how that goes.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::frame::{Frame, page};
use super::trail::span;
use crate::admin::State as Shared;
use crate::admin::api::EndpointNow;
use crate::policy::Endpoint;
use crate::telemetry::BackendReport;

#[derive(Template)]
#[template(path = "endpoints.html")]
struct Endpoints {
    frame: Frame,
    endpoints: Vec<Row>,
}

struct Row {
    now: EndpointNow,
    backends: Vec<Backend>,
}

struct Backend {
    name: String,
    weight: u32,
    state: String,
    kind: &'static str,
    in_flight: Option<u32>,
}

/// The list.
pub(super) async fn list(State(state): State<Arc<Shared>>, frame: Frame) -> Response {
    let configuration = state.live.configuration();
    let endpoints = &(*configuration).as_ref().endpoints;
    let health = state.live.backends();
    let rooms = state.live.rooms();
    let row = |endpoint: &Endpoint| {
        let room = rooms.iter().find(|room| room.endpoint == endpoint.name);
        let now = EndpointNow::of(endpoint, state.live.suspensions(), room);
        let own = health
            .iter()
            .filter(|backend| *backend.endpoint == *now.name);
        Row {
            backends: own.map(backend).collect(),
            now,
        }
    };
    page(&Endpoints {
        endpoints: endpoints.iter().map(row).collect(),
        frame,
    })
}

fn backend(health: &BackendReport) -> Backend {
    let (mut state, kind) = match (health.checked, health.healthy) {
        (false, _) => ("not checked".to_owned(), ""),
        (true, true) => ("healthy".to_owned(), "good"),
        (true, false) => ("unhealthy".to_owned(), "bad"),
    };
    if let Some(since) = health.since {
        state.push_str(&format!(" for {}", span(since.elapsed())));
    }
    if health.share < 1.0 {
        state.push_str(&format!(", at {:.0} % of its share", health.share * 100.0));
    }
    Backend {
        name: health.backend.to_string(),
        weight: health.weight,
        state,
        kind,
        in_flight: health.in_flight,
    }
}
