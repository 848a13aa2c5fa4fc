//! What probes and scrapers ask.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::State as Shared;

/// Prometheus's text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The process lives.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether new requests should be sent here.
pub(super) async fn readyz(State(state): State<Arc<Shared>>) -> (StatusCode, &'static str) {
    if state.live.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// The metrics, as [`Live::write_metrics`](super::Live::write_metrics) gives them.
pub(super) async fn metrics(State(state): State<Arc<Shared>>) -> impl IntoResponse {
    let mut text = String::new();
    state.live.write_metrics(&mut text);
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], text)
}
