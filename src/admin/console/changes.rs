//! The file that the pages change: as it is, and what a change of it has come to.

use axum::http::StatusCode;
use axum::response::Response;

use super::diff::{self, Line};
use super::frame::{Notice, page_with};
use crate::admin::edits::{self, Changed, Refused, Tag};
use crate::admin::{State as Shared, blocking};

/// The file as it is while a form is shown.
pub(super) struct Now {
    pub(super) text: String,
    pub(super) tag: Tag,
    /// The diff from what was seen to this, where what was seen is a revision that is kept.
    pub(super) since: Option<Vec<Line>>,
}

/// What a change has come to, for the next page.
pub(super) fn told(changed: &Changed) -> String {
    let done = match changed.revision {
        Some(number) => format!("Saved and deployed as revision {number}."),
        None => "Nothing differs from the file, so nothing was changed.".to_owned(),
    };
    if changed.warnings.is_empty() {
        return done;
    }
    format!(
        "{done} What is probably not meant: {}.",
        changed.warnings.join("; ")
    )
}

/// The file as it is.
pub(super) async fn now(state: &Shared, seen: Option<Tag>) -> Result<Now, Refused> {
    let store = edits::store(&*state.live)?;
    let read = blocking(move || {
        let text = store.read()?;
        let tag = Tag::of(&text);
        let changed = seen.filter(|seen| *seen != tag);
        let before = match changed {
            Some(seen) => store.revision_of(&seen)?,
            None => None,
        };
        let since = before.map(|before| diff::lines(&edits::diff(&before, &text)));
        Ok::<_, Refused>(Now { text, tag, since })
    });
    read.await
        .unwrap_or_else(|_| Err(Refused::Broken("it can't be read".to_owned())))
}

/// There is nothing to write into.
pub(super) fn unreadable(refused: &Refused) -> Response {
    let words = format!("Nothing can be changed here: {refused}.");
    page_with(StatusCode::CONFLICT, &Notice::bad(&words))
}
