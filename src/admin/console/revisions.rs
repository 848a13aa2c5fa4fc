//! The texts that were in use, and the way back to each.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};

use super::changes::{now, told, unreadable};
use super::frame::{Frame, go, page};
use super::question::Question;
use super::sent::Sent;
use crate::admin::access::Operator;
use crate::admin::edits::{self, Changed, Refused, Request, Revision, Store, Tag};
use crate::admin::{State as Shared, blocking};

/// The pages under `/console/revisions`.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/console/revisions", get(list))
        .route("/console/revisions/{number}", get(ask).post(restore))
}

#[derive(Template)]
#[template(path = "revisions.html")]
struct Revisions {
    frame: Frame,
    revisions: Vec<Revision>,
    /// Of the file as it is.
    tag: Tag,
}

async fn list(State(state): State<Arc<Shared>>, frame: Frame) -> Response {
    let store = match edits::store(&*state.live) {
        Ok(store) => store,
        Err(refused) => return unreadable(&refused),
    };
    let read = blocking(move || Ok::<_, Refused>((Tag::of(&store.read()?), store.revisions()?)));
    match read.await {
        Ok(Ok((tag, revisions))) => page(&Revisions {
            frame,
            revisions,
            tag,
        }),
        Ok(Err(refused)) => unreadable(&refused),
        Err(_) => unreadable(&Refused::Broken("the revisions can't be read".to_owned())),
    }
}

/// What rolling back to a revision would change.
async fn ask(
    State(state): State<Arc<Shared>>,
    Extension(operator): Extension<Operator>,
    Path(number): Path<u64>,
    frame: Frame,
) -> Response {
    let tag = match now(&state, None).await {
        Ok(now) => now.tag,
        Err(refused) => return unreadable(&refused),
    };
    let tried = change(&state, operator, number, tag, true).await;
    question(frame, number).show(tried)
}

async fn restore(
    State(state): State<Arc<Shared>>,
    Extension(operator): Extension<Operator>,
    Path(number): Path<u64>,
    frame: Frame,
    headers: HeaderMap,
    sent: Sent,
) -> Response {
    let seen = Tag(sent.first("seen").unwrap_or_default().to_owned());
    match change(&state, operator, number, seen, false).await {
        Ok(changed) => {
            let notice = format!("Rolled back to revision {number}. {}", told(&changed));
            state.console.sessions.leave_notice(&frame.visitor, notice);
            go(&headers, "/console/revisions")
        }
        refused => question(frame, number).show(refused),
    }
}

async fn change(
    state: &Shared,
    Operator(by): Operator,
    number: u64,
    seen: Tag,
    dry_run: bool,
) -> Result<Changed, Refused> {
    let request = Request {
        by,
        what: format!("revision {number} was restored"),
        seen: Some(seen),
        dry_run,
    };
    let change = move |store: &Store, _: &str| store.revision(number)?.ok_or(Refused::NoRevision);
    state.edits.change(&*state.live, request, change).await
}

fn question(frame: Frame, number: u64) -> Question {
    let (title, action) = (
        format!("Roll back to revision {number}?"),
        format!("/console/revisions/{number}"),
    );
    Question::new(frame, title, action, "/console/revisions".to_owned())
        .because("The whole file becomes what it was then. The text of now stays a revision, too.")
        .button("Roll back and deploy")
}
