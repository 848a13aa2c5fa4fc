//! What is so at the moment of a scrape, told by those who know it.

use std::sync::Arc;

use super::exposition::{Exposition, Kind};
use crate::policy::Environment;
use crate::telemetry::BackendReport;

/// What the gateway knows at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Every pair of the configuration.
    pub pairs: Vec<PairStatus>,
    /// Every endpoint that has a limit.
    pub rooms: Vec<RoomStatus>,
    /// Every backend of every endpoint.
    pub backends: Vec<BackendReport>,
    /// Every key of the endpoints with several.
    pub keys: Vec<KeyStatus>,
    /// Bytes of bodies that are held.
    pub buffered_bytes: u64,
    /// Client connections that are open.
    pub connections: u64,
    /// Client connections that were closed at once because there were too many, since the start.
    pub connections_refused: u64,
    /// Lines of the access log that were never written, since the start.
    pub access_log_lines_dropped: u64,
    /// Spans that were never sent, since the start.
    pub spans_dropped: u64,
}

/// How a pair stands.
#[derive(Clone, Debug)]
pub struct PairStatus {
    /// The environment.
    pub environment: Environment,
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// The model's name there.
    pub model: Arc<str>,
    /// Whether requests pass it by.
    pub suspended: bool,
    /// How many suspensions have begun.
    pub suspensions: u64,
}

/// How full an endpoint with `max_concurrent` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomStatus {
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// The most requests it has at once.
    pub max_concurrent: usize,
    /// Those under way there.
    pub in_flight: usize,
    /// Those that wait for a place.
    pub queued: usize,
}

/// How one of an endpoint's keys stands.
#[derive(Clone, Debug)]
pub struct KeyStatus {
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// Its place in `api_keys`, counted from 0.
    pub index: usize,
    /// Whether requests pass it by.
    pub set_aside: bool,
    /// How often that has begun.
    pub times: u64,
}

impl State {
    pub(super) fn write(&self, out: &mut Exposition) {
        for pair in &self.pairs {
            pair.write(out);
        }
        for room in &self.rooms {
            room.write(out);
        }
        for backend in &self.backends {
            write_backend(backend, out);
        }
        for key in &self.keys {
            key.write(out);
        }
        out.number(
            Kind::Gauge,
            "standin_build_info",
            "The version that runs; always 1.",
            &[("version", env!("CARGO_PKG_VERSION"))],
            1,
        );
        out.single(
            Kind::Gauge,
            "standin_buffered_bytes",
            "Bytes of bodies that are held, of the most that limits.buffered_bodies allows.",
            self.buffered_bytes,
        );
        out.single(
            Kind::Gauge,
            "standin_connections",
            "Client connections that are open.",
            self.connections,
        );
        out.single(
            Kind::Counter,
            "standin_connections_refused_total",
            "Client connections closed at once because as many were open as limits.connections allows.",
            self.connections_refused,
        );
        out.single(
            Kind::Counter,
            "standin_access_log_lines_dropped_total",
            "Lines of the access log that were never written: the place for them is too slow, or fails.",
            self.access_log_lines_dropped,
        );
        out.single(
            Kind::Counter,
            "standin_spans_dropped_total",
            "Spans that were never sent: the collector is too slow, or fails.",
            self.spans_dropped,
        );
    }
}

impl RoomStatus {
    fn write(&self, out: &mut Exposition) {
        let labels = [("endpoint", &*self.endpoint)];
        let mut gauge = |name, help, value: usize| {
            out.number(Kind::Gauge, name, help, &labels, value as u64);
        };
        gauge(
            "standin_endpoint_requests",
            "Requests under way at an endpoint that has a limit.",
            self.in_flight,
        );
        gauge(
            "standin_endpoint_requests_limit",
            "The most requests that an endpoint has at once (max_concurrent).",
            self.max_concurrent,
        );
        gauge(
            "standin_endpoint_requests_queued",
            "Requests that wait for a place at an endpoint that has a limit.",
            self.queued,
        );
    }
}

fn write_backend(backend: &BackendReport, out: &mut Exposition) {
    let labels = [
        ("endpoint", &*backend.endpoint),
        ("backend", &*backend.backend),
    ];
    out.number(
        Kind::Gauge,
        "standin_backend_healthy",
        "Whether health checks leave the backend in service (1) or not (0); 1 where there are none.",
        &labels,
        u64::from(backend.healthy),
    );
    if let Some(in_flight) = backend.in_flight {
        out.number(
            Kind::Gauge,
            "standin_backend_requests",
            "Requests under way at the backend.",
            &labels,
            in_flight.into(),
        );
    }
}

impl KeyStatus {
    fn write(&self, out: &mut Exposition) {
        let index = self.index.to_string();
        let labels = [("endpoint", &*self.endpoint), ("key", &*index)];
        out.number(
            Kind::Gauge,
            "standin_key_set_aside",
            "Whether the endpoint's key is passed by at the moment (1) or not (0).",
            &labels,
            u64::from(self.set_aside),
        );
        out.counter(
            "standin_key_set_asides_total",
            "How often the endpoint's key was set aside, since it was refused or had no more to give.",
            &labels,
            self.times,
        );
    }
}

impl PairStatus {
    fn write(&self, out: &mut Exposition) {
        let labels = [
            ("environment", self.environment.name()),
            ("endpoint", &*self.endpoint),
            ("model", &*self.model),
        ];
        out.number(
            Kind::Gauge,
            "standin_suspended",
            "Whether the pair is left out at the moment (1) or not (0).",
            &labels,
            u64::from(self.suspended),
        );
        out.counter(
            "standin_suspensions_total",
            "Suspensions of the pair that have begun.",
            &labels,
            self.suspensions,
        );
    }
}
