//! What goes on in the background, as a service of Pingora's: pools are followed, backends checked.
//!
//! A reload tells it which pools there are from now on. Those that were there before go on
//! untouched. A new pool takes over from the one that its endpoint had before: only when its own
//! members are known does the old one leave, so that the checks' results of those that both have are
//! never forgotten. The checks of an endpoint are one `HealthRegistry`, shared by both. What is no
//! longer configured is dropped at once, whatever request may still be under way there.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use pingora_load_balancing::{Backend as Listed, BackendView, HealthCheckService, HealthRegistry};
use tokio::task::JoinHandle;

use super::super::shared::Gateway;
use super::discovery::{Discovery, Names, Resolver};
use super::health::Get;
use super::members::Member;
use super::pools::Pool;
use crate::policy::HealthCheck;

/// Follows the pools of a gateway's configuration.
pub struct BackendService {
    /// Whose pools.
    pub gateway: Arc<Gateway>,
    /// What finds the addresses of names.
    pub resolver: Arc<dyn Resolver>,
}

#[async_trait]
impl BackgroundService for BackendService {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut followed = Vec::new();
        loop {
            self.follow(&mut followed, &shutdown);
            tokio::select! {
                () = self.gateway.pools().changed.notified() => {}
                _ = shutdown.wait_for(|over| *over) => return,
            }
        }
    }
}

/// A pool that is being followed, until this is dropped.
struct Followed {
    pool: Arc<Pool>,
    view: Arc<BackendView>,
    checks: Arc<Checks>,
    _task: Task,
}

/// The checks of an endpoint's backends, until this is dropped.
struct Checks {
    check: Option<HealthCheck>,
    registry: Arc<HealthRegistry>,
    _task: Option<Task>,
}

/// A task that ends with its handle.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl BackendService {
    /// Makes `followed` the pools of the configuration that is installed now.
    fn follow(&self, followed: &mut Vec<Followed>, shutdown: &ShutdownWatch) {
        let mut before = std::mem::take(followed);
        for pool in self.gateway.table().pools() {
            let same = before.iter().position(|old| Arc::ptr_eq(&old.pool, &pool));
            followed.push(match same {
                Some(index) => before.swap_remove(index),
                None => {
                    let name = &pool.endpoint.name;
                    let old = before.iter().find(|old| old.pool.endpoint.name == *name);
                    self.begin(pool.clone(), old, shutdown)
                }
            });
        }
    }

    fn begin(&self, pool: Arc<Pool>, old: Option<&Followed>, shutdown: &ShutdownWatch) -> Followed {
        let checks = old.filter(|old| old.checks.is_for(&pool));
        let checks = match checks {
            Some(old) => old.checks.clone(),
            None => Arc::new(Checks::begin(&pool, shutdown)),
        };
        let discovery = Discovery {
            gateway: self.gateway.clone(),
            names: Names {
                endpoint: pool.endpoint.name.clone(),
                resolver: self.resolver.clone(),
                last: std::sync::Mutex::default(),
            },
            pool: pool.clone(),
        };
        let registry = checks.registry.clone();
        let view = BackendView::new_with_health_registry(Box::new(discovery), registry);
        let view = Arc::new(view);
        let predecessor = old.map(|old| old.view.clone());
        let task = tokio::spawn(keep_up(pool.clone(), view.clone(), predecessor));
        Followed {
            pool,
            view,
            checks,
            _task: Task(task),
        }
    }
}

/// Keeps a pool's members those that are discovered.
async fn keep_up(pool: Arc<Pool>, view: Arc<BackendView>, predecessor: Option<Arc<BackendView>>) {
    let interval = pool.endpoint.discover_interval;
    let publish = |found: Arc<std::collections::BTreeSet<Listed>>| {
        let member = |listed: &Listed| listed.ext.get::<Arc<Member>>().cloned();
        if interval.is_some() {
            pool.publish(found.iter().filter_map(member).collect());
        }
    };
    let mut predecessor = predecessor;
    loop {
        // It has no errors of its own: a name that can't be resolved keeps what it had.
        let _ = view.update(publish).await;
        predecessor.take();
        match interval {
            Some(interval) => tokio::time::sleep(interval).await,
            None => return,
        }
    }
}

impl Checks {
    fn begin(pool: &Pool, shutdown: &ShutdownWatch) -> Self {
        let endpoint = &pool.endpoint;
        let registry = HealthRegistry::with_equivalence(|listed| {
            let member = listed.ext.get::<Arc<Member>>();
            member.map_or(0, |member| member.link.key())
        });
        let registry = Arc::new(registry);
        let task = endpoint.health_check.as_ref().map(|check| {
            registry.set_health_check(Box::new(Get {
                endpoint: endpoint.name.clone(),
                check: check.clone(),
            }));
            let mut service = HealthCheckService::new(registry.clone());
            service.health_check_frequency = Some(check.interval);
            service.parallel_health_check = true;
            let shutdown = shutdown.clone();
            Task(tokio::spawn(
                async move { service.run(shutdown, None).await },
            ))
        });
        Self {
            check: endpoint.health_check.clone(),
            registry,
            _task: task,
        }
    }

    /// Whether they are what a pool wants checked.
    fn is_for(&self, pool: &Pool) -> bool {
        self.check == pool.endpoint.health_check
    }
}
