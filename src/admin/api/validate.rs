//! `POST /api/v1/validate`: whether a configuration is right, without using it.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::StringRejection;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::extract::Json;
use crate::admin::problem::Problem;
use crate::admin::{State as Shared, blocking};
use crate::config;

/// A configuration without errors.
#[derive(Serialize, ToSchema)]
pub(super) struct Valid {
    /// What is allowed and probably not meant.
    warnings: Vec<String>,
}

/// Say what is wrong with a configuration, sent as YAML, as if it stood in the place of the file.
/// Nothing is used and nothing is kept.
#[utoipa::path(
    post,
    path = "/validate",
    request_body(content = String, content_type = "application/yaml"),
    responses(
        (status = 200, body = Valid),
        (status = 422, description = "It has errors", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn validate(
    State(state): State<Arc<Shared>>,
    text: Result<String, StringRejection>,
) -> Result<Json<Valid>, Problem> {
    let text = text?;
    let path = state.live.configuration_file().unwrap_or_default();
    let parsed = blocking(move || config::parse_as(&path, &text)).await?;
    match parsed {
        Ok(configuration) => Ok(Json(Valid {
            warnings: configuration.warnings,
        })),
        Err(errors) => Err(Problem::invalid(&errors)),
    }
}
