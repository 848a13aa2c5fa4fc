//! Policies: what WSO2 API Manager's publisher is for.
//!
//! - `list`: all that are in use.
//! - `edit`: one, in a form (`form`, `inputs`) or as its text, with what is wrong beside it (`page`).
//! - `delete`: what would go, before it goes.

mod delete;
mod edit;
mod form;
mod inputs;
mod list;
mod page;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::admin::State;

/// The pages under `/console/polic…`.
pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/console/policies", get(list::list))
        .route("/console/policies/new", get(edit::new).post(edit::create))
        .route("/console/policy/{name}", get(edit::open).post(edit::change))
        .route(
            "/console/policy/{name}/delete",
            get(delete::ask).post(delete::delete),
        )
}
