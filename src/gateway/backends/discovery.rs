//! Who an endpoint's backends are: those that are configured, or with `discover: dns` each address
//! of their names.
//!
//! A name that can't be resolved, or that has no address at the moment, keeps those that it had. Until
//! it has been resolved once, the pool has the name itself as its member, which is resolved when a
//! connection is made. An address to which two names lead is the first name's.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pingora_core::Result;
use pingora_load_balancing::Backend as Listed;
use pingora_load_balancing::discovery::ServiceDiscovery;

use super::super::shared::Gateway;
use super::members::Member;
use super::pools::Pool;
use crate::policy::Backend;

/// What finds the addresses of a host name.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// All addresses of `host`.
    ///
    /// # Errors
    /// Why it has none.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver: its hosts file, its name servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// The discovery of one pool's members.
pub(super) struct Discovery {
    pub(super) gateway: Arc<Gateway>,
    pub(super) pool: Arc<Pool>,
    pub(super) names: Names,
}

#[async_trait]
impl ServiceDiscovery for Discovery {
    async fn discover(&self) -> Result<(BTreeSet<Listed>, HashMap<u64, bool>)> {
        let endpoint = &self.pool.endpoint;
        let mut members: Vec<Arc<Member>> = Vec::new();
        for backend in &endpoint.backends {
            let addresses = match endpoint.discover_interval {
                Some(_) => self.names.addresses(backend).await,
                None => Vec::new(),
            };
            let mut places: Vec<_> = addresses.into_iter().map(Some).collect();
            if places.is_empty() {
                places.push(None);
            }
            for address in places {
                let links = self.gateway.links();
                let member = self
                    .gateway
                    .pools()
                    .member(endpoint, backend, address, links);
                match member {
                    Ok(member) if members.iter().any(|known| known.place == member.place) => {}
                    Ok(member) => members.push(member),
                    // Its certificates were good when the endpoint was installed.
                    Err(error) => log::error!("{error}"),
                }
            }
        }
        Ok((members.iter().map(Member::listed).collect(), HashMap::new()))
    }
}

/// The addresses of host names, as far as they were ever found.
pub(super) struct Names {
    pub(super) endpoint: Arc<str>,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) last: Mutex<HashMap<String, Vec<IpAddr>>>,
}

impl Names {
    /// Where a backend is: empty only for a name that was never resolved.
    async fn addresses(&self, backend: &Backend) -> Vec<IpAddr> {
        if let Ok(address) = backend.host.parse() {
            return vec![address];
        }
        let host = &backend.host;
        let why = match self.resolver.resolve(host).await {
            Ok(mut found) if !found.is_empty() => {
                found.sort_unstable();
                found.dedup();
                self.last().insert(host.clone(), found.clone());
                return found;
            }
            Ok(_) => "it has no address".to_owned(),
            Err(error) => error.to_string(),
        };
        let last = self.last().get(host).cloned().unwrap_or_default();
        let endpoint = &self.endpoint;
        let count = last.len();
        log::warn!(
            "endpoint {endpoint}: host name {host} can't be resolved: {why}; the last {count} addresses stay in use"
        );
        last
    }

    fn last(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<IpAddr>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
