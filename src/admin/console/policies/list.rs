//! All policies that are in use: what leads to each, its chain, and how the targets stand.

use std::sync::Arc;
use std::time::Instant;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::super::frame::{Frame, page};
use super::edit::path_of;
use crate::admin::State as Shared;
use crate::admin::api::{PolicyNow, policies_in_use};
use crate::gateway::suspension::Standing;
use crate::policy::{Chain, Environment, FailoverPolicy, Snapshot, Target};

#[derive(Template)]
#[template(path = "policies.html")]
struct Policies {
    frame: Frame,
    policies: Vec<Row>,
    /// Whether there is a file, so that something can be changed.
    editable: bool,
}

/// A policy, as the list shows it.
struct Row {
    now: PolicyNow,
    chains: Vec<ChainRow>,
}

impl Row {
    fn path(&self) -> String {
        path_of(&self.now.name)
    }
}

struct ChainRow {
    environment: &'static str,
    links: Vec<Link>,
}

/// A target and how it stands.
struct Link {
    model: String,
    endpoint: String,
    weight: Option<u32>,
    /// How it stands where it isn't well.
    state: Option<String>,
}

/// The list.
pub(super) async fn list(State(state): State<Arc<Shared>>, frame: Frame) -> Response {
    let configuration = state.live.configuration();
    let snapshot = (*configuration).as_ref();
    let at = Instant::now();
    let policies = snapshot.policies.iter().zip(policies_in_use(snapshot));
    let row = |(policy, now): (&FailoverPolicy, PolicyNow)| Row {
        now,
        chains: chains(&state, snapshot, policy, at),
    };
    page(&Policies {
        policies: policies.map(row).collect(),
        editable: state.live.configuration_file().is_some(),
        frame,
    })
}

fn chains(
    state: &Shared,
    snapshot: &Snapshot,
    policy: &FailoverPolicy,
    at: Instant,
) -> Vec<ChainRow> {
    let row = |environment: Environment| {
        let chain: &Chain = policy.chains.get(environment).as_ref()?;
        let weighted = chain.target.len() > 1;
        let first = chain.target.iter().map(|target| (target, weighted));
        let rest = chain.fallbacks.iter().map(|target| (target, false));
        let link = |(target, weighted): (&Target, bool)| Link {
            model: target.model.to_string(),
            endpoint: snapshot.endpoint(target.endpoint).name.to_string(),
            weight: weighted.then_some(target.weight),
            state: standing(state, snapshot, target, at),
        };
        Some(ChainRow {
            environment: environment.name(),
            links: first.chain(rest).map(link).collect(),
        })
    };
    Environment::ALL.into_iter().filter_map(row).collect()
}

fn standing(state: &Shared, snapshot: &Snapshot, target: &Target, at: Instant) -> Option<String> {
    let pair = state.live.suspensions().get(snapshot.pair(target.pair))?;
    let suspension = pair.suspension(at)?;
    match suspension.standing {
        Standing::Healthy => None,
        Standing::Suspended { until } => {
            let seconds = until
                .saturating_duration_since(at)
                .as_millis()
                .div_ceil(1000);
            Some(format!("suspended for {seconds} s ({})", suspension.reason))
        }
        Standing::Ended => Some("about to be probed".to_owned()),
        Standing::Probing => Some("being probed".to_owned()),
    }
}
