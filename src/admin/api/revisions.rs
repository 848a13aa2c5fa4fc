//! `/api/v1/revisions`: the texts that were in use, and the way back to each.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};

use super::changes::{Change, Tagged, changed, seen, tagged};
use super::parameters::DryRun;
use crate::admin::access::Operator;
use crate::admin::edits::{self, Refused, Request, Revision, Store, Tag};
use crate::admin::extract::{Path, Query};
use crate::admin::problem::Problem;
use crate::admin::{State as Shared, blocking};

/// All revisions that are kept, the latest first. The header `etag` is what a change asks for.
#[utoipa::path(
    get,
    path = "/revisions",
    operation_id = "listRevisions",
    responses((status = 200, body = Vec<Revision>, headers(("etag" = String, description = "Of the file"))))
)]
pub(super) async fn list(
    State(state): State<Arc<Shared>>,
) -> Result<Tagged<Vec<Revision>>, Problem> {
    let store = edits::store(&*state.live)?;
    let read = blocking(move || {
        let tag = Tag::of(&store.read()?);
        Ok::<_, Refused>((tag, store.revisions()?))
    });
    let (tag, revisions) = read.await??;
    Ok(tagged(&tag, revisions))
}

/// The text of a revision.
#[utoipa::path(
    get,
    path = "/revisions/{number}",
    operation_id = "getRevision",
    params(("number" = u64, Path, description = "The revision's number")),
    responses(
        (status = 200, body = String, content_type = "application/yaml"),
        (status = 404, description = "No such revision", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn get(
    State(state): State<Arc<Shared>>,
    Path(number): Path<u64>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let store = edits::store(&*state.live)?;
    let text = blocking(move || text_of(&store, number)).await??;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], text))
}

/// Put the text of a revision in the file again, and to use. It becomes a new revision. `if-match`
/// must be the `etag` that was seen.
#[utoipa::path(
    post,
    path = "/revisions/{number}/restore",
    operation_id = "restoreRevision",
    params(("number" = u64, Path, description = "The revision's number"), DryRun, ("if-match" = String, Header, description = "The etag that was seen, or `*`")),
    responses(
        (status = 200, body = Change, headers(("etag" = String, description = "Of the file"))),
        (status = 404, description = "No such revision", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The file has changed since", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It has errors by now; nothing has changed", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn restore(
    State(state): State<Arc<Shared>>,
    Extension(Operator(by)): Extension<Operator>,
    Path(number): Path<u64>,
    Query(dry_run): Query<DryRun>,
    headers: HeaderMap,
) -> Result<Tagged<Change>, Problem> {
    let request = Request {
        by,
        what: format!("revision {number} was restored"),
        seen: seen(&headers)?,
        dry_run: dry_run.dry_run,
    };
    let change = move |store: &Store, _: &str| text_of(store, number);
    Ok(changed(
        state.edits.change(&*state.live, request, change).await?,
    ))
}

fn text_of(store: &Store, number: u64) -> Result<String, Refused> {
    store.revision(number)?.ok_or(Refused::NoRevision)
}
