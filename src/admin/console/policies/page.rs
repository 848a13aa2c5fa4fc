//! The page with a policy's form, and what stands beside its fields.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::changes::Now;
use super::super::diff::Line;
use super::super::frame::{Frame, page_with};
use super::edit::path_of;
use super::form::{Body, Form, Inputs, id};
use super::inputs::Kind;
use crate::admin::State as Shared;
use crate::admin::edits::Tag;
use crate::config::ConfigErrors;
use crate::config::edit::{OperationName, operation_names};
use crate::policy::Snapshot;

/// A policy's form with everything around it.
#[derive(Template)]
#[template(path = "policy.html")]
pub(super) struct Page {
    pub(super) frame: Frame,
    pub(super) form: Form,
    /// The policy's name in the file; `None`: it is a new one.
    pub(super) existing: Option<String>,
    /// Whether the form shows what somebody has typed, not what the file says.
    pub(super) typed: bool,
    /// The file that was seen when the form was opened, and the one that is there.
    pub(super) seen: Tag,
    pub(super) current: Tag,
    pub(super) mistakes: Mistakes,
    pub(super) review: Option<Review>,
    /// What has changed in the file since the form was opened, where that is in the way.
    pub(super) conflict: Option<Vec<Line>>,
    pub(super) operations: Vec<OperationName>,
    endpoints: Vec<Arc<str>>,
    models: BTreeSet<Arc<str>>,
}

/// What would change.
pub(super) struct Review {
    pub(super) lines: Vec<Line>,
    pub(super) warnings: Vec<String>,
}

/// What is wrong with the form.
#[derive(Default)]
pub(super) struct Mistakes(Vec<Mistake>);

/// One mistake.
struct Mistake {
    /// The path of an input; empty where there is none for it.
    path: String,
    /// Where it is, for a list of all.
    place: String,
    message: String,
}

impl Page {
    pub(super) fn of(
        state: &Shared,
        frame: Frame,
        now: &Now,
        existing: Option<String>,
        form: Form,
    ) -> Self {
        let configuration = state.live.configuration();
        let snapshot: &Snapshot = (*configuration).as_ref();
        let endpoints = snapshot.endpoints.iter();
        let models = snapshot.pairs.iter().map(|pair| pair.model.clone());
        Self {
            frame,
            form,
            existing,
            typed: false,
            seen: now.tag.clone(),
            current: now.tag.clone(),
            mistakes: Mistakes::default(),
            review: None,
            conflict: None,
            operations: operation_names(&now.text).unwrap_or_default(),
            endpoints: endpoints.map(|endpoint| endpoint.name.clone()).collect(),
            models: models.collect(),
        }
    }

    /// The page. htmx is told that all is well also where something has to be mended: browsers
    /// note every other status as an error of the page.
    pub(super) fn show(mut self, status: StatusCode) -> Response {
        let status = if self.frame.is_htmx {
            StatusCode::OK
        } else {
            status
        };
        if !self.mistakes.0.is_empty() {
            "mistakes".clone_into(&mut self.frame.focus);
        }
        page_with(status, &self)
    }

    /// Where the form is sent.
    fn path(&self) -> String {
        match &self.existing {
            Some(name) => path_of(name),
            None => "/console/policies/new".to_owned(),
        }
    }

    /// The id of the element for a path.
    fn id(&self, path: impl AsRef<str>) -> String {
        id(path.as_ref())
    }

    /// The path of a field of what stands at `path`.
    fn sub(&self, path: impl AsRef<str>, field: &str) -> String {
        format!("{}.{field}", path.as_ref())
    }

    /// The path of an item of the list at `path`.
    fn item(&self, path: impl AsRef<str>, index: &usize) -> String {
        format!("{}[{index}]", path.as_ref())
    }

    /// The ids of what is told about an input.
    fn described_by(&self, path: impl AsRef<str>, has_hint: bool) -> String {
        let id = id(path.as_ref());
        let hint = has_hint.then(|| format!("{id}-hint"));
        let error = self.mistakes.at(path).map(|_| format!("{id}-error"));
        hint.into_iter().chain(error).collect::<Vec<_>>().join(" ")
    }

    fn inputs(&self) -> Option<&Inputs> {
        match &self.form.body {
            Body::Inputs(inputs) => Some(inputs),
            Body::Yaml(_) => None,
        }
    }

    fn yaml(&self) -> &str {
        match &self.form.body {
            Body::Inputs(_) => "",
            Body::Yaml(text) => text,
        }
    }

    fn is_attached(&self, operation: &OperationName) -> bool {
        self.form.attached.contains(&operation.to_string())
    }

    /// Whether an endpoint that a row names is none of those that there are.
    fn is_strange(&self, endpoint: &str) -> bool {
        !endpoint.is_empty() && self.endpoints.iter().all(|known| **known != *endpoint)
    }

    fn is_advanced_open(&self, inputs: &Inputs) -> bool {
        let wrong = |input: &super::inputs::Input| self.mistakes.at(input.known.path).is_some();
        inputs.has_advanced() || inputs.advanced.iter().any(wrong)
    }
}

impl Mistakes {
    /// One, beside a field.
    pub(super) fn of_field(path: &str, message: &str) -> Self {
        Self(vec![Mistake {
            path: path.to_owned(),
            place: words(path),
            message: message.to_owned(),
        }])
    }

    /// Those of the resolver: each beside its field, and the others as they are told of the file.
    pub(super) fn of(errors: &ConfigErrors, form: &Form) -> Self {
        let policy = format!("policies.{}", form.name);
        let mistake = |error: &crate::config::ConfigError| {
            let own = error.path.strip_prefix(&policy);
            let own = own.filter(|rest| rest.is_empty() || rest.starts_with('.'));
            let message = error.message.clone();
            let Some(own) = own else {
                let path = match error.path.starts_with("operations") {
                    true => "operations".to_owned(),
                    false => String::new(),
                };
                let place = format!("line {}, {}", error.line, error.path);
                return Mistake {
                    path,
                    place,
                    message,
                };
            };
            let own = own.trim_start_matches('.');
            let has_inputs = matches!(form.body, Body::Inputs(_));
            Mistake {
                place: words(own),
                path: if has_inputs {
                    input_of(own)
                } else {
                    "yaml".to_owned()
                },
                message,
            }
        };
        Self(errors.0.iter().map(mistake).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn count(&self) -> String {
        match self.0.len() {
            1 => "there is one mistake".to_owned(),
            count => format!("there are {count} mistakes"),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }

    /// What is wrong at a path.
    fn at(&self, path: impl AsRef<str>) -> Option<&str> {
        let path = path.as_ref();
        let found = self.0.iter().find(|mistake| mistake.path == path);
        found.map(|mistake| mistake.message.as_str())
    }
}

/// The path of the input that shows a field: a list of names has one for all of them.
fn input_of(path: &str) -> String {
    match path.rsplit_once('[') {
        Some((list, rest)) if rest.ends_with(']') && !list.ends_with("fallbacks") => {
            list.to_owned()
        }
        _ => path.to_owned(),
    }
}

/// A path in words: `production.fallbacks[1].model` is "production, fallback 2, model".
fn words(path: &str) -> String {
    let step = |step: &str| match step.split_once('[') {
        Some((list, index)) => {
            let index = index
                .trim_end_matches(']')
                .parse::<usize>()
                .unwrap_or_default();
            let one = list.strip_suffix('s').unwrap_or(list);
            format!("{} {}", one.replace('_', " "), index + 1)
        }
        None => step.replace('_', " "),
    };
    path.split('.').map(step).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_stands_at_the_input_of_its_field() {
        for (path, input, told) in [
            (
                "production.target.model",
                "production.target.model",
                "production, target, model",
            ),
            (
                "sandbox.fallbacks[1].endpoint",
                "sandbox.fallbacks[1].endpoint",
                "sandbox, fallback 2, endpoint",
            ),
            (
                "sandbox.fallbacks[0]",
                "sandbox.fallbacks[0]",
                "sandbox, fallback 1",
            ),
            ("match[2]", "match", "match 3"),
            (
                "failover_on.statuses.add[0]",
                "failover_on.statuses.add",
                "failover on, statuses, add 1",
            ),
            ("request_timeout", "request_timeout", "request timeout"),
        ] {
            assert_eq!((&*input_of(path), &*words(path)), (input, told), "{path}");
        }
    }
}
