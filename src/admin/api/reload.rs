//! `/api/v1/reload`: the configuration file, read again.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::shapes::{Mistake, millis, mistakes, moment};
use crate::admin::access::Operator;
use crate::admin::extract::Json;
use crate::admin::problem::Problem;
use crate::admin::{Reload, ReloadedBy, State as Shared};

/// How reloads went since the process began.
#[derive(Serialize, ToSchema)]
pub(super) struct Reloads {
    /// Those that put the file to use.
    applied: u64,
    /// Those that changed nothing because of an error.
    refused: u64,
    /// The last one, if there was any.
    last: Option<Told>,
}

/// One reading of the configuration file.
#[derive(Serialize, ToSchema)]
pub(super) struct Told {
    /// When it began.
    #[schema(format = DateTime)]
    at: String,
    /// What asked for it: `signal`, `file` (a file has changed) or `operator`.
    by: &'static str,
    /// The name of the token, with `operator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
    /// How long it took.
    took_ms: f64,
    /// Whether the file is in use.
    applied: bool,
    /// Why it is not.
    errors: Vec<Mistake>,
    /// What is allowed and probably not meant.
    warnings: Vec<String>,
    /// The fields whose change waits for the next start.
    waiting: Vec<String>,
}

impl From<&Reload> for Told {
    fn from(reload: &Reload) -> Self {
        let (by, operator) = match &reload.by {
            ReloadedBy::Signal => ("signal", None),
            ReloadedBy::File => ("file", None),
            ReloadedBy::Operator(name) => ("operator", Some(name.to_string())),
        };
        let applied = reload.result.as_ref().ok().cloned();
        let errors = reload.result.as_ref().err();
        Self {
            at: moment(reload.at),
            by,
            operator,
            took_ms: millis(reload.took),
            applied: applied.is_some(),
            errors: errors.map(mistakes).unwrap_or_default(),
            warnings: applied.clone().unwrap_or_default().warnings,
            waiting: applied.unwrap_or_default().waiting,
        }
    }
}

/// How reloads went.
#[utoipa::path(get, path = "/reload", operation_id = "lastReload", responses((status = 200, body = Reloads)))]
pub(super) async fn last(State(state): State<Arc<Shared>>) -> Json<Reloads> {
    let reloads = state.live.reloads();
    Json(Reloads {
        applied: reloads.applied,
        refused: reloads.refused,
        last: reloads.last.as_deref().map(Told::from),
    })
}

/// Read the configuration file again and put it to use.
#[utoipa::path(
    post,
    path = "/reload",
    operation_id = "reload",
    responses(
        (status = 200, body = Told),
        (status = 422, description = "The file has errors; nothing has changed", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn reload(
    State(state): State<Arc<Shared>>,
    Extension(Operator(name)): Extension<Operator>,
) -> Result<Json<Told>, Problem> {
    let reload = state.live.reload(ReloadedBy::Operator(name)).await;
    match &reload.result {
        Ok(_) => Ok(Json(Told::from(&*reload))),
        Err(errors) => Err(Problem::invalid(errors)),
    }
}
