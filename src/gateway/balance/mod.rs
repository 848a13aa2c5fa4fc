//! On which target of a set the choice falls.
//!
//! A `target` that is a list is a set: its members stand for each other, and where one fails the
//! request goes on with the others before it comes to the fallbacks. The choice is made anew each
//! time, among those that are *open*: not suspended, and not tried by this request.
//!
//! | `balance` | the choice | what for |
//! |---|---|---|
//! | `weighted` | [`turns`]: in turn, exactly by weight | capacities, costs |
//! | `latency` | [`latency`]: the quicker of two | answers as early as can be |
//! | `sticky` | [`sticky`]: the same for the same conversation | the providers' prompt caches |

mod latency;
mod sticky;
mod turns;

use std::time::{Duration, Instant};

use http::HeaderMap;

pub use latency::{Kind, Latencies};
pub use turns::{Turns, WeightedSchedule};

use self::latency::Quickest;
use self::sticky::{Affinity, Rendezvous};
use super::places::Places;
use crate::policy::{Pair, Target, TargetBalance};

/// How the choice falls in one target set.
pub enum Balancer {
    /// By weight.
    Weighted(Turns),
    /// By how quickly they answer.
    Latency(Quickest),
    /// By what the request is about.
    Sticky(Rendezvous),
}

/// The choice in a set, for one request.
#[derive(Clone, Copy)]
pub struct Choice<'a> {
    balancer: &'a Balancer,
    kind: Kind,
    /// Where the set is a sticky one.
    affinity: Option<Affinity>,
}

impl Balancer {
    /// Of a set of targets, each with its pair; `None` where there is nothing to choose.
    pub fn new<'a>(
        balance: &TargetBalance,
        set: &'a [Target],
        pair: impl Fn(&Target) -> &'a Pair,
        latencies: &Latencies,
    ) -> Option<Self> {
        if set.len() < 2 {
            return None;
        }
        Some(match balance {
            TargetBalance::Weighted => {
                let weights: Vec<u32> = set.iter().map(|target| target.weight).collect();
                Self::Weighted(Turns::new(&weights))
            }
            TargetBalance::Latency => {
                let members = set.iter().map(|target| latencies.resolve(pair(target)));
                Self::Latency(Quickest::new(members))
            }
            TargetBalance::Sticky { header } => {
                let member = |target| {
                    let Pair {
                        endpoint, model, ..
                    } = pair(target);
                    ((endpoint, model), target.weight)
                };
                Self::Sticky(Rendezvous::new(set.iter().map(member), header.clone()))
            }
        })
    }

    /// The choice for a request for this kind of answer.
    pub fn choice(&self, kind: Kind, headers: &HeaderMap, body: &[u8]) -> Choice<'_> {
        let affinity = match self {
            Self::Sticky(set) => Some(set.affinity(headers, body)),
            Self::Weighted(_) | Self::Latency(_) => None,
        };
        Choice {
            balancer: self,
            kind,
            affinity,
        }
    }
}

impl Choice<'_> {
    /// On which member of those that are `open` the choice falls; `None`: none is.
    pub fn pick(&self, open: &Places, now: Instant) -> Option<usize> {
        match self.balancer {
            Balancer::Weighted(turns) => turns.next(open),
            Balancer::Latency(set) => {
                set.pick(open, self.kind, now, |below| fastrand::usize(..below))
            }
            Balancer::Sticky(set) => set.pick(open, self.affinity?),
        }
    }

    /// Whether it depends on how long members take.
    pub const fn measures(&self) -> bool {
        matches!(self.balancer, Balancer::Latency(_))
    }

    /// Takes account of how long a member took.
    pub fn observe(&self, member: usize, took: Duration, now: Instant) {
        if let Balancer::Latency(set) = self.balancer {
            set.observe(member, self.kind, took, now);
        }
    }
}
