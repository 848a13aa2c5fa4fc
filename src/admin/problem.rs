//! Every error of the admin side, as RFC 9457 has it.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::api::{Mistake, mistakes};
use super::edits::Tag;
use crate::config::ConfigErrors;

/// What went wrong, for a program (`status`, `code`) and for a person (`title`, `detail`).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// What kind of problem it is, in words that stay.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// The same as `title` for programs.
    code: &'static str,
    /// What is the matter this time, and what helps.
    detail: String,
    /// The tag of the file as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    /// Each mistake of a configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Mistake>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: String,
    ) -> Self {
        Self {
            title,
            status: status.as_u16(),
            code,
            detail,
            revision: None,
            errors: Vec::new(),
        }
    }

    /// What is the matter this time.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn unauthorized() -> Self {
        let detail = "send `Authorization: Bearer TOKEN` with a token whose SHA-256 is in admin.tokens of the configuration; `standin key --admin` makes one";
        let status = StatusCode::UNAUTHORIZED;
        Self::new(status, "unauthorized", "A token is needed", detail.into())
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        let status = StatusCode::NOT_FOUND;
        Self::new(status, "not_found", "Not found", detail.into())
    }

    /// A configuration has errors.
    pub(super) fn invalid(errors: &ConfigErrors) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let count = errors.0.len();
        let plural = if count == 1 { "" } else { "s" };
        let detail =
            format!("nothing has changed; the configuration has {count} error{plural}: {errors}");
        Self {
            errors: mistakes(errors),
            ..Self::new(
                status,
                "invalid_configuration",
                "The configuration has errors",
                detail,
            )
        }
    }

    /// Somebody else was quicker.
    pub(super) fn conflict(
        code: &'static str,
        title: &'static str,
        detail: String,
        current: &Tag,
    ) -> Self {
        Self {
            revision: Some(current.0.clone()),
            ..Self::new(StatusCode::CONFLICT, code, title, detail)
        }
    }

    pub(super) fn precondition_required() -> Self {
        let status = StatusCode::PRECONDITION_REQUIRED;
        let detail = "send `if-match` with the etag that GET gave you, so that nobody's change is overwritten; `*` takes whatever is there";
        Self::new(
            status,
            "if_match_needed",
            "Say what you have seen",
            detail.into(),
        )
    }

    /// What was sent can't be used.
    pub(super) fn unprocessable(detail: impl Into<String>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "unprocessable", "This can't be used", detail.into())
    }

    /// Something that can't be the caller's fault.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(
            status,
            "internal",
            "Something went wrong here",
            detail.into(),
        )
    }

    pub(super) fn method_not_allowed() -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let detail = "the header `allow` says what can be done here".into();
        Self::new(status, "method_not_allowed", "Not with this method", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let current = self.revision.clone();
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        if let Some(tag) = current
            && let Ok(tag) = HeaderValue::try_from(format!("\"{tag}\""))
        {
            headers.insert(header::ETAG, tag);
        }
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
