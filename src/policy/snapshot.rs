//! One configuration after validation: the table that a request is looked up in.

use std::time::Duration;

use super::{
    Authentication, Backend, Endpoint, EndpointId, Environment, FailoverPolicy, Operation,
    Operations, Pair, PairId, PolicyId,
};

/// Everything about one configuration that a request needs. Immutable.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Who may call.
    pub authentication: Authentication,
    /// What a single client can't exceed.
    pub limits: Limits,
    /// Where models are served; an [`EndpointId`] is an index.
    pub endpoints: Vec<Endpoint>,
    /// What can be suspended; a [`PairId`] is an index.
    pub pairs: Vec<Pair>,
    /// What may be invoked; an [`OperationId`](super::OperationId) is an index.
    pub operations: Operations,
    /// The rules; a [`PolicyId`] is an index.
    pub policies: Vec<FailoverPolicy>,
    /// Where traces go; none are made without it.
    pub tracing: Option<Tracing>,
}

/// Where traces go, and how many.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// An OpenTelemetry collector that understands OTLP over HTTP; `/v1/traces` is put behind its path.
    pub collector: Backend,
    /// The part of the requests that are traced where their callers don't say, from 0 to 1.
    pub sample_ratio: f64,
}

impl Snapshot {
    /// The endpoint of an id of this snapshot.
    pub fn endpoint(&self, id: EndpointId) -> &Endpoint {
        &self.endpoints[id.0 as usize]
    }

    /// The pair of an id of this snapshot.
    pub fn pair(&self, id: PairId) -> &Pair {
        &self.pairs[id.0 as usize]
    }

    /// The policy of an id of this snapshot.
    pub fn policy(&self, id: PolicyId) -> &FailoverPolicy {
        &self.policies[id.0 as usize]
    }

    /// The policy that a model name leads to, exactly as a request would find it.
    pub fn route(
        &self,
        operation: &Operation,
        environment: Environment,
        model: &str,
    ) -> Option<&FailoverPolicy> {
        let routes = operation.routes.as_ref()?.get(environment);
        Some(self.policy(routes.find(model)?))
    }
}

/// What a client can't exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request body; a larger one gets 413.
    pub request_body: usize,
    /// Bytes of all bodies held at once, of requests and of answers; past it 503 with Retry-After, and answers
    /// are committed as they come.
    pub buffered_bodies: usize,
    /// From the first byte of a request's head (or the connection's start) to its end.
    pub request_head_timeout: Duration,
    /// Between two reads of a request body.
    pub request_body_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub request_body_total: Duration,
    /// Bytes of an answer that is no stream which are held until it is whole; a larger one is
    /// committed there and passed on.
    pub response_body: usize,
    /// From the end of an answer to the first byte of the next request on the connection.
    pub keepalive_timeout: Duration,
    /// Between two writes of an answer: a client that takes nothing of it for so long is cut.
    pub response_write_timeout: Duration,
    /// Client connections at once; past it new ones are closed.
    pub connections: usize,
    /// Requests on one client connection; with the last answer it is closed.
    pub requests_per_connection: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body: 32 << 20,
            buffered_bodies: 1 << 30,
            request_head_timeout: Duration::from_secs(10),
            request_body_timeout: Duration::from_secs(30),
            request_body_total: Duration::from_secs(120),
            response_body: 8 << 20,
            keepalive_timeout: Duration::from_secs(75),
            response_write_timeout: Duration::from_secs(60),
            connections: 20_000,
            requests_per_connection: 10_000,
        }
    }
}
