//! How the pairs stand, and the buttons beside them.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use crate::admin::access::Operator;
use crate::admin::api::{PairName, Suspend, resume_pair, suspend_pair};
use crate::admin::console::frame::{self, Notice};
use crate::admin::console::trail::span;
use crate::admin::problem::Problem;
use crate::admin::{Live, State as Shared, extract};
use crate::gateway::suspension::Standing;
use crate::policy::Pair;

/// A pair, as the page shows it.
pub(super) struct PairRow {
    pub(super) key: String,
    pub(super) environment: &'static str,
    pub(super) endpoint: String,
    pub(super) model: String,
    pub(super) healthy: bool,
    pub(super) state: String,
    pub(super) reason: Option<String>,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) mean: Option<String>,
}

/// All pairs, those that are not well first.
pub(super) fn rows(live: &dyn Live) -> Vec<PairRow> {
    let configuration = live.configuration();
    let pairs = &(*configuration).as_ref().pairs;
    let at = Instant::now();
    let mut rows: Vec<_> = pairs.iter().map(|pair| row(live, pair, at)).collect();
    rows.sort_by(|a, b| {
        let order = |row: &PairRow| (row.healthy, row.endpoint.clone(), row.model.clone());
        order(a).cmp(&order(b))
    });
    rows
}

fn row(live: &dyn Live, pair: &Pair, at: Instant) -> PairRow {
    let known = live.suspensions().get(pair);
    let suspension = known.as_ref().and_then(|known| known.suspension(at));
    let counts = known
        .map(|known| known.tally().counts())
        .unwrap_or_default();
    let state = suspension
        .as_ref()
        .map(|suspension| match suspension.standing {
            Standing::Healthy => "healthy".to_owned(),
            Standing::Suspended { until } => {
                let left = until.saturating_duration_since(at);
                format!("suspended, {} s left", left.as_millis().div_ceil(1000))
            }
            Standing::Ended => "the next request is the probe".to_owned(),
            Standing::Probing => "being probed".to_owned(),
        });
    PairRow {
        key: format!("{}-{}-{}", pair.environment, pair.endpoint, pair.model),
        environment: pair.environment.name(),
        endpoint: pair.endpoint.to_string(),
        model: pair.model.to_string(),
        healthy: state.is_none(),
        state: state.unwrap_or_else(|| "healthy".to_owned()),
        reason: suspension.map(|suspension| suspension.reason.to_string()),
        succeeded: counts.succeeded,
        failed: counts.failed,
        mean: counts.mean().map(span),
    }
}

/// What a button sends.
#[derive(Deserialize)]
pub(super) struct Button {
    #[serde(flatten)]
    pair: PairName,
    #[serde(default)]
    duration: String,
}

pub(super) async fn suspend(
    State(state): State<Arc<Shared>>,
    operator: Extension<Operator>,
    headers: HeaderMap,
    Form(Button { pair, duration }): Form<Button>,
) -> Response {
    let suspend = Suspend { pair, duration };
    done(
        suspend_pair(State(state), operator, extract::Json(suspend)).await,
        &headers,
    )
}

pub(super) async fn resume(
    State(state): State<Arc<Shared>>,
    operator: Extension<Operator>,
    headers: HeaderMap,
    Form(Button { pair, .. }): Form<Button>,
) -> Response {
    done(
        resume_pair(State(state), operator, extract::Json(pair)).await,
        &headers,
    )
}

fn done<T>(result: Result<T, Problem>, headers: &HeaderMap) -> Response {
    match result {
        Ok(_) => frame::go(headers, "/console/live"),
        Err(problem) => {
            let words = problem.detail();
            frame::notice(StatusCode::UNPROCESSABLE_ENTITY, &Notice::warning(words))
        }
    }
}
