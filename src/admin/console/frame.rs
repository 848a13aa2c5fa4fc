//! What all pages have around them, and how they are sent.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect, Response};

use super::sessions::Visitor;
use crate::admin::State as Shared;

/// The places of the navigation: path, words, and what the paths of its other pages begin with.
const PLACES: &[(&str, &str, &[&str])] = &[
    (
        "/console/policies",
        "Policies",
        &["/console/policy/", "/console/revisions"],
    ),
    ("/console/try-out", "Try out", &[]),
    ("/console/live", "Live", &[]),
    ("/console/endpoints", "Endpoints", &[]),
    ("/console/keys", "Keys", &[]),
];

/// What stands around a page: an extractor for whoever is signed in.
pub(super) struct Frame {
    pub(super) visitor: Visitor,
    /// Left by what was done before.
    pub(super) notice: Option<Notice>,
    /// Whether htmx asks, for a page that is there.
    pub(super) is_htmx: bool,
    /// Where among the [`PLACES`] it is.
    path: String,
    /// The id of what gets the focus, and what is said aloud, once the page stands.
    pub(super) focus: String,
    pub(super) said: String,
}

/// A place of the navigation.
pub(super) struct Place {
    pub(super) path: &'static str,
    pub(super) words: &'static str,
    pub(super) here: bool,
}

impl FromRequestParts<Arc<Shared>> for Frame {
    type Rejection = Redirect;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<Shared>,
    ) -> Result<Self, Self::Rejection> {
        let visitor = Extension::<Visitor>::from_request_parts(parts, state).await;
        let Ok(Extension(visitor)) = visitor else {
            return Err(Redirect::to("/console/sign-in"));
        };
        let notice = state.console.sessions.take_notice(&visitor);
        Ok(Self {
            notice: notice.map(|words| Notice::good(&words)),
            visitor,
            is_htmx: is_htmx(&parts.headers),
            path: parts.uri.path().to_owned(),
            focus: String::new(),
            said: String::new(),
        })
    }
}

impl Frame {
    /// The navigation.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        PLACES.iter().map(|&(path, words, others)| {
            let mut begins = [path].into_iter().chain(others.iter().copied());
            Place {
                path,
                words,
                here: begins.any(|begin| self.path.starts_with(begin)),
            }
        })
    }
}

/// Something to tell above a page.
#[derive(Clone, Debug, Template)]
#[template(path = "notice.html")]
pub(super) struct Notice {
    /// `good`, `warning` or `bad`.
    pub(super) kind: &'static str,
    pub(super) words: String,
    /// Where a way out leads, and its words.
    pub(super) link: Option<(String, String)>,
}

impl Notice {
    /// Something was done.
    pub(super) fn good(words: &str) -> Self {
        Self::new("good", words)
    }

    /// Something is in the way.
    pub(super) fn warning(words: &str) -> Self {
        Self::new("warning", words)
    }

    /// Something was not done.
    pub(super) fn bad(words: &str) -> Self {
        Self::new("bad", words)
    }

    fn new(kind: &'static str, words: &str) -> Self {
        Self {
            kind,
            words: words.to_owned(),
            link: None,
        }
    }

    /// With a way out, in another tab.
    pub(super) fn link(mut self, to: &str, words: &str) -> Self {
        self.link = Some((to.to_owned(), words.to_owned()));
        self
    }
}

/// A notice for the page that is there (htmx puts it into `#notice`), or as a page of its own.
pub(super) fn notice(status: StatusCode, notice: &Notice) -> Response {
    let mut response = page_with(status, notice);
    let headers = response.headers_mut();
    headers.insert("hx-retarget", HeaderValue::from_static("#notice"));
    headers.insert("hx-reswap", HeaderValue::from_static("innerHTML"));
    headers.insert("hx-reselect", HeaderValue::from_static(".notice"));
    response
}

#[derive(Template)]
#[template(path = "nothing.html")]
struct NothingHere {
    frame: Frame,
}

/// There is no such page.
pub(super) async fn nothing_here(frame: Frame) -> Response {
    page_with(StatusCode::NOT_FOUND, &NothingHere { frame })
}

/// A page.
pub(super) fn page(template: &impl Template) -> Response {
    page_with(StatusCode::OK, template)
}

/// A page with another status.
pub(super) fn page_with(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            log::error!("console: {error}");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the page can't be shown\n",
            )
                .into_response()
        }
    }
}

/// Goes to another page, whole.
pub(super) fn go(headers: &HeaderMap, path: &str) -> Response {
    match HeaderValue::try_from(path) {
        Ok(path) if is_htmx(headers) => {
            let mut response = StatusCode::NO_CONTENT.into_response();
            response.headers_mut().insert("hx-redirect", path);
            response
        }
        _ => Redirect::to(path).into_response(),
    }
}

/// Whether htmx asks, for a page that is there.
pub(super) fn is_htmx(headers: &HeaderMap) -> bool {
    headers.contains_key("hx-request")
}
