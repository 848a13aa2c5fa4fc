//! The admin API, version 1: every resource with its documentation beside it.
//!
//! A route can't be served without being documented: both come from the same line in [`routes`].

mod backends;
mod changes;
mod document;
mod endpoints;
mod explain;
mod pairs;
mod parameters;
mod policies;
mod reload;
mod requests;
mod revisions;
mod shapes;
mod validate;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use self::document::Document;
pub(super) use self::endpoints::EndpointNow;
pub(super) use self::pairs::{PairName, Suspend, resume as resume_pair, suspend as suspend_pair};
pub(super) use self::policies::{PolicyNow, all as policies_in_use};
pub(super) use self::shapes::{Mistake, mistakes};
use super::State;

/// Every route of `/api/v1` with its documentation.
pub(super) fn routes() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(document::openapi))
        .routes(routes!(policies::list, policies::create))
        .routes(routes!(policies::get, policies::put, policies::delete))
        .routes(routes!(revisions::list))
        .routes(routes!(revisions::get))
        .routes(routes!(revisions::restore))
        .routes(routes!(endpoints::list))
        .routes(routes!(backends::list))
        .routes(routes!(pairs::list))
        .routes(routes!(pairs::suspend))
        .routes(routes!(pairs::resume))
        .routes(routes!(requests::list))
        .routes(routes!(explain::explain_model))
        .routes(routes!(reload::last, reload::reload))
        .routes(routes!(validate::validate))
}
