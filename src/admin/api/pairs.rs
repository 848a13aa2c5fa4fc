//! `/api/v1/pairs`: what can be suspended, how it stands, and by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shapes::{EnvironmentName, clock, millis, moment, standing_name};
use crate::admin::access::Operator;
use crate::admin::extract::Json;
use crate::admin::problem::Problem;
use crate::admin::{Live, State as Shared};
use crate::config::units::parse_duration;
use crate::gateway::suspension::{PairState, Standing};
use crate::policy::Pair;
use crate::telemetry::{Counts, RequestRecord};

/// The longest suspension by hand, as in a policy.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// How many outcomes are told of a pair.
const OUTCOMES: usize = 10;

/// A model at an endpoint in an environment.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub(in crate::admin) struct PairName {
    /// Where it was seen to fail; the other environment never learns of it.
    environment: EnvironmentName,
    /// The endpoint's name.
    endpoint: String,
    /// The model's name there.
    model: String,
}

impl PairName {
    fn pair(&self) -> Pair {
        Pair {
            environment: self.environment.into(),
            endpoint: self.endpoint.as_str().into(),
            model: self.model.as_str().into(),
        }
    }
}

/// A pair as it is now.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct PairNow {
    #[serde(flatten)]
    name: PairName,
    /// `healthy`, `suspended`, `ended` (the suspension is over, the next request is the probe) or
    /// `probing` (the probe is under way).
    standing: &'static str,
    /// When the suspension ends, or has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Why it was suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Attempts whose answer a client got.
    succeeded: u64,
    /// Attempts that failed.
    failed: u64,
    /// What an attempt that succeeded took on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_ms: Option<f64>,
    /// The outcomes of the last attempts that are among the recent requests, the latest first:
    /// `success`, or the reason of the failure.
    last_outcomes: Vec<String>,
}

/// A suspension by hand.
#[derive(Deserialize, ToSchema)]
pub(in crate::admin) struct Suspend {
    #[serde(flatten)]
    pub(in crate::admin) pair: PairName,
    /// How long: `30s`, `5m`, `2h`; at most 720h.
    pub(in crate::admin) duration: String,
}

/// All pairs, as they are now.
#[utoipa::path(get, path = "/pairs", operation_id = "listPairs", responses((status = 200, body = Vec<PairNow>)))]
pub(super) async fn list(State(state): State<Arc<Shared>>) -> Json<Vec<PairNow>> {
    let recent = state.live.recent();
    let configuration = state.live.configuration();
    let pairs = &(*configuration).as_ref().pairs;
    Json(
        pairs
            .iter()
            .map(|pair| now(&*state.live, pair, &recent))
            .collect(),
    )
}

/// Leave a pair out by hand. A later end that stands already stays.
#[utoipa::path(
    post,
    path = "/pairs/suspend",
    operation_id = "suspendPair",
    responses(
        (status = 200, body = PairNow),
        (status = 404, description = "No such pair", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No duration", body = Problem, content_type = "application/problem+json")
    )
)]
pub(in crate::admin) async fn suspend(
    State(state): State<Arc<Shared>>,
    Extension(Operator(operator)): Extension<Operator>,
    Json(Suspend { pair, duration }): Json<Suspend>,
) -> Result<Json<PairNow>, Problem> {
    let span = parse_duration(&duration).filter(|span| !span.is_zero() && *span <= LONGEST);
    let Some(span) = span else {
        let detail =
            format!("duration must be from 1ms to 720h, such as 30s, 5m or 2h, not `{duration}`");
        return Err(Problem::unprocessable(detail));
    };
    let (pair, known) = known(&state, &pair)?;
    let at = Instant::now();
    known.suspend(at, at + span, format!("by hand ({operator})"));
    log::warn!(
        "{operator} has suspended {} at {} in {} for {duration}",
        pair.model,
        pair.endpoint,
        pair.environment
    );
    Ok(Json(now(&*state.live, &pair, &state.live.recent())))
}

/// Make a pair healthy at once, whatever is under way.
#[utoipa::path(
    post,
    path = "/pairs/resume",
    operation_id = "resumePair",
    request_body = PairName,
    responses(
        (status = 200, body = PairNow),
        (status = 404, description = "No such pair", body = Problem, content_type = "application/problem+json")
    )
)]
pub(in crate::admin) async fn resume(
    State(state): State<Arc<Shared>>,
    Extension(Operator(operator)): Extension<Operator>,
    Json(name): Json<PairName>,
) -> Result<Json<PairNow>, Problem> {
    let (pair, known) = known(&state, &name)?;
    known.resume();
    log::info!(
        "{operator} has resumed {} at {} in {}",
        pair.model,
        pair.endpoint,
        pair.environment
    );
    Ok(Json(now(&*state.live, &pair, &state.live.recent())))
}

fn known(state: &Shared, name: &PairName) -> Result<(Pair, Arc<PairState>), Problem> {
    let pair = name.pair();
    match state.live.suspensions().get(&pair) {
        Some(known) => Ok((pair, known)),
        None => Err(Problem::not_found(
            "no policy has this model at this endpoint in this environment; GET /api/v1/pairs lists them",
        )),
    }
}

fn now(live: &dyn Live, pair: &Pair, recent: &[RequestRecord]) -> PairNow {
    let at = Instant::now();
    let known = live.suspensions().get(pair);
    let suspension = known.as_ref().and_then(|known| known.suspension(at));
    let counts = known.map_or_else(Counts::default, |known| known.tally().counts());
    let standing = suspension
        .as_ref()
        .map_or(Standing::Healthy, |suspension| suspension.standing);
    PairNow {
        name: PairName {
            environment: pair.environment.into(),
            endpoint: pair.endpoint.to_string(),
            model: pair.model.to_string(),
        },
        standing: standing_name(standing),
        until: suspension
            .as_ref()
            .map(|suspension| moment(clock(suspension.until, at))),
        reason: suspension.map(|suspension| suspension.reason.to_string()),
        succeeded: counts.succeeded,
        failed: counts.failed,
        mean_ms: counts.mean().map(millis),
        last_outcomes: last_outcomes(pair, recent),
    }
}

fn last_outcomes(pair: &Pair, recent: &[RequestRecord]) -> Vec<String> {
    let in_environment = |record: &&RequestRecord| record.environment == Some(pair.environment);
    let requests = recent.iter().filter(in_environment);
    let attempts = requests.flat_map(|record| record.attempts.iter().rev());
    attempts
        .filter(|attempt| {
            attempt.endpoint == pair.endpoint && attempt.model.as_ref() == Some(&pair.model)
        })
        .map(|attempt| attempt.outcome.clone().into_owned())
        .take(OUTCOMES)
        .collect()
}
