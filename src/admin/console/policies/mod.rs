//! Policies: what WSO2 API Manager's publisher is for.

mod list;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::admin::State;

/// The pages under `/console/polic…`.
pub(super) fn routes() -> Router<Arc<State>> {
    Router::new().route("/console/policies", get(list::list))
}
