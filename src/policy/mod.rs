//! What users configure, in types that can't be wrong. Pure: no clock, no network, no locks.
//!
//! A [`Snapshot`] is one configuration after validation. The gateway takes one `Arc<Snapshot>`
//! when a request arrives and keeps it, so a reload never changes a request midway.
//!
//! ```text
//! Snapshot
//! ├── endpoints: Endpoint { backends, credential, ... }      by EndpointId
//! ├── pairs:     Pair { environment, endpoint, model }       by PairId; what a suspension is about
//! ├── operations: Operation { method, path, model_in, default_endpoint, routes }
//! │                 routes: environment + model -> FailoverPolicy
//! ├── policies:  FailoverPolicy { chains per environment, timeouts, ... }
//! └── callers:   digest of a key -> Caller { name, environment, rate_limit }
//! ```

mod caller;
mod endpoint;
mod failover;
mod operation;
mod operations;
mod path;
mod pattern_index;
mod percent;
mod routes;
mod secret;
mod snapshot;

pub use caller::{Authentication, Caller, CallerId, Callers, KeyDigest, RateLimit};
pub use endpoint::{
    Backend, Balance, Credential, Endpoint, EndpointId, HealthCheck, HttpVersion, KeyPlace,
    PathRewrite, Provider, QueryParameter, Room, Scheme, UpstreamTls,
};
pub use failover::{
    Chain, FailoverOn, FailoverPolicy, Pair, PairId, PolicyId, Prefill, RetryBackoff, StreamRescue,
    Target, TargetBalance, WhenAllSuspended,
};
pub use operation::{Dialect, Format, ModelPlace, Operation, OperationId, always_streams};
pub use operations::{NoOperation, Operations};
pub use path::{Captured, MODEL, PathTemplate, behind_segments};
pub use percent::{decode_parameter, decode_segment, percent_encode};
pub use routes::{Pattern, Routes};
pub use secret::Secret;
pub use snapshot::{Limits, Snapshot, Tracing};

/// In which of the two worlds of the original a call is made; the caller's key decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Environment {
    /// Real traffic.
    Production,
    /// Trial traffic, with policies, targets and suspensions of its own.
    Sandbox,
}

impl Environment {
    /// Both, in the order of the configuration file.
    pub const ALL: [Self; 2] = [Self::Production, Self::Sandbox];

    /// The name in the configuration, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Sandbox => "sandbox",
        }
    }
}

impl std::fmt::Display for Environment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One value for each [`Environment`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerEnvironment<T> {
    /// The value for production.
    pub production: T,
    /// The value for sandbox.
    pub sandbox: T,
}

impl<T> PerEnvironment<T> {
    /// The value of `environment`.
    pub const fn get(&self, environment: Environment) -> &T {
        match environment {
            Environment::Production => &self.production,
            Environment::Sandbox => &self.sandbox,
        }
    }

    /// The value of `environment`, to change it.
    pub const fn get_mut(&mut self, environment: Environment) -> &mut T {
        match environment {
            Environment::Production => &mut self.production,
            Environment::Sandbox => &mut self.sandbox,
        }
    }
}
