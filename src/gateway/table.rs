//! The snapshot made ready for use: what the request path would otherwise look up each time.
//!
//! A [`Table`] is made when a configuration is installed. It holds the snapshot, and beside each
//! endpoint the links to its backends and its keys as they are sent, beside each pair the handle
//! of its suspension, and beside each target set how the choice falls in it. A request takes one
//! `Arc<Table>` when it arrives and keeps it.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use super::admit::is_key_header;
use super::backends::{Backends, Pool, Pools};
use super::balance::{Balancer, Latencies};
use super::connect::{LinkError, Links};
use super::held_bytes::HeldBytes;
use super::keys::Keys;
use super::rate_limit::{KeyLimits, RateLimits};
use super::room::{Entrance, Rooms};
use super::suspension::{Epoch, PairState, Suspensions};
use crate::policy::{
    Caller, Chain, Credential, Endpoint, EndpointId, Environment, FailoverPolicy, KeyPlace, PairId,
    PathRewrite, PolicyId, Provider, QueryParameter, Secret, Snapshot, Target,
};
use crate::provider;
use crate::telemetry::BackendReport;
use crate::telemetry::metrics::{KeyStatus, Metrics, RoomStatus, Series};
use crate::telemetry::traces::{Tracer, Traces};

/// What outlives every configuration: a table finds there what is alive of what it names.
pub(super) struct Lasting {
    pub(super) suspensions: Arc<Suspensions>,
    pub(super) latencies: Latencies,
    pub(super) links: Links,
    pub(super) held: Arc<HeldBytes>,
    pub(super) pools: Pools,
    pub(super) rooms: Rooms,
    pub(super) rate_limits: RateLimits,
    pub(super) metrics: Metrics,
    pub(super) traces: Traces,
}

impl Lasting {
    pub(super) fn new(links: Links, started: std::time::Instant) -> Self {
        Self {
            suspensions: Arc::new(Suspensions::new(started)),
            latencies: Latencies::new(started),
            links,
            held: Arc::default(),
            pools: Pools::default(),
            rooms: Rooms::default(),
            rate_limits: RateLimits::default(),
            metrics: Metrics::default(),
            traces: Traces::default(),
        }
    }
}

/// A snapshot, and the handles to everything alive that it names.
pub struct Table {
    /// The configuration.
    pub snapshot: Snapshot,
    endpoints: Vec<EndpointLinks>,
    pairs: Vec<Arc<PairState>>,
    epoch: Epoch,
    /// Two for each policy, in the order of [`Environment::ALL`].
    balancers: Vec<Option<Balancer>>,
    secrets: Vec<Secret>,
    /// Of each caller, in the order of the configuration.
    rate_limits: Vec<Option<Arc<KeyLimits>>>,
    /// Headers in which endpoints want their keys, besides those in which callers show theirs.
    key_headers: Vec<HeaderName>,
    passes_credentials: bool,
    series: Series,
    tracer: Option<Arc<Tracer>>,
    held: Arc<HeldBytes>,
}

impl AsRef<Snapshot> for Table {
    fn as_ref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Table {
    /// Makes a snapshot ready. Suspensions and connections of what it shares with an earlier one
    /// go on.
    ///
    /// # Errors
    /// What is wrong with an endpoint's certificates or key, where they can't be used.
    pub(super) fn new(snapshot: Snapshot, lasting: &Lasting) -> Result<Self, TableError> {
        let (key_headers, key_parameters) = key_names(&snapshot);
        let mut endpoints = snapshot
            .endpoints
            .iter()
            .map(|endpoint| EndpointLinks::new(endpoint, &key_parameters, lasting))
            .collect::<Result<Vec<_>, _>>()?;
        // From here on nothing can fail any more: a refused configuration makes no room smaller.
        for links in &mut endpoints {
            links.entrance = Entrance::new(&links.endpoint, &lasting.rooms);
        }
        let pairs = snapshot
            .pairs
            .iter()
            .map(|pair| lasting.suspensions.resolve(pair))
            .collect();
        let balancer = |policy: &FailoverPolicy, chain: &Chain| {
            let pair = |target: &Target| snapshot.pair(target.pair);
            Balancer::new(&policy.balance, &chain.target, pair, &lasting.latencies)
        };
        let mut balancers = Vec::new();
        for policy in &snapshot.policies {
            let chains = Environment::ALL.map(|environment| policy.chains.get(environment));
            balancers.extend(chains.map(|chain| balancer(policy, chain.as_ref()?)));
        }
        let secrets = snapshot
            .endpoints
            .iter()
            .flat_map(|endpoint| endpoint.credential.keys().iter().cloned())
            .collect();
        let now = std::time::Instant::now();
        let rate_limits = lasting.rate_limits.resolve(&snapshot.authentication, now);
        let series = lasting.metrics.series(&snapshot);
        let tracer = lasting.traces.tracer(snapshot.tracing.as_ref());
        Ok(Self {
            passes_credentials: endpoints.iter().any(EndpointLinks::passes_credential),
            key_headers,
            snapshot,
            endpoints,
            pairs,
            epoch: lasting.suspensions.epoch(),
            balancers,
            secrets,
            rate_limits,
            series,
            tracer,
            held: lasting.held.clone(),
        })
    }

    /// An endpoint as the request path uses it.
    pub(super) fn endpoint(&self, id: EndpointId) -> &EndpointLinks {
        &self.endpoints[id.0 as usize]
    }

    /// What a caller has left, where its key has a limit.
    pub(super) fn rate_limit(&self, caller: &Caller) -> Option<&Arc<KeyLimits>> {
        caller.rate_limit?;
        self.rate_limits.get(caller.id.0 as usize)?.as_ref()
    }

    /// The suspension of a pair.
    pub(super) fn pair(&self, id: PairId) -> &Arc<PairState> {
        &self.pairs[id.0 as usize]
    }

    /// What the time of all pairs is measured from.
    pub(super) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The suspensions of all pairs, in the order of the snapshot's.
    pub(super) fn pairs(&self) -> &[Arc<PairState>] {
        &self.pairs
    }

    /// What all requests together hold of bodies.
    pub(super) fn held_bytes(&self) -> &HeldBytes {
        &self.held
    }

    /// What makes traces of requests; none where the configuration asks for none.
    pub(super) const fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.tracer.as_ref()
    }

    /// Where this snapshot's requests are counted.
    pub(super) const fn series(&self) -> &Series {
        &self.series
    }

    /// How the choice falls in a target set; `None` where there is but one target.
    pub(super) fn balancer(&self, policy: PolicyId, environment: Environment) -> Option<&Balancer> {
        let at = policy.0 as usize * Environment::ALL.len() + environment as usize;
        self.balancers.get(at)?.as_ref()
    }

    /// The pools of the endpoints that have one.
    pub(super) fn pools(&self) -> Vec<Arc<Pool>> {
        let pools = self.endpoints.iter();
        pools
            .filter_map(|endpoint| endpoint.backends.pool().cloned())
            .collect()
    }

    /// How full each endpoint is that has a limit, in the order of the configuration.
    pub fn rooms(&self) -> Vec<RoomStatus> {
        let endpoints = self.endpoints.iter();
        endpoints
            .filter_map(|links| Some(links.entrance()?.room().status(&links.endpoint)))
            .collect()
    }

    /// How each backend of each endpoint stands at `now`, in the order of the configuration.
    pub fn backends(&self, now: Instant) -> Vec<BackendReport> {
        let endpoints = self.endpoints.iter();
        endpoints
            .flat_map(|endpoint| endpoint.backends.report(&endpoint.endpoint, now))
            .collect()
    }

    /// How each key of the endpoints with several stands at `now`, in the order of the configuration.
    pub(super) fn keys(&self, now: std::time::Instant) -> Vec<KeyStatus> {
        let status = |endpoint: &EndpointLinks| {
            let name = endpoint.name().clone();
            let states = endpoint.keys.states().iter().enumerate();
            let status = states.map(|(index, state)| KeyStatus {
                endpoint: name.clone(),
                index,
                set_aside: state.standing(now).is_suspended(),
                times: state.suspensions(),
            });
            status.collect::<Vec<_>>()
        };
        self.endpoints.iter().flat_map(status).collect()
    }

    /// Headers that are nobody's business but an endpoint's, besides those of all gateways' callers.
    pub(super) fn key_headers(&self) -> &[HeaderName] {
        &self.key_headers
    }

    /// Whether the caller's own credential goes to some endpoint.
    pub(super) const fn passes_credentials(&self) -> bool {
        self.passes_credentials
    }

    /// Every configured secret, to be blotted out of what a provider says.
    pub(super) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }
}

/// The headers and the parameters in which the endpoints want their keys, less the headers in which
/// callers show theirs to anybody.
fn key_names(snapshot: &Snapshot) -> (Vec<HeaderName>, Vec<&str>) {
    let (mut headers, mut parameters) = (Vec::new(), Vec::new());
    let endpoints = snapshot.endpoints.iter();
    for place in endpoints.filter_map(|endpoint| endpoint.credential.place()) {
        match place {
            KeyPlace::Header(name) if !is_key_header(name) => headers.push(name.clone()),
            KeyPlace::Query(name) => parameters.push(&**name),
            KeyPlace::Bearer | KeyPlace::Header(_) => {}
        }
    }
    (headers, parameters)
}

/// Why a snapshot can't be put to use.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// An endpoint's certificates can't be used.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// An endpoint's key can't be sent in a header.
    #[error("endpoint {endpoint}: a key of it holds a character that no HTTP header can carry")]
    Credential {
        /// The endpoint's name.
        endpoint: Arc<str>,
    },
}

/// An endpoint with the way to each of its backends.
pub(super) struct EndpointLinks {
    endpoint: Endpoint,
    backends: Backends,
    keys: Keys,
    /// Parameters of the caller's query that it does not get to see.
    kept_parameters: Box<[Box<str>]>,
    required: Option<(HeaderName, HeaderValue)>,
    entrance: Option<Entrance>,
}

impl EndpointLinks {
    /// `key_parameters`: those in which some endpoint of the configuration wants its key.
    fn new(
        endpoint: &Endpoint,
        key_parameters: &[&str],
        lasting: &Lasting,
    ) -> Result<Self, TableError> {
        let keys =
            Keys::new(endpoint, &lasting.suspensions).map_err(|_| TableError::Credential {
                endpoint: endpoint.name.clone(),
            })?;
        let kept = provider::credential_parameters(endpoint.provider)
            .iter()
            .chain(key_parameters);
        let kept_parameters = match endpoint.credential {
            Credential::Passthrough => Box::default(),
            _ => kept.copied().map(Box::from).collect(),
        };
        Ok(Self {
            backends: lasting.pools.backends(endpoint, &lasting.links)?,
            keys,
            kept_parameters,
            required: provider::required_header(endpoint.provider),
            entrance: None,
            endpoint: endpoint.clone(),
        })
    }

    /// The endpoint's name in the configuration.
    pub(super) const fn name(&self) -> &Arc<str> {
        &self.endpoint.name
    }

    pub(super) const fn provider(&self) -> Provider {
        self.endpoint.provider
    }

    /// Whether requests carry a key of this gateway's.
    pub(super) const fn has_own_key(&self) -> bool {
        matches!(self.endpoint.credential, Credential::Keys { .. })
    }

    /// Whether requests carry the caller's own credential.
    pub(super) const fn passes_credential(&self) -> bool {
        matches!(self.endpoint.credential, Credential::Passthrough)
    }

    /// The keys that requests carry, one at a time.
    pub(super) const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// A header that the provider insists on, for callers that don't send it.
    pub(super) const fn required_header(&self) -> Option<&(HeaderName, HeaderValue)> {
        self.required.as_ref()
    }

    pub(super) const fn rewrite_path(&self) -> Option<&PathRewrite> {
        self.endpoint.rewrite_path.as_ref()
    }

    /// What stands in the query of every request.
    pub(super) fn query(&self) -> &[QueryParameter] {
        &self.endpoint.query
    }

    /// Parameters of the caller's query that are its own credential.
    pub(super) const fn kept_parameters(&self) -> &[Box<str>] {
        &self.kept_parameters
    }

    /// Where a place is to be had, if it has a limit.
    pub(super) const fn entrance(&self) -> Option<&Entrance> {
        self.entrance.as_ref()
    }

    /// The way to its backends.
    pub(super) const fn backends(&self) -> &Backends {
        &self.backends
    }
}
