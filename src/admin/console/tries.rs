//! How often a wrong token may be tried.
//!
//! Each wrong one is a debt that time pays off. Past [`Rate::free`] of them the next try has to
//! wait, the right token too: otherwise the wait would tell them apart. Debts are counted for each
//! address (of IPv6 its /64, which is one customer's), and for all addresses together, so that
//! many of them don't help; who holds a token can meanwhile use the admin API.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Of one address.
const OF_ONE: Rate = Rate {
    free: 5,
    each: Duration::from_secs(10),
};

/// Of all together.
const OF_ALL: Rate = Rate {
    free: 60,
    each: Duration::from_secs(1),
};

/// Addresses that are kept; the debt of all together holds beyond.
const MOST: usize = 1024;

#[derive(Clone, Copy)]
struct Rate {
    /// So many wrong ones before the first wait.
    free: u32,
    /// What pays for one.
    each: Duration,
}

/// The wrong tries so far.
#[derive(Default)]
pub(super) struct Tries(Mutex<Debts>);

/// When each debt will be paid off.
#[derive(Default)]
struct Debts {
    of_all: Option<Instant>,
    of_one: HashMap<IpAddr, Instant>,
}

impl Tries {
    /// How long somebody at `address` has to wait for the next try; `None`: not at all.
    pub(super) fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let debts = self.lock();
        let of_one = debts.of_one.get(&network(address)).copied();
        let waits = [OF_ONE.wait(of_one, now), OF_ALL.wait(debts.of_all, now)];
        waits.into_iter().flatten().max()
    }

    /// A wrong one.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) {
        let mut debts = self.lock();
        debts.of_all = Some(OF_ALL.more(debts.of_all, now));
        debts.of_one.retain(|_, paid_off| *paid_off > now);
        let address = network(address);
        if debts.of_one.len() < MOST || debts.of_one.contains_key(&address) {
            let before = debts.of_one.get(&address).copied();
            debts.of_one.insert(address, OF_ONE.more(before, now));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Debts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rate {
    fn wait(self, paid_off: Option<Instant>, now: Instant) -> Option<Duration> {
        let debt = paid_off?.saturating_duration_since(now);
        let most = self.each * (self.free - 1);
        Some(debt.saturating_sub(most)).filter(|wait| !wait.is_zero())
    }

    fn more(self, paid_off: Option<Instant>, now: Instant) -> Instant {
        paid_off.map_or(now, |paid_off| paid_off.max(now)) + self.each
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn after_five_wrong_ones_an_address_waits_and_others_dont() {
        let (tries, begin) = (Tries::default(), Instant::now());
        let (here, there) = (ip("192.0.2.1"), ip("192.0.2.2"));
        for _ in 0..5 {
            assert_eq!(tries.wait(here, begin), None);
            tries.failed(here, begin);
        }
        assert_eq!(tries.wait(here, begin), Some(Duration::from_secs(10)));
        assert_eq!(tries.wait(there, begin), None);

        let after = |seconds| begin + Duration::from_secs(seconds);
        let almost = tries.wait(here, after(9));
        assert_eq!(almost, Some(Duration::from_secs(1)));
        assert_eq!(tries.wait(here, after(10)), None);
        tries.failed(here, after(10));
        assert_eq!(tries.wait(here, after(10)), Some(Duration::from_secs(10)));
        assert_eq!(tries.wait(here, after(60)), None);
    }

    #[test]
    fn many_addresses_dont_help() {
        let (tries, begin) = (Tries::default(), Instant::now());
        for number in 0..OF_ALL.free {
            assert_eq!(tries.wait(ip("192.0.2.1"), begin), None, "{number}");
            tries.failed(IpAddr::from((0x0a00_0000 + number).to_be_bytes()), begin);
        }
        assert!(tries.wait(ip("192.0.2.1"), begin).is_some());
    }

    #[test]
    fn the_memory_for_addresses_is_bounded() {
        let (tries, begin) = (Tries::default(), Instant::now());
        for number in 0..5_000_u32 {
            tries.failed(IpAddr::from(number.to_be_bytes()), begin);
        }
        assert_eq!(tries.lock().of_one.len(), MOST);
        tries.failed(ip("192.0.2.1"), begin + OF_ONE.each);
        assert_eq!(tries.lock().of_one.len(), 1, "what is paid off goes");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let (tries, now) = (Tries::default(), Instant::now());
        for host in 1..=5 {
            tries.failed(ip(&format!("2001:db8::{host}")), now);
        }
        assert!(tries.wait(ip("2001:db8::ffff"), now).is_some());
        assert!(tries.wait(ip("2001:db8:0:1::1"), now).is_none());
        for _ in 0..5 {
            tries.failed(ip("::ffff:192.0.2.7"), now);
        }
        assert!(tries.wait(ip("192.0.2.7"), now).is_some());
    }
}
