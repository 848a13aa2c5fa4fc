//! Every pool there is, and the states of the backends: what a reload leaves as it is.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::connect::{LinkError, Links};
use super::members::{Member, Members};
use super::state::{BackendState, WHOLE};
use super::turn::{Several, Turn};
use crate::policy::{Backend, Balance, Endpoint, HealthCheck};
use crate::telemetry::BackendReport;

/// The pools of all endpoints. It outlives a configuration, as the suspensions do.
pub struct Pools {
    epoch: Instant,
    pools: Mutex<HashMap<u64, Weak<Pool>>>,
    states: Mutex<HashMap<StateKey, Weak<BackendState>>>,
    /// Another configuration was installed.
    pub(in super::super) changed: Notify,
}

/// The link's key, and how the backend is checked.
type StateKey = (u64, Option<HealthCheck>);

impl Default for Pools {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            pools: Mutex::default(),
            states: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

impl Pools {
    /// The way to an endpoint's backends.
    ///
    /// # Errors
    /// What is wrong with the endpoint's certificates.
    pub(in super::super) fn backends(
        &self,
        endpoint: &Endpoint,
        links: &Links,
    ) -> Result<Backends, LinkError> {
        let single = match &endpoint.backends[..] {
            [_] => endpoint.health_check.is_none() && endpoint.discover_interval.is_none(),
            _ => false,
        };
        let members = endpoint
            .backends
            .iter()
            .map(|backend| self.member(endpoint, backend, None, links))
            .collect::<Result<Vec<_>, _>>()?;
        match members.first() {
            Some(member) if single => Ok(Backends::One(member.clone())),
            _ => Ok(Backends::Pool(self.pool(endpoint, members))),
        }
    }

    /// The pool of an endpoint: the one there is, where nothing has changed.
    fn pool(&self, endpoint: &Endpoint, members: Vec<Arc<Member>>) -> Arc<Pool> {
        let identity = identity(endpoint, &members);
        let mut pools = lock(&self.pools);
        if let Some(pool) = pools.get(&identity).and_then(Weak::upgrade) {
            return pool;
        }
        let affinity = match &endpoint.balance {
            Balance::Consistent { affinity_header } => affinity_header.parse().ok(),
            _ => None,
        };
        let pool = Arc::new(Pool {
            members: ArcSwap::from_pointee(Members::new(members, &endpoint.balance)),
            ticket: AtomicU64::new(0),
            affinity,
            endpoint: endpoint.clone(),
        });
        pools.retain(|_, pool| pool.strong_count() > 0);
        pools.insert(identity, Arc::downgrade(&pool));
        pool
    }

    /// A backend of an endpoint, at an address of its own where its name has several.
    pub(super) fn member(
        &self,
        endpoint: &Endpoint,
        backend: &Backend,
        address: Option<IpAddr>,
        links: &Links,
    ) -> Result<Arc<Member>, LinkError> {
        let link = links.link(endpoint, backend, address)?;
        let key = (link.key(), endpoint.health_check.clone());
        let state = self.state(key);
        let member = Member::new(endpoint, backend, address, link, state);
        Ok(Arc::new(member))
    }

    fn state(&self, key: StateKey) -> Arc<BackendState> {
        let mut states = lock(&self.states);
        if let Some(state) = states.get(&key).and_then(Weak::upgrade) {
            return state;
        }
        let state = Arc::new(BackendState::new(self.epoch));
        states.retain(|_, state| state.strong_count() > 0);
        states.insert(key, Arc::downgrade(&state));
        state
    }
}

/// What makes a pool another one.
fn identity(endpoint: &Endpoint, members: &[Arc<Member>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    endpoint.name.hash(&mut hasher);
    for (backend, member) in endpoint.backends.iter().zip(members) {
        (&backend.base_path, backend.weight, member.link.key()).hash(&mut hasher);
    }
    format!("{:?}", endpoint.balance).hash(&mut hasher);
    endpoint.health_check.hash(&mut hasher);
    endpoint.discover_interval.hash(&mut hasher);
    endpoint.credential.place().hash(&mut hasher);
    let key = endpoint.credential.keys().first();
    key.map(crate::policy::Secret::expose).hash(&mut hasher);
    hasher.finish()
}

/// The way to the backends of an endpoint.
pub(in super::super) enum Backends {
    /// The only one.
    One(Arc<Member>),
    /// Several, or one that is checked or looked up.
    Pool(Arc<Pool>),
}

impl Backends {
    /// The backends for one attempt of a request with these headers.
    pub(in super::super) fn turn<'h>(
        &self,
        header: impl FnOnce(&HeaderName) -> Option<&'h HeaderValue>,
    ) -> Turn {
        match self {
            Self::One(member) => Turn::One(Some(member.clone())),
            Self::Pool(pool) => {
                let key = pool.affinity.as_ref().and_then(header);
                Turn::Several(Several::new(pool.clone(), key.map(HeaderValue::as_bytes)))
            }
        }
    }

    /// When a backend can be healthy again at the soonest; `None`: one is.
    pub(in super::super) fn back_at(&self, now: std::time::Instant) -> Option<std::time::Instant> {
        match self {
            Self::One(_) => None,
            Self::Pool(pool) => pool.back_at(now),
        }
    }

    pub(in super::super) const fn pool(&self) -> Option<&Arc<Pool>> {
        match self {
            Self::One(_) => None,
            Self::Pool(pool) => Some(pool),
        }
    }

    /// How each of them stands at `now`.
    pub(in super::super) fn report(&self, endpoint: &Endpoint, now: Instant) -> Vec<BackendReport> {
        match self {
            Self::One(member) => vec![BackendReport {
                endpoint: endpoint.name.clone(),
                backend: member.authority.as_ref().into(),
                weight: member.weight,
                checked: false,
                healthy: true,
                since: None,
                last_check: None,
                share: 1.0,
                in_flight: None,
            }],
            Self::Pool(pool) => pool.report(now),
        }
    }
}

/// The backends of one endpoint.
pub(in super::super) struct Pool {
    pub(super) endpoint: Endpoint,
    members: ArcSwap<Members>,
    ticket: AtomicU64,
    affinity: Option<HeaderName>,
}

impl Pool {
    pub(super) fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// Puts other members in the place of those there are.
    pub(super) fn publish(&self, members: Vec<Arc<Member>>) {
        let members = Members::new(members, &self.endpoint.balance);
        self.members.store(Arc::new(members));
    }

    pub(super) fn ticket(&self) -> u64 {
        self.ticket.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn slow_start(&self) -> Duration {
        let check = self.endpoint.health_check.as_ref();
        check.map_or(Duration::ZERO, |check| check.slow_start)
    }

    /// Whether checks say that nobody is healthy.
    pub(super) fn is_down(&self) -> bool {
        let is_up = |member: &Arc<Member>| member.state.is_up();
        self.endpoint.health_check.is_some() && !self.members.load().list.iter().any(is_up)
    }

    fn back_at(&self, now: std::time::Instant) -> Option<std::time::Instant> {
        let check = self.endpoint.health_check.as_ref()?;
        self.is_down()
            .then(|| now + check.interval.saturating_mul(check.healthy_after))
    }

    fn report(&self, now: Instant) -> Vec<BackendReport> {
        let members = self.members.load();
        let report = |member: &Arc<Member>| {
            let state = &member.state;
            BackendReport {
                endpoint: self.endpoint.name.clone(),
                backend: match &member.name {
                    Some(name) => name.clone(),
                    None => member.authority.as_ref().into(),
                },
                weight: member.weight,
                checked: self.endpoint.health_check.is_some(),
                healthy: state.is_up(),
                since: state.since().map(Instant::into_std),
                last_check: state
                    .last_check()
                    .map(|(at, passed)| (at.into_std(), passed)),
                share: f64::from(state.share(now, self.slow_start())) / f64::from(WHOLE),
                in_flight: Some(state.in_flight()),
            }
        };
        members.list.iter().map(report).collect()
    }

    /// Where its members are, which is nobody's business outside.
    pub(in super::super) fn places(&self) -> Vec<std::net::SocketAddr> {
        let members = self.members.load();
        members.list.iter().map(|member| member.place).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
