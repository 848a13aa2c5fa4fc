//! A policy's form: to write a policy, look at what would change, and put it to use.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::changes::{Now, now, told, unreadable};
use super::super::diff;
use super::super::frame::{Frame, Notice, go, nothing_here};
use super::super::sent::Sent;
use super::form::{Body, Form, Inputs};
use super::page::{Mistakes, Page, Review};
use crate::admin::State as Shared;
use crate::admin::access::Operator;
use crate::admin::edits::{Changed, Refused, Request, Tag};
use crate::config::edit::{self, EditError};

/// A form for a new policy.
pub(super) async fn new(State(state): State<Arc<Shared>>, frame: Frame) -> Response {
    let now = match now(&state, None).await {
        Ok(now) => now,
        Err(refused) => return unreadable(&refused),
    };
    let mut page = Page::of(&state, frame, &now, None, Form::new(Default::default()));
    if let [only] = &page.operations[..] {
        page.form.attached.insert(only.to_string());
    }
    page.show(StatusCode::OK)
}

/// The form of a policy as it is in the file.
pub(super) async fn open(
    State(state): State<Arc<Shared>>,
    Path(name): Path<String>,
    frame: Frame,
) -> Response {
    let read = now(&state, None).await.and_then(|now| {
        let fields = edit::policy_fields(&now.text, &name)?.ok_or(EditError::NoPolicy)?;
        let text = edit::policy_text(&now.text, &name)?.ok_or(EditError::NoPolicy)?;
        Ok((now, fields, text))
    });
    let (now, fields, text) = match read {
        Ok(read) => read,
        Err(Refused::Edit(EditError::NoPolicy)) => return nothing_here(frame).await,
        Err(refused) => return unreadable(&refused),
    };
    let body = match Inputs::of_all(&fields) {
        Some(inputs) => Body::Inputs(Box::new(inputs)),
        None => Body::Yaml(text.yaml),
    };
    let attached = text.operations.iter().map(ToString::to_string).collect();
    let form = Form {
        name: name.clone(),
        body,
        attached,
    };
    Page::of(&state, frame, &now, Some(name), form).show(StatusCode::OK)
}

/// What was sent for a new policy.
pub(super) async fn create(
    state: State<Arc<Shared>>,
    operator: Extension<Operator>,
    frame: Frame,
    headers: HeaderMap,
    sent: Sent,
) -> Response {
    take(state, operator, None, frame, headers, sent).await
}

/// What was sent for a policy that is there.
pub(super) async fn change(
    state: State<Arc<Shared>>,
    operator: Extension<Operator>,
    Path(name): Path<String>,
    frame: Frame,
    headers: HeaderMap,
    sent: Sent,
) -> Response {
    take(state, operator, Some(name), frame, headers, sent).await
}

async fn take(
    State(state): State<Arc<Shared>>,
    Extension(operator): Extension<Operator>,
    existing: Option<String>,
    frame: Frame,
    headers: HeaderMap,
    sent: Sent,
) -> Response {
    let seen = Tag(sent.first("seen").unwrap_or_default().to_owned());
    let asked = sent.first("do").unwrap_or("review").to_owned();
    let now = match now(&state, Some(seen.clone())).await {
        Ok(now) => now,
        Err(refused) => return unreadable(&refused),
    };
    let mut form = Form::sent(&sent);
    if let Some(name) = &existing {
        form.name.clone_from(name);
    }
    let visitor = frame.visitor.clone();
    let mut page = Page::of(&state, frame, &now, existing, form);
    page.typed = true;
    page.seen = seen;
    match asked.as_str() {
        "save" | "review" | "again" => {}
        "yaml" => return page.in_yaml(&now.text),
        "form" => return page.in_form(),
        asked => return page.act(asked),
    }
    if asked == "again" {
        page.seen = now.tag.clone();
    }
    if page.form.name.is_empty() {
        page.mistakes = Mistakes::of_field("name", "is missing: what the policy is called");
        return page.show(StatusCode::UNPROCESSABLE_ENTITY);
    }
    let saving = asked == "save";
    match write(&state, operator, &page, !saving).await {
        Ok(changed) if saving => {
            let notice = told(&changed);
            state.console.sessions.leave_notice(&visitor, notice);
            go(&headers, &path_of(&page.form.name))
        }
        Ok(changed) => page.reviewed(changed),
        Err(refused) => page.refused(refused, &now),
    }
}

/// Writes the policy into the file, or tries whether that would do.
async fn write(
    state: &Shared,
    Operator(by): Operator,
    page: &Page,
    dry_run: bool,
) -> Result<Changed, Refused> {
    let (name, body) = (page.form.name.clone(), page.form.text());
    let operations = page.form.operations(&page.operations);
    let is_new = page.existing.is_none();
    let done = if is_new { "created" } else { "written" };
    let request = Request {
        by,
        what: format!("policy {name} was {done}"),
        seen: Some(page.seen.clone()),
        dry_run,
    };
    let change = move |_: &_, text: &str| {
        let put = if is_new {
            edit::add_policy
        } else {
            edit::put_policy
        };
        Ok(put(text, &name, &body, Some(&operations))?)
    };
    state.edits.change(&*state.live, request, change).await
}

impl Page {
    /// Does what a button of the form asks for.
    fn act(mut self, asked: &str) -> Response {
        if let Some(done) = self.form.act(asked) {
            self.frame.said = done.said;
            self.frame.focus = done.focus;
        }
        self.show(StatusCode::OK)
    }

    /// The policy as its text, with what is typed put into the text of the file.
    fn in_yaml(mut self, file: &str) -> Response {
        let body = self.form.text();
        let put = edit::put_policy(file, &self.form.name, &body, None);
        let text = put.and_then(|text| edit::policy_text(&text, &self.form.name));
        let text = text.ok().flatten().map(|text| text.yaml);
        self.form.body = Body::Yaml(text.unwrap_or(body));
        "f-yaml".clone_into(&mut self.frame.focus);
        self.show(StatusCode::OK)
    }

    /// The text in inputs, where they show all of it.
    fn in_form(mut self) -> Response {
        let fields = edit::fields_of(&self.form.text());
        match fields.as_ref().map(Inputs::of_all) {
            Ok(Some(inputs)) => {
                self.form.body = Body::Inputs(Box::new(inputs));
                "main".clone_into(&mut self.frame.focus);
                self.show(StatusCode::OK)
            }
            Ok(None) => {
                let words = "can't be shown in the form, which has no input for everything in it: a list of targets, a type other than failover, or a field that is none";
                self.mistakes = Mistakes::of_field("yaml", words);
                self.show(StatusCode::UNPROCESSABLE_ENTITY)
            }
            Err(error) => {
                self.mistakes = Mistakes::of_field("yaml", &error.to_string());
                self.show(StatusCode::UNPROCESSABLE_ENTITY)
            }
        }
    }

    fn reviewed(mut self, changed: Changed) -> Response {
        "review".clone_into(&mut self.frame.focus);
        self.review = Some(Review {
            lines: diff::lines(&changed.diff),
            warnings: changed.warnings,
        });
        self.show(StatusCode::OK)
    }

    fn refused(mut self, refused: Refused, now: &Now) -> Response {
        match refused {
            Refused::Conflict(tag) => {
                self.conflict = Some(now.since.clone().unwrap_or_default());
                "conflict".clone_into(&mut self.frame.focus);
                // The next review is of what stands there now.
                self.current = tag;
                self.show(StatusCode::CONFLICT)
            }
            Refused::Edit(EditError::Taken) => {
                self.mistakes = Mistakes::of_field("name", "is the name of a policy already");
                self.show(StatusCode::CONFLICT)
            }
            Refused::Invalid(errors) => {
                self.mistakes = Mistakes::of(&errors, &self.form);
                self.show(StatusCode::UNPROCESSABLE_ENTITY)
            }
            Refused::Edit(EditError::Policy(error)) => {
                self.mistakes = Mistakes::of_field("yaml", &error.to_string());
                self.show(StatusCode::UNPROCESSABLE_ENTITY)
            }
            refused => {
                self.frame.notice = Some(Notice::bad(&format!("Nothing has changed: {refused}.")));
                self.show(StatusCode::CONFLICT)
            }
        }
    }
}

/// The page of a policy.
pub(super) fn path_of(name: &str) -> String {
    format!(
        "/console/policy/{}",
        utf8_percent_encode(name, NON_ALPHANUMERIC)
    )
}
