//! Live: what the gateway does now. The page asks for its parts again every second.
//!
//! ```text
//! history ── a sample every two seconds ──> numbers, charts
//! suspensions ──> pairs, with Suspend and Resume        recent ──> requests, each with its trail
//! ```

mod history;
mod pairs;
mod requests;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;

pub(in crate::admin) use self::history::History;
use self::history::{INTERVAL, Sample, mean, sum};
use self::pairs::PairRow;
use self::requests::{RequestRow, Which};
use super::frame::{Frame, page};
use super::sessions::Visitor;
use crate::admin::extract::Query;
use crate::admin::{Live, State as Shared};
use crate::config::explain;
use crate::policy::Environment;
use crate::telemetry::metrics::{TargetTotals, Totals};

/// What the numbers above the charts are told of, in milliseconds.
const NOW: u64 = 30_000;

/// The pages under `/console/live`.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/console/live", get(live))
        .route("/console/live/now", get(now))
        .route("/console/live/samples", get(samples))
        .route("/console/live/suspend", post(pairs::suspend))
        .route("/console/live/resume", post(pairs::resume))
}

/// Takes samples for as long as the process lives.
pub(in crate::admin) async fn watch(live: &dyn Live, history: &History) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        history.take(millis(SystemTime::now()), live.totals());
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Template)]
#[template(path = "live.html")]
struct Page<'w> {
    frame: Frame,
    parts: Parts<'w>,
    which: &'w Which,
    models: Vec<String>,
    explained: Vec<String>,
}

/// What changes.
#[derive(Template)]
#[template(path = "part/live.html")]
struct Parts<'w> {
    /// Asked for by the page that is there.
    alone: bool,
    which: &'w Which,
    csrf: Arc<str>,
    numbers: [(&'static str, String); 5],
    targets: Vec<TargetRow>,
    pairs: Vec<PairRow>,
    requests: Vec<RequestRow>,
}

struct TargetRow {
    endpoint: String,
    model: String,
    counted: TargetTotals,
    answer: Option<String>,
    first_token: Option<String>,
}

async fn live(
    State(state): State<Arc<Shared>>,
    Query(which): Query<Which>,
    frame: Frame,
) -> Response {
    let configuration = state.live.configuration();
    let snapshot = (*configuration).as_ref();
    let mut models: Vec<_> = snapshot
        .pairs
        .iter()
        .map(|pair| pair.model.to_string())
        .collect();
    models.sort_unstable();
    models.dedup();
    page(&Page {
        parts: parts(&state, &frame.visitor, &which, false),
        explained: explained(&state, &which),
        which: &which,
        models,
        frame,
    })
}

async fn now(
    State(state): State<Arc<Shared>>,
    Query(which): Query<Which>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    page(&parts(&state, &visitor, &which, true))
}

fn parts<'w>(state: &Shared, visitor: &Visitor, which: &'w Which, alone: bool) -> Parts<'w> {
    let samples = state.console.history.after(0);
    Parts {
        alone,
        which,
        csrf: visitor.csrf.clone(),
        numbers: numbers(&samples),
        targets: targets(&samples),
        pairs: pairs::rows(&*state.live),
        requests: requests::rows(&*state.live, which),
    }
}

/// The numbers of the last half minute.
fn numbers(samples: &[Sample]) -> [(&'static str, String); 5] {
    let begin = samples.last().map_or(0, |last| last.at).saturating_sub(NOW);
    let now: Vec<_> = samples.iter().filter(|sample| sample.at > begin).collect();
    let count = u32::try_from(now.len()).unwrap_or(u32::MAX);
    let seconds = (INTERVAL * count).as_secs_f64().max(1.0);
    let Totals { requests, own, .. } = sum(now.iter().copied());
    let all = sum(now).all_targets();
    let none = || "–".to_owned();
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let rate = |count: u64| format!("{:.1}", count as f64 / seconds);
    [
        ("Requests a second", rate(requests)),
        ("Failovers", all.failovers.to_string()),
        ("Added latency", mean(own).unwrap_or_else(none)),
        (
            "Time to first token",
            mean(all.first_tokens).unwrap_or_else(none),
        ),
        ("Tokens a second", rate(all.tokens_in + all.tokens_out)),
    ]
}

fn targets(samples: &[Sample]) -> Vec<TargetRow> {
    let row = |((endpoint, model), counted): ((Arc<str>, Arc<str>), TargetTotals)| TargetRow {
        endpoint: endpoint.to_string(),
        model: model.to_string(),
        counted,
        answer: mean(counted.answers),
        first_token: mean(counted.first_tokens),
    };
    sum(samples).targets.into_iter().map(row).collect()
}

fn explained(state: &Shared, which: &Which) -> Vec<String> {
    let Some(model) = which.explain.as_deref().filter(|model| !model.is_empty()) else {
        return Vec::new();
    };
    let configuration = state.live.configuration();
    let snapshot = (*configuration).as_ref();
    let environment = match which.environment.as_deref() {
        Some("sandbox") => Environment::Sandbox,
        _ => Environment::Production,
    };
    let operations = explain::operations(snapshot, None);
    let operations = operations.unwrap_or_default().into_iter();
    operations
        .map(|operation| explain::story(snapshot, operation, environment, model))
        .collect()
}

/// For the charts: what came in each interval.
#[derive(Serialize)]
struct Series {
    /// Of an interval, in seconds.
    interval: f64,
    samples: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    at: u64,
    requests: u64,
    own: (u64, f64),
    /// Endpoint, model, and what was counted: attempts, failovers, first tokens and what they
    /// took, tokens.
    targets: Vec<(String, String, [f64; 5])>,
}

/// Since when.
#[derive(serde::Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn samples(
    State(state): State<Arc<Shared>>,
    Query(After { after }): Query<After>,
) -> Json<Series> {
    let samples = state.console.history.after(after);
    Json(Series {
        interval: INTERVAL.as_secs_f64(),
        samples: samples.into_iter().map(point).collect(),
    })
}

fn point(Sample { at, new }: Sample) -> Point {
    #[expect(clippy::cast_precision_loss, reason = "a chart need not be exact")]
    let target = |((endpoint, model), counted): (&(Arc<str>, Arc<str>), &TargetTotals)| {
        let numbers = [
            counted.attempts as f64,
            counted.failovers as f64,
            counted.first_tokens.count as f64,
            counted.first_tokens.seconds,
            (counted.tokens_in + counted.tokens_out) as f64,
        ];
        (endpoint.to_string(), model.to_string(), numbers)
    };
    Point {
        at,
        requests: new.requests,
        own: (new.own.count, new.own.seconds),
        targets: new.targets.iter().map(target).collect(),
    }
}
