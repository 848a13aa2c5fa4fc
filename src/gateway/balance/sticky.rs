//! The same target for the same conversation, so that the provider's prompt cache is hit.
//!
//! Weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted Distributed Hash Tables",
//! 2005): every member gets a score from the hash of the request's affinity with its own name, and the
//! highest score has it. While a member is suspended its requests go to their second highest, each
//! its own, and nobody else's requests move; when it is back so are they. Each member has its weight's
//! share of all affinities. Names are hashed, not places, so that neither a reload nor another order of
//! the list moves anything, and every process of one version chooses the same.
//!
//! A request's affinity is the value of the policy's `sticky_header`, or, where there is none, its first
//! messages: everything up to the first one of the user. What follows differs from turn to turn.

use std::hash::{DefaultHasher, Hash, Hasher};

use http::{HeaderMap, HeaderName};

use crate::gateway::model_field;
use crate::gateway::places::Places;

/// Bytes of a header, or of one message, that count: what is the same up to there is the same
/// conversation as far as a prompt cache is concerned.
const COUNTED: usize = 4 << 10;

/// A set whose members keep their conversations.
pub struct Rendezvous {
    members: Box<[Member]>,
    header: Option<HeaderName>,
}

struct Member {
    name: u64,
    weight: f64,
}

/// What makes a request stick to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity(u64);

impl Rendezvous {
    /// Of members with a name and a weight each, in the order of the set; `header` is the one that
    /// says what belongs together.
    pub fn new<Name: Hash>(
        members: impl IntoIterator<Item = (Name, u32)>,
        header: Option<HeaderName>,
    ) -> Self {
        let member = |(name, weight)| Member {
            name: hash(&name),
            weight: f64::from(weight),
        };
        Self {
            members: members.into_iter().map(member).collect(),
            header,
        }
    }

    /// What a request sticks by.
    pub fn affinity(&self, headers: &HeaderMap, body: &[u8]) -> Affinity {
        let named = self.header.as_ref().and_then(|name| headers.get(name));
        Affinity(match named {
            Some(value) => hash(counted(value.as_bytes())),
            None => of_messages(body),
        })
    }

    /// Where it goes of those that are `open`; `None`: none is.
    pub fn pick(&self, open: &Places, affinity: Affinity) -> Option<usize> {
        let scored = open.iter().map(|index| {
            let member = &self.members[index];
            (
                index,
                score(member.weight, hash(&(member.name, affinity.0))),
            )
        });
        scored
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
            .map(|(index, _)| index)
    }
}

/// The higher the likelier: of several scores that of a member is the highest as often as its weight
/// is of all weights. An exponential variable with the weight as its rate, upside down.
fn score(weight: f64, hash: u64) -> f64 {
    let uniform = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -weight / uniform.ln()
}

fn of_messages(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut any = false;
    model_field::first_messages(body, |message| {
        counted(message).hash(&mut hasher);
        any = true;
    });
    if any {
        hasher.finish()
    } else {
        hash(counted(body))
    }
}

fn counted(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(COUNTED)]
}

/// The same in every process: `DefaultHasher::new` has fixed keys.
fn hash<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn set(weights: &[u32]) -> Rendezvous {
        Rendezvous::new(weights.iter().copied().enumerate(), None)
    }

    #[test]
    fn each_has_its_share() {
        let weights = [5, 1, 2];
        let set = set(&weights);
        let open: Places = (0..3).collect();
        let requests = 40_000;
        let mut counts = [0_u32; 3];
        for number in 0..requests {
            counts[set.pick(&open, Affinity(hash(&number))).unwrap()] += 1;
        }
        for (count, weight) in counts.into_iter().zip(weights) {
            let share = f64::from(weight) / 8.0;
            let expected = f64::from(requests) * share;
            let deviation = (expected * (1.0 - share)).sqrt();
            let off = (f64::from(count) - expected).abs();
            assert!(off < 4.0 * deviation, "{counts:?} for {weights:?}");
        }
    }

    proptest! {
        /// Who leaves moves only its own requests, and they are back when it is.
        #[test]
        fn one_that_leaves_moves_only_its_own(
            weights in prop::collection::vec(1..1000u32, 2..8),
            leaves in any::<prop::sample::Index>(),
            affinities in prop::collection::vec(any::<u64>(), 1..50),
        ) {
            let set = set(&weights);
            let leaves = leaves.index(weights.len());
            let all: Places = (0..weights.len()).collect();
            let others: Places = all.iter().filter(|&index| index != leaves).collect();
            for affinity in affinities.into_iter().map(Affinity) {
                let chosen = set.pick(&all, affinity).unwrap();
                let chosen_of_others = set.pick(&others, affinity).unwrap();
                prop_assert_ne!(chosen_of_others, leaves);
                if chosen != leaves {
                    prop_assert_eq!(chosen_of_others, chosen);
                }
            }
            prop_assert_eq!(set.pick(&Places::default(), Affinity(0)), None);
        }
    }

    #[test]
    fn the_order_of_the_list_moves_nothing() {
        let names = ["a", "b", "c"];
        let one = Rendezvous::new(names.map(|name| (name, 1)), None);
        let turned = Rendezvous::new(["c", "a", "b"].map(|name| (name, 1)), None);
        let all: Places = (0..3).collect();
        for affinity in (0..100).map(Affinity) {
            let chosen = names[one.pick(&all, affinity).unwrap()];
            assert_eq!(
                ["c", "a", "b"][turned.pick(&all, affinity).unwrap()],
                chosen
            );
        }
    }

    #[test]
    fn the_header_comes_before_the_messages() {
        let header = HeaderName::from_static("x-session-id");
        let set = Rendezvous::new([("a", 1)], Some(header.clone()));
        let none = HeaderMap::new();
        let session = |id: &'static str| {
            HeaderMap::from_iter([(header.clone(), HeaderValue::from_static(id))])
        };
        let (one, other) = (br#"{"prompt":"a"}"#, br#"{"prompt":"b"}"#);
        assert_eq!(
            set.affinity(&session("1"), one),
            set.affinity(&session("1"), other)
        );
        assert_ne!(
            set.affinity(&session("1"), one),
            set.affinity(&session("2"), one)
        );
        assert_ne!(set.affinity(&none, one), set.affinity(&none, other));
        assert_eq!(set.affinity(&none, one), set.affinity(&none, one));
    }

    #[test]
    fn a_conversation_is_the_same_from_turn_to_turn() {
        let set = set(&[1]);
        let affinity = |body: &str| set.affinity(&HeaderMap::new(), body.as_bytes());
        let turns = |rest: &str| {
            format!(
                r#"{{"model":"m","messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"Hi"}}{rest}]}}"#
            )
        };
        let first = affinity(&turns(""));
        let later =
            turns(r#",{"role":"assistant","content":"Yes?"},{"role":"user","content":"Go on"}"#);
        assert_eq!(affinity(&later), first);
        assert_ne!(affinity(&turns("").replace("Hi", "Ho")), first);
        assert_ne!(affinity(&turns("").replace("brief", "kind")), first);
        // A prompt that grows is the same from where it is long enough.
        let prompt = |length: usize| format!(r#"{{"prompt":"{}"}}"#, "x".repeat(length));
        assert_eq!(affinity(&prompt(COUNTED)), affinity(&prompt(2 * COUNTED)));
        assert_ne!(affinity(&prompt(10)), affinity(&prompt(20)));
        // What is no such request has the hash of its beginning.
        assert_ne!(affinity("a"), affinity("b"));
    }
}
