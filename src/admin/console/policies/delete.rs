//! Deleting a policy: first what would go, then it goes.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::super::changes::{now, told, unreadable};
use super::super::frame::{Frame, go};
use super::super::question::Question;
use super::super::sent::Sent;
use super::edit::path_of;
use crate::admin::State as Shared;
use crate::admin::access::Operator;
use crate::admin::edits::{Changed, Refused, Request, Tag};
use crate::config::edit;

/// What would go.
pub(super) async fn ask(
    State(state): State<Arc<Shared>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    frame: Frame,
) -> Response {
    let tag = match now(&state, None).await {
        Ok(now) => now.tag,
        Err(refused) => return unreadable(&refused),
    };
    let tried = change(&state, operator, &name, tag, true).await;
    question(frame, &name).show(tried)
}

/// Deletes it, if the file is still the one that was seen.
pub(super) async fn delete(
    State(state): State<Arc<Shared>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    frame: Frame,
    headers: HeaderMap,
    sent: Sent,
) -> Response {
    let seen = Tag(sent.first("seen").unwrap_or_default().to_owned());
    match change(&state, operator, &name, seen, false).await {
        Ok(changed) => {
            let notice = format!("{name} was deleted. {}", told(&changed));
            state.console.sessions.leave_notice(&frame.visitor, notice);
            go(&headers, "/console/policies")
        }
        refused => question(frame, &name).show(refused),
    }
}

async fn change(
    state: &Shared,
    Operator(by): Operator,
    name: &str,
    seen: Tag,
    dry_run: bool,
) -> Result<Changed, Refused> {
    let request = Request {
        by,
        what: format!("policy {name} was deleted"),
        seen: Some(seen),
        dry_run,
    };
    let name = name.to_owned();
    let change = move |_: &_, text: &str| Ok(edit::delete_policy(text, &name)?);
    state.edits.change(&*state.live, request, change).await
}

fn question(frame: Frame, name: &str) -> Question {
    let path = path_of(name);
    Question::new(frame, format!("Delete {name}?"), format!("{path}/delete"), path)
        .because("Requests of its models go to the operation's default endpoint then, if there is one. A deleted policy comes back by rolling back to the revision before.")
        .button("Delete and deploy")
}
