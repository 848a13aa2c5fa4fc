//! Try out: a request through the gateway as a caller would send it, and its way.
//!
//! ```text
//! page ── send ── a way in (Live::invite) ── the gateway ── head, body as it comes, trail ──> page
//! ```
//!
//! The request takes no key of anybody's: the process lets this one request of its own in, so that
//! whoever holds an admin token can try both environments, and no key has to be pasted into a page.

mod examples;
mod send;

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};

use super::frame::{Frame, page};
use crate::admin::State as Shared;
use crate::policy::{Environment, ModelPlace, Operation, Routes, Snapshot};

/// The pages under `/console/try-out`.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/console/try-out", get(try_out))
        .route("/console/try-out/send", post(send::send))
}

#[derive(Template)]
#[template(path = "try_out.html")]
struct TryOut {
    frame: Frame,
    operations: Vec<Row>,
    models: BTreeSet<String>,
    model: String,
    body: String,
    /// Where callers reach the gateway; `*` stands for whichever name they have for it.
    listeners: Vec<String>,
    keys: bool,
}

/// An operation, as it is chosen.
struct Row {
    method: String,
    path: String,
    example: String,
    /// Something of the path is to be filled in.
    open: bool,
    model_in_body: bool,
}

async fn try_out(State(state): State<Arc<Shared>>, frame: Frame) -> Response {
    let configuration = state.live.configuration();
    let snapshot = (*configuration).as_ref();
    let mut operations: Vec<&Operation> = snapshot.operations.iter().collect();
    operations.sort_by_key(|operation| operation.routes.is_none());
    let model = operations.first().and_then(|first| first_model(first));
    let model = model.unwrap_or_default();
    let operations: Vec<Row> = operations.into_iter().map(|one| row(one, &model)).collect();
    let listener = |listening: &crate::admin::Listening| listening.url();
    page(&TryOut {
        body: operations
            .first()
            .map_or_else(String::new, |row| row.example.clone()),
        operations,
        models: models(snapshot),
        model,
        listeners: state.live.listeners().iter().map(listener).collect(),
        keys: matches!(
            snapshot.authentication,
            crate::policy::Authentication::Keys(_)
        ),
        frame,
    })
}

fn row(operation: &Operation, model: &str) -> Row {
    Row {
        method: operation.method.to_string(),
        path: operation.path.to_string(),
        example: examples::body(operation, model),
        open: operation.template.is_some(),
        model_in_body: operation.model_in == ModelPlace::Body,
    }
}

/// What leads to the first policy that something leads to.
fn first_model(operation: &Operation) -> Option<String> {
    let routes = operation.routes.as_ref()?;
    let names = Environment::ALL.into_iter().flat_map(|environment| {
        let routes: &Routes = routes.get(environment);
        routes
            .names()
            .filter_map(|name| Some((routes.find(name)?, name)))
    });
    let first = names.min()?;
    Some(first.1.to_owned())
}

/// Every model that is known by name.
fn models(snapshot: &Snapshot) -> BTreeSet<String> {
    let routes = snapshot
        .operations
        .iter()
        .filter_map(|operation| operation.routes.as_ref());
    let asked = routes.flat_map(|routes| {
        let names = Environment::ALL.map(|environment| routes.get(environment).names());
        names.into_iter().flatten().map(str::to_owned)
    });
    let served = snapshot.pairs.iter().map(|pair| pair.model.to_string());
    asked.chain(served).collect()
}
