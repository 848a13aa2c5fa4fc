//! `/api/v1/explain`: what a request for a model would do, as `standin explain` says it.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::parameters::Question;
use crate::admin::State as Shared;
use crate::admin::extract::{Json, Query};
use crate::admin::problem::Problem;
use crate::config::explain;

/// What an operation would do.
#[derive(Serialize, ToSchema)]
pub(super) struct Explanation {
    method: String,
    path: String,
    /// The policy that matches.
    policy: Option<String>,
    /// In words.
    text: String,
}

/// Say what a request for a model would do. Nothing is sent anywhere.
#[utoipa::path(
    get,
    path = "/explain",
    operation_id = "explain",
    params(Question),
    responses(
        (status = 200, body = Vec<Explanation>),
        (status = 404, description = "No such operation", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn explain_model(
    State(state): State<Arc<Shared>>,
    Query(question): Query<Question>,
) -> Result<Json<Vec<Explanation>>, Problem> {
    let configuration = state.live.configuration();
    let snapshot = (*configuration).as_ref();
    let environment = question.environment.into();
    let operations = explain::operations(snapshot, question.operation.as_deref());
    let explained = operations
        .map_err(Problem::not_found)?
        .into_iter()
        .map(|operation| {
            let policy = snapshot.route(operation, environment, &question.model);
            Explanation {
                method: operation.method.to_string(),
                path: operation.path.to_string(),
                policy: policy.map(|policy| policy.name.to_string()),
                text: explain::story(snapshot, operation, environment, &question.model),
            }
        });
    Ok(Json(explained.collect()))
}
