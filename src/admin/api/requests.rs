//! `/api/v1/requests`: the last requests, without their contents.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::parameters::Which;
use crate::admin::State as Shared;
use crate::admin::extract::{Json, Query};
use crate::admin::problem::Problem;

/// The last requests.
#[derive(Serialize, ToSchema)]
pub(super) struct Requests {
    /// The latest first, each as the access log has it.
    #[schema(value_type = Vec<Object>)]
    requests: Vec<Box<RawValue>>,
}

/// The last requests, as the access log has them: who asked for which model, every attempt with
/// its outcome and time, the answer's status; no prompt, no answer, no key.
#[utoipa::path(get, path = "/requests", operation_id = "listRequests", params(Which), responses((status = 200, body = Requests)))]
pub(super) async fn list(
    State(state): State<Arc<Shared>>,
    Query(which): Query<Which>,
) -> Result<Json<Requests>, Problem> {
    let recent = state.live.recent();
    let requests: Result<_, _> = recent
        .iter()
        .take(which.limit)
        .map(|record| RawValue::from_string(record.to_json()))
        .collect();
    let requests = requests.map_err(|error| Problem::internal(error.to_string()))?;
    Ok(Json(Requests { requests }))
}
