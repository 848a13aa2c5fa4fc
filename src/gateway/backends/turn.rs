//! One attempt's way through the backends of an endpoint: each at most once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use tokio::time::Instant;

use super::super::places::Places;
use super::members::{Member, Members, Walk, step};
use super::pools::Pool;
use super::state::WHOLE;
use crate::policy::Balance;

/// How often a draw may fall on one that is left out before all are looked at in order.
const DRAWS: usize = 64;

/// The same of points of a ring, where one member has many in a row.
const STEPS: usize = 4096;

/// The backends that an attempt may use, one after the other.
pub(in super::super) enum Turn {
    /// Of an endpoint with a single one.
    One(Option<Arc<Member>>),
    /// Of a pool.
    Several(Several),
}

impl Turn {
    /// The next backend to try; `None`: all were tried, or are not healthy while another is.
    pub(in super::super) fn next(&mut self) -> Option<Lease> {
        match self {
            Self::One(member) => member.take().map(Lease::uncounted),
            Self::Several(several) => several.next(),
        }
    }
}

/// The way through a pool.
pub(in super::super) struct Several {
    pool: Arc<Pool>,
    members: Arc<Members>,
    tried: Places,
    /// Nobody is healthy, so health is no reason to leave anybody out.
    all_down: bool,
    key: Option<Key>,
}

/// Where a request's session stands in the ring.
struct Key {
    walk: Walk,
    /// At which share of a returning backend this session goes back to it.
    share: u32,
}

impl Several {
    pub(super) fn new(pool: Arc<Pool>, key: Option<&[u8]>) -> Self {
        let members = pool.members();
        let key = key.and_then(|key| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            let share = u32::try_from(hasher.finish() % u64::from(WHOLE)).unwrap_or_default();
            let walk = members.walk(key)?;
            Some(Key { walk, share })
        });
        Self {
            all_down: pool.is_down(),
            tried: Places::default(),
            key,
            members,
            pool,
        }
    }

    fn next(&mut self) -> Option<Lease> {
        let index = self.draw().or_else(|| self.next_in_order())?;
        self.tried.insert(index);
        Some(Lease::counted(self.members.list[index].clone()))
    }

    /// One as the balance has it. Who gives up a turn because it is only just back has given up
    /// all of this attempt's.
    fn draw(&mut self) -> Option<usize> {
        let mut passed = self.tried.clone();
        let draws = if self.key.is_some() { STEPS } else { DRAWS };
        for _ in 0..draws {
            let index = match (&mut self.key, &self.pool.endpoint.balance) {
                (Some(key), _) => step(&mut key.walk)?,
                (None, Balance::Random) => self.members.by_chance(),
                (None, Balance::LeastBusy) => self.least_busy(&passed)?,
                (None, Balance::RoundRobin | Balance::Consistent { .. }) => {
                    self.members.schedule.pick(self.pool.ticket())
                }
            };
            if passed.contains(index) || !self.may_use(index) {
                continue;
            }
            if self.takes_turn(index) {
                return Some(index);
            }
            passed.insert(index);
        }
        None
    }

    fn may_use(&self, index: usize) -> bool {
        self.all_down || self.members.list[index].state.is_up()
    }

    fn takes_turn(&self, index: usize) -> bool {
        let state = &self.members.list[index].state;
        if !state.is_returning() {
            return true;
        }
        let share = state.share(Instant::now(), self.pool.slow_start());
        match &self.key {
            Some(key) => key.share < share,
            None => state.takes_turn(share),
        }
    }

    /// Who has the fewest requests under way for its weight, this one counted; of equals in turn.
    fn least_busy(&self, passed: &Places) -> Option<usize> {
        let load = |index: usize| {
            let member = &self.members.list[index];
            let load = u64::from(member.state.in_flight()) + 1;
            (load, u64::from(member.weight))
        };
        let mut least: Option<(usize, (u64, u64))> = None;
        for index in self.in_order() {
            if passed.contains(index) || !self.may_use(index) {
                continue;
            }
            let (load, weight) = load(index);
            let less = |&(_, (least, heavy)): &(usize, (u64, u64))| load * heavy < least * weight;
            if least.as_ref().is_none_or(less) {
                least = Some((index, (load, weight)));
            }
        }
        least.map(|(index, _)| index)
    }

    fn next_in_order(&self) -> Option<usize> {
        self.in_order()
            .find(|&index| !self.tried.contains(index) && self.may_use(index))
    }

    /// All places, from one that changes with each look.
    fn in_order(&self) -> impl Iterator<Item = usize> + use<> {
        let count = self.members.list.len();
        let turn = self.pool.ticket() % count.max(1) as u64;
        let first = usize::try_from(turn).unwrap_or_default();
        (0..count).map(move |step| (first + step) % count)
    }
}

/// A backend in use by one exchange, which is under way there for as long as this lives.
pub(in super::super) struct Lease {
    member: Arc<Member>,
    counted: bool,
}

impl Lease {
    pub(super) const fn uncounted(member: Arc<Member>) -> Self {
        Self {
            member,
            counted: false,
        }
    }

    fn counted(member: Arc<Member>) -> Self {
        member.state.begin();
        Self {
            member,
            counted: true,
        }
    }
}

impl Deref for Lease {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.member
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.counted {
            self.member.state.end();
        }
    }
}
