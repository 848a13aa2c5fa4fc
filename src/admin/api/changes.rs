//! What changes of the file have in common over HTTP: tags, dry runs, and how they are refused.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::edits::{Changed, Refused, Tag};
use crate::admin::extract::Json;
use crate::admin::problem::Problem;
use crate::config::edit::EditError;

/// A change that is right, and in use unless it was a dry run.
#[derive(Serialize, ToSchema)]
pub(super) struct Change {
    /// What differs in the file, as a unified diff; empty where nothing does.
    diff: String,
    /// The number of the revision that this has become; absent of a dry run, and where nothing differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// What is allowed and probably not meant.
    warnings: Vec<String>,
}

/// Something with the tag of the file.
pub(super) type Tagged<T> = ([(HeaderName, String); 1], Json<T>);

pub(super) fn tagged<T>(tag: &Tag, value: T) -> Tagged<T> {
    ([(header::ETAG, tag.to_string())], Json(value))
}

pub(super) fn changed(changed: Changed) -> Tagged<Change> {
    let change = Change {
        diff: changed.diff,
        revision: changed.revision,
        warnings: changed.warnings,
    };
    tagged(&changed.tag, change)
}

/// The tag that the operator has seen; `None`: whatever is there (`*`).
pub(super) fn seen(headers: &HeaderMap) -> Result<Option<Tag>, Problem> {
    let value = headers
        .get(header::IF_MATCH)
        .and_then(|value| value.to_str().ok());
    match value.map(str::trim) {
        None => Err(Problem::precondition_required()),
        Some("*") => Ok(None),
        Some(tag) => Ok(Some(Tag(tag.trim_matches('"').to_owned()))),
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        let (status, code, title) = match &refused {
            Refused::Invalid(errors) => return Self::invalid(errors),
            Refused::Conflict(tag) => {
                return Self::conflict("changed_since", "The file has changed", detail, tag);
            }
            Refused::Taken(tag) => {
                return Self::conflict("name_taken", "The name is taken", detail, tag);
            }
            Refused::NoRevision | Refused::Edit(EditError::NoPolicy) => {
                (StatusCode::NOT_FOUND, "not_found", "Not found")
            }
            Refused::Edit(EditError::Layout { .. } | EditError::File(_)) => (
                StatusCode::CONFLICT,
                "not_editable",
                "The file can't be changed here",
            ),
            Refused::Edit(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "unprocessable",
                "This can't be used",
            ),
            Refused::NoFile => (StatusCode::CONFLICT, "no_file", "There is no file"),
            Refused::Unwritable(_) => {
                let title = "The file can't be written";
                (StatusCode::INTERNAL_SERVER_ERROR, "not_writable", title)
            }
            Refused::Broken(_) => {
                let title = "The change was not carried out";
                (StatusCode::INTERNAL_SERVER_ERROR, "not_applied", title)
            }
        };
        Self::new(status, code, title, detail)
    }
}
