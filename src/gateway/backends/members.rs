//! Who is in a pool now, made ready for being picked from.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use pingora_load_balancing::selection::algorithms::Random;
use pingora_load_balancing::selection::consistent::KetamaHashing;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, SelectionAlgorithm};
use pingora_load_balancing::{Backend as Listed, Extensions};
use sha2::{Digest, Sha256};

use super::super::balance::WeightedSchedule;
use super::super::connect::Link;
use super::state::BackendState;
use crate::policy::{Backend, Balance, Credential, Endpoint};
use crate::provider::ShownKey;

/// A backend as requests use it.
pub(in super::super) struct Member {
    pub(in super::super) link: Arc<Link>,
    /// The value of the `host` header.
    pub(in super::super) authority: Box<str>,
    /// Put before the operation's path.
    pub(in super::super) base_path: Box<str>,
    /// Which of several this is, for those who operate the gateway; `None` where there is but one.
    pub(in super::super) name: Option<Arc<str>>,
    pub(super) weight: u32,
    /// What health checks show.
    pub(super) key: ShownKey,
    /// Where it stands in a ring and in a list: its address, or what stands for its name.
    pub(super) place: SocketAddr,
    pub(super) state: Arc<BackendState>,
}

impl Member {
    pub(super) fn new(
        endpoint: &Endpoint,
        backend: &Backend,
        address: Option<IpAddr>,
        link: Arc<Link>,
        state: Arc<BackendState>,
    ) -> Self {
        let several = endpoint.backends.len() > 1 || endpoint.discover_interval.is_some();
        let authority = backend.authority();
        let name = match address {
            Some(address) => SocketAddr::new(address, backend.port).to_string(),
            None => authority.clone(),
        };
        Self {
            link,
            authority: authority.into(),
            base_path: backend.base_path.as_str().into(),
            name: several.then(|| name.into()),
            weight: backend.weight,
            // One that can't be sent is refused with the configuration.
            key: first_key(&endpoint.credential).unwrap_or_default(),
            place: place(backend, address),
            state,
        }
    }

    /// As `pingora-load-balancing` lists it.
    pub(super) fn listed(member: &Arc<Self>) -> Listed {
        let mut ext = Extensions::new();
        ext.insert(member.clone());
        Listed {
            addr: pingora_core::protocols::l4::socket::SocketAddr::Inet(member.place),
            weight: member.weight as usize,
            ext,
        }
    }
}

fn first_key(credential: &Credential) -> Option<ShownKey> {
    ShownKey::new(credential.keys().first()?, credential.place()?).ok()
}

/// An address, the same in every process, so that all gateways' rings agree.
fn place(backend: &Backend, address: Option<IpAddr>) -> SocketAddr {
    let address = address.or_else(|| backend.host.parse().ok());
    let address = address.unwrap_or_else(|| {
        let mut octets = [0; 16];
        let digest = Sha256::digest(&backend.host);
        octets.copy_from_slice(&digest[..16]);
        octets[0] = 0xfd;
        IpAddr::V6(Ipv6Addr::from(octets))
    });
    SocketAddr::new(address, backend.port)
}

/// The members of a pool and the order in which they are drawn.
pub(super) struct Members {
    pub(super) list: Box<[Arc<Member>]>,
    pub(super) schedule: WeightedSchedule,
    /// For `random`: the sums of the weights up to each.
    sums: Box<[u64]>,
    ring: Option<Arc<KetamaHashing>>,
}

/// Where a member stands in the list.
#[derive(Clone, Copy)]
struct Index(usize);

/// A way along the ring, from where a key stands.
pub(super) type Walk = <KetamaHashing as BackendSelection>::Iter;

impl Members {
    pub(super) fn new(list: Vec<Arc<Member>>, balance: &Balance) -> Self {
        let weights: Vec<u32> = list.iter().map(|member| member.weight).collect();
        let sums = weights.iter().scan(0, |sum, &weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        let consistent = matches!(balance, Balance::Consistent { .. });
        Self {
            schedule: WeightedSchedule::new(&weights),
            sums: sums.collect(),
            ring: consistent.then(|| ring(&list)),
            list: list.into(),
        }
    }

    /// One by chance, by weight.
    pub(super) fn by_chance(&self) -> usize {
        let sum = self.sums.last().copied().unwrap_or(1);
        let drawn = Random.next(&[]) % sum;
        self.sums.partition_point(|&upto| upto <= drawn)
    }

    /// The way along the ring that a key has.
    pub(super) fn walk(&self, key: &[u8]) -> Option<Walk> {
        self.ring.as_ref().map(|ring| ring.iter(key))
    }
}

/// Where each member stands many times, by its weight.
fn ring(list: &[Arc<Member>]) -> Arc<KetamaHashing> {
    let listed = list.iter().enumerate().map(|(index, member)| {
        let mut listed = Member::listed(member);
        listed.ext.insert(Index(index));
        listed
    });
    let listed: BTreeSet<_> = listed.collect();
    Arc::new(KetamaHashing::build(&listed))
}

/// The member at the next point of a ring.
pub(super) fn step(walk: &mut Walk) -> Option<usize> {
    walk.next()?.ext.get().map(|Index(index)| *index)
}
