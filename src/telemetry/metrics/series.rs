//! The slots of one snapshot's series, and how a request is counted in them.

use std::sync::{Arc, OnceLock};

use super::counted::{RouteLabels, RouteSeries, TargetLabels, TargetSeries};
use super::{Metrics, RequestOutcome};
use crate::policy::{
    EndpointId, Environment, Operation, OperationId, PairId, PolicyId, Snapshot, Target,
};
use crate::telemetry::{AttemptRecord, RequestRecord};

/// Which way a request went, by the ids of its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// The policy that the model led to; none for the default endpoint.
    pub policy: Option<PolicyId>,
    /// What was invoked.
    pub operation: OperationId,
    /// For whom.
    pub environment: Environment,
}

impl RouteKey {
    /// The place of its policy among those of the routes: the first is for none.
    fn group(self) -> usize {
        self.policy.map_or(0, |policy| policy.0 as usize + 1)
    }
}

/// A slot for every route and target of a snapshot. A request finds its own by ids.
pub struct Series {
    metrics: Metrics,
    /// Ordered by key, so that those of a policy are side by side.
    routes: Box<[Route]>,
    /// Where the routes of each policy begin, and where the last one's end: there may be very many
    /// policies, but each has hardly more routes than there are operations.
    groups: Box<[usize]>,
    /// Of requests that never came to an operation.
    nowhere: Route,
}

/// The slot of a route, and those of its targets.
struct Route {
    key: Option<RouteKey>,
    labels: RouteLabels,
    series: OnceLock<Arc<RouteSeries>>,
    targets: Box<[TargetSlot]>,
}

struct TargetSlot {
    /// None: the default endpoint, whose model is the caller's own word and so told nowhere.
    pair: Option<PairId>,
    labels: TargetLabels,
    series: OnceLock<Arc<TargetSeries>>,
}

impl Series {
    pub(super) fn new(metrics: Metrics, snapshot: &Snapshot) -> Self {
        let mut routes = Vec::new();
        for operation in snapshot.operations.iter() {
            let name: Arc<str> = format!("{} {}", operation.method, operation.path).into();
            for environment in Environment::ALL {
                let mut policies = vec![None];
                if let Some(found) = &operation.routes {
                    policies.extend(found.get(environment).policies().map(Some));
                }
                policies.sort_unstable();
                policies.dedup();
                routes.extend(policies.into_iter().map(|policy| {
                    let key = RouteKey {
                        operation: operation.id,
                        environment,
                        policy,
                    };
                    Route::new(key, operation, name.clone(), snapshot)
                }));
            }
        }
        routes.sort_unstable_by_key(|route| route.key);
        Self {
            metrics,
            groups: groups(&routes, snapshot.policies.len()),
            routes: routes.into(),
            nowhere: Route {
                key: None,
                labels: RouteLabels::default(),
                series: OnceLock::new(),
                targets: Box::default(),
            },
        }
    }

    /// Counts a request, at its end.
    pub fn record(&self, record: &RequestRecord) {
        let route = record.route.and_then(|key| self.find(key));
        let route = route.unwrap_or(&self.nowhere);
        let series = route
            .series
            .get_or_init(|| self.metrics.route(&route.labels));
        series.count(record, RequestOutcome::of(record));

        for (place, attempt) in record.attempts.iter().enumerate() {
            let Some(target) = self.target(route, attempt) else {
                continue;
            };
            let next = record.attempts.get(place + 1);
            let went_on = next.is_some_and(|next| next.pair != attempt.pair);
            target.count(attempt, went_on);
        }
        let answering = record.attempts.last();
        if let Some(target) = answering.and_then(|attempt| self.target(route, attempt)) {
            target.count_answer(record);
        }
    }

    fn find(&self, key: RouteKey) -> Option<&Route> {
        let group = key.group();
        let begin = *self.groups.get(group)?;
        let end = *self.groups.get(group + 1)?;
        let routes = self.routes.get(begin..end)?;
        let place = routes.binary_search_by_key(&Some(key), |route| route.key);
        routes.get(place.ok()?)
    }

    fn target<'a>(&self, route: &'a Route, attempt: &AttemptRecord) -> Option<&'a TargetSeries> {
        let mut slots = route.targets.iter();
        let slot = slots.find(|slot| slot.pair == attempt.pair)?;
        let series = slot
            .series
            .get_or_init(|| self.metrics.target(&slot.labels));
        Some(series)
    }

    /// Of every route that a request could be counted in.
    pub(super) fn route_labels(&self) -> impl Iterator<Item = &RouteLabels> {
        let routes = self.routes.iter().chain([&self.nowhere]);
        routes.map(|route| &route.labels)
    }

    /// Of every target that an attempt could be counted in.
    pub(super) fn target_labels(&self) -> impl Iterator<Item = &TargetLabels> {
        let targets = self.routes.iter().flat_map(|route| &route.targets);
        targets.map(|target| &target.labels)
    }
}

/// Where the routes of each policy begin among `routes`, which are in the order of their keys.
fn groups(routes: &[Route], policies: usize) -> Box<[usize]> {
    let group = |route: &Route| route.key.map_or(0, RouteKey::group);
    // Those of no policy, those of each, and the end.
    let begin = |at| routes.partition_point(|route| group(route) < at);
    (0..policies + 2).map(begin).collect()
}

impl Route {
    fn new(key: RouteKey, operation: &Operation, name: Arc<str>, snapshot: &Snapshot) -> Self {
        let policy = key.policy.map(|id| snapshot.policy(id));
        let labels = RouteLabels {
            operation: name,
            policy: policy.map_or_else(Arc::default, |policy| policy.name.clone()),
            environment: Some(key.environment),
        };
        let slot = |pair, endpoint: EndpointId, model| {
            let endpoint = snapshot.endpoint(endpoint);
            TargetSlot {
                pair,
                labels: TargetLabels {
                    route: labels.clone(),
                    endpoint: endpoint.name.clone(),
                    model,
                    provider: endpoint.provider,
                    format: operation.format,
                },
                series: OnceLock::new(),
            }
        };
        let chain = policy.and_then(|policy| policy.chains.get(key.environment).as_ref());
        let mut targets: Vec<TargetSlot> = match (chain, key.policy) {
            (Some(chain), _) => chain
                .targets()
                .map(|target: &Target| {
                    slot(Some(target.pair), target.endpoint, target.model.clone())
                })
                .collect(),
            (None, Some(_)) => Vec::new(),
            (None, None) => operation
                .default_endpoint
                .get(key.environment)
                .map(|endpoint| slot(None, endpoint, Arc::default()))
                .into_iter()
                .collect(),
        };
        targets.dedup_by_key(|target| target.pair);
        Self {
            key: Some(key),
            series: OnceLock::new(),
            targets: targets.into(),
            labels,
        }
    }
}
