//! Changes of the configuration file that last.
//!
//! ```text
//! change ── the file as it is, and its tag ── the one the operator saw? ── changed text ── resolved whole
//!                                              └ no: Conflict                        └ errors: Invalid
//!        ── written beside it, renamed over it ── reloaded ── kept as a revision
//!                                                  └ can't be used: the old text is put back
//! ```
//!
//! - The file is the only truth. A tag is the digest of its text, so a change by hand is a change
//!   like another: who has not seen it gets [`Refused::Conflict`], and nothing is overwritten.
//! - One change at a time in this process; the file is looked at again right before the rename.
//! - Every text that was in use is kept in a folder `revisions` beside the file, with who and when;
//!   one that was written by hand is kept before the first change over it.
//!
//! Nothing here knows of HTTP: the API and pages call [`Edits::change`] alike.

mod store;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;

pub(super) use self::store::{Revision, Store, Tag, Unwritable};
use super::live::{Live, Reload, ReloadedBy};
use crate::config::edit::EditError;
use crate::config::{self, ConfigErrors};

/// Changes one after the other.
#[derive(Default)]
pub(super) struct Edits(Mutex<()>);

/// What somebody wants to change.
pub(super) struct Request {
    /// The name of the token.
    pub(super) by: Arc<str>,
    /// In words, for the revision.
    pub(super) what: String,
    /// Of the text that the operator has seen; `None`: whatever is there.
    pub(super) seen: Option<Tag>,
    /// Only say what would change.
    pub(super) dry_run: bool,
}

/// A change that is right.
pub(super) struct Changed {
    /// Of the file as it is now; of a dry run, as it was.
    pub(super) tag: Tag,
    /// What differs, as a unified diff; empty where nothing does.
    pub(super) diff: String,
    /// What is allowed and probably not meant.
    pub(super) warnings: Vec<String>,
    /// The revision that this has become; `None` of a dry run, and where nothing differs.
    pub(super) revision: Option<u64>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the gateway was started without a configuration file")]
    NoFile,
    #[error(
        "the file has changed since; get it again, and make the change to what stands there now"
    )]
    Conflict(Tag),
    #[error("there is a policy of this name already")]
    Taken(Tag),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("{0}")]
    Invalid(ConfigErrors),
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    #[error("there is no such revision")]
    NoRevision,
    #[error("the change could not be carried out: {0}")]
    Broken(String),
}

/// The store of the file that runs.
pub(super) fn store(live: &dyn Live) -> Result<Store, Refused> {
    live.configuration_file()
        .map(Store::new)
        .ok_or(Refused::NoFile)
}

impl Edits {
    /// Changes the file and puts it to use.
    pub(super) async fn change(
        &self,
        live: &dyn Live,
        request: Request,
        change: impl FnOnce(&Store, &str) -> Result<String, Refused> + Send + 'static,
    ) -> Result<Changed, Refused> {
        let _alone = self.0.lock().await;
        let path = live.configuration_file().ok_or(Refused::NoFile)?;
        let by = request.by.clone();
        let written = blocking(move || write(path, request, change)).await??;
        let (Some(before), Some(number)) = (written.before, written.changed.revision) else {
            return Ok(written.changed);
        };
        let reload = live.reload(ReloadedBy::Operator(by)).await;
        match &reload.result {
            Ok(_) => Ok(written.changed),
            Err(_) => Err(put_back(live, before, number, &reload).await),
        }
    }
}

struct Written {
    changed: Changed,
    /// The text that stood there, where another stands there now.
    before: Option<String>,
}

fn write(
    path: PathBuf,
    request: Request,
    change: impl FnOnce(&Store, &str) -> Result<String, Refused>,
) -> Result<Written, Refused> {
    let store = Store::new(path);
    let before = store.read()?;
    let tag = Tag::of(&before);
    if request.seen.as_ref().is_some_and(|seen| *seen != tag) {
        return Err(Refused::Conflict(tag));
    }
    let after = change(&store, &before)?;
    let configuration = config::parse_as(store.path(), &after).map_err(Refused::Invalid)?;
    let mut changed = Changed {
        tag,
        diff: diff(&before, &after),
        warnings: configuration.warnings,
        revision: None,
    };
    if request.dry_run || before == after {
        return Ok(Written {
            changed,
            before: None,
        });
    }
    store.keep_if_new(&before)?;
    store.replace(&before, &after)?;
    changed.tag = Tag::of(&after);
    changed.revision = Some(store.keep(&after, &request.by, &request.what)?);
    log::info!(
        "{} has changed the configuration: {}",
        request.by,
        request.what
    );
    Ok(Written {
        changed,
        before: Some(before),
    })
}

/// The old text again, because the gateway can't use the new one.
async fn put_back(live: &dyn Live, before: String, number: u64, reload: &Reload) -> Refused {
    let errors = match &reload.result {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string(),
    };
    let Some(path) = live.configuration_file() else {
        return Refused::NoFile;
    };
    let back = blocking(move || {
        let store = Store::new(path);
        let now = store.read()?;
        store.replace(&now, &before)?;
        store.forget(number);
        Ok::<_, Unwritable>(())
    });
    match back.await {
        Ok(Ok(())) => Refused::Broken(format!("the file is as it was. {errors}")),
        Ok(Err(error)) => Refused::Broken(format!("{errors}; and {error}")),
        Err(error) => error,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Refused::Broken(error.to_string()))
}

/// What differs, as a unified diff.
pub(super) fn diff(before: &str, after: &str) -> String {
    let diff = similar::TextDiff::from_lines(before, after);
    diff.unified_diff()
        .context_radius(3)
        .header("before", "after")
        .to_string()
}
