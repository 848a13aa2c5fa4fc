//! A page that shows what a change would do, and asks whether it shall be.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::diff::{self, Line};
use super::frame::{Frame, Notice, page_with};
use crate::admin::edits::{Changed, Refused, Tag};

/// What is asked.
#[derive(Template)]
#[template(path = "question.html")]
pub(super) struct Question {
    frame: Frame,
    title: String,
    because: &'static str,
    /// Where the answer is sent, in which words, and where those go who don't want to.
    action: String,
    button: &'static str,
    back: String,
    /// The file that would change; none where it can't be.
    seen: Option<Tag>,
    lines: Vec<Line>,
    warnings: Vec<String>,
}

impl Question {
    pub(super) fn new(frame: Frame, title: String, action: String, back: String) -> Self {
        Self {
            frame,
            title,
            because: "",
            action,
            button: "Deploy",
            back,
            seen: None,
            lines: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// What to think of.
    pub(super) fn because(self, because: &'static str) -> Self {
        Self { because, ..self }
    }

    /// The words of the button that does it.
    pub(super) fn button(self, button: &'static str) -> Self {
        Self { button, ..self }
    }

    /// Asks, with what a dry run said.
    pub(super) fn show(mut self, tried: Result<Changed, Refused>) -> Response {
        let status = match tried {
            Ok(changed) => {
                self.lines = diff::lines(&changed.diff);
                self.warnings = changed.warnings;
                self.seen = Some(changed.tag);
                StatusCode::OK
            }
            Err(refused) => {
                let (status, words) = match &refused {
                    Refused::Conflict(_) => (
                        StatusCode::CONFLICT,
                        "Nothing was done: the file has changed since this page was opened. Go back and look at it again.".to_owned(),
                    ),
                    _ => (
                        StatusCode::UNPROCESSABLE_ENTITY,
                        format!("This can't be done: {refused}"),
                    ),
                };
                self.frame.notice = Some(Notice::bad(&words));
                status
            }
        };
        page_with(status, &self)
    }
}
