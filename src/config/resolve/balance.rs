//! `type`, `balance` and `sticky_header` of a policy: on which target the choice falls.
//!
//! The types `round_robin` and `weighted_round_robin` have the shape of WSO2 API Manager's policies
//! Model Round Robin and Model Weighted Round Robin (its documentation, "AI Gateway", "Multi-Model
//! Routing", "Load Balancing"): for each environment a list of models with their endpoints, and a
//! suspend duration. Two things are decided here:
//!
//! - there the policy is about every request of the operation it is attached to, whichever model the
//!   request names. So `match` defaults to `*` here, which comes after every other policy of the
//!   operation; two of these policies in one operation need a `match`;
//! - there an error of the model goes to the client, and only later requests pass the model by. Here
//!   the request goes on with the next of the list, as in any set of targets.

use super::super::file;
use super::super::place::Place;
use super::check::{choice_or, header_name};
use crate::policy::{Chain, Environment, PerEnvironment, TargetBalance};

/// What kind of policy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PolicyType {
    Failover,
    RoundRobin,
    WeightedRoundRobin,
}

impl PolicyType {
    const NAMES: [(&'static str, Self); 3] = [
        ("failover", Self::Failover),
        ("round_robin", Self::RoundRobin),
        ("weighted_round_robin", Self::WeightedRoundRobin),
    ];

    /// The type of a policy, `failover` where it doesn't say.
    pub(super) fn of(policy: &file::Policy<'_>, place: Place<'_>) -> Self {
        let at = place.field("type");
        choice_or(
            &policy.kind,
            at,
            &Self::NAMES,
            "policy types",
            Self::Failover,
        )
    }

    /// The same without a report, for whoever comes after it was reported.
    pub(super) fn peek(policy: &file::Policy<'_>) -> Self {
        let name = policy.kind.value().copied();
        let known = Self::NAMES.iter().find(|(known, _)| Some(*known) == name);
        known.map_or(Self::Failover, |(_, known)| *known)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Weighted,
    Latency,
    Sticky,
}

/// How the choice falls in the target sets of a policy.
pub(super) fn target_balance(
    policy: &file::Policy<'_>,
    kind: PolicyType,
    place: Place<'_>,
) -> TargetBalance {
    let words = [
        ("weighted", Word::Weighted),
        ("latency", Word::Latency),
        ("sticky", Word::Sticky),
    ];
    let at = place.field("balance");
    let word = choice_or(&policy.balance, at, &words, "balances", Word::Weighted);
    if let Some(written) = policy.balance.given()
        && kind != PolicyType::Failover
    {
        let message = "is for `type: failover`: with this type the choice falls in turn";
        at.error(written.line, message);
    }
    let at = place.field("sticky_header");
    let header = policy.sticky_header.given();
    if let Some(written) = header
        && word != Word::Sticky
    {
        let message = "has no effect without `balance: sticky`; leave it out";
        at.error(written.line, message);
    }
    match word {
        Word::Weighted => TargetBalance::Weighted,
        Word::Latency => TargetBalance::Latency,
        Word::Sticky => TargetBalance::Sticky {
            header: header.and_then(|written| header_name(written, at)),
        },
    }
}

/// Why the targets of a set have no weights; `None`: they may have.
pub(super) fn weightless(kind: PolicyType, balance: &TargetBalance) -> Option<&'static str> {
    match (kind, balance) {
        (PolicyType::RoundRobin, _) => {
            Some("has no effect with `type: round_robin`; write `type: weighted_round_robin`")
        }
        (_, TargetBalance::Latency) => Some("has no effect with `balance: latency`; leave it out"),
        _ => None,
    }
}

/// Warns of a choice where there is nothing to choose. `weighted` is what it is anyway.
pub(super) fn warn_of_no_set(
    policy: &file::Policy<'_>,
    chains: &PerEnvironment<Option<Chain>>,
    place: Place<'_>,
) {
    let several = |environment| {
        let chain: &Option<Chain> = chains.get(environment);
        chain.as_ref().is_some_and(|chain| chain.target.len() > 1)
    };
    if let Some(written) = policy.balance.given()
        && written.value != "weighted"
        && !Environment::ALL.into_iter().any(several)
    {
        let message = "has no effect: no `target` of the policy is a list of several";
        place.field("balance").warning(written.line, message);
    }
}
