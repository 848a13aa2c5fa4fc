//! The configuration file and its revisions on disk.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::telemetry::rfc3339;

/// Revisions that are kept; the oldest go.
const KEPT: usize = 100;

/// Who has made a change that nobody made here.
const BY_HAND: &str = "by hand";

/// Tells one text from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admin) struct Tag(pub(in crate::admin) String);

impl Tag {
    pub(in crate::admin) fn of(text: &str) -> Self {
        let digest = format!("{:x}", Sha256::digest(text));
        Self(digest[..32].to_owned())
    }
}

/// What the file system refuses.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {error}", path.display())]
pub(in crate::admin) struct Unwritable {
    what: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// A text that was in use.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(in crate::admin) struct Revision {
    /// Counted from 1.
    pub(in crate::admin) number: u64,
    /// When it was written; of a change by hand, when it was found.
    #[schema(format = DateTime)]
    pub(in crate::admin) at: String,
    /// The name of the token, or `by hand`.
    pub(in crate::admin) by: String,
    /// What was changed.
    pub(in crate::admin) what: String,
    /// The tag of the file with this text.
    pub(in crate::admin) tag: String,
}

/// A configuration file, and the folder beside it.
pub(in crate::admin) struct Store {
    path: PathBuf,
    folder: PathBuf,
}

impl Store {
    /// Of the file at `path`. A link is followed: the file that it leads to is the one that changes.
    pub(in crate::admin) fn new(path: PathBuf) -> Self {
        let path = fs::canonicalize(&path).unwrap_or(path);
        let name = path.file_name().unwrap_or_default();
        let folder = folder_of(&path).join("revisions").join(name);
        Self { path, folder }
    }

    pub(in crate::admin) fn path(&self) -> &Path {
        &self.path
    }

    /// The text that stands in the file.
    pub(in crate::admin) fn read(&self) -> Result<String, Unwritable> {
        fs::read_to_string(&self.path).map_err(failed("can't read", &self.path))
    }

    /// Puts `after` in the place of `before`, at once or not at all, with the file's mode and owner.
    pub(super) fn replace(&self, before: &str, after: &str) -> Result<(), Unwritable> {
        let next = self
            .path
            .with_extension(format!("next-{}", std::process::id()));
        let done = self.write_and_rename(&next, before, after);
        if done.is_err() {
            let _ = fs::remove_file(&next);
        }
        done
    }

    fn write_and_rename(&self, next: &Path, before: &str, after: &str) -> Result<(), Unwritable> {
        let was = fs::metadata(&self.path).map_err(failed("can't read", &self.path))?;
        let mut file = create(next)?;
        let written = (|| {
            file.write_all(after.as_bytes())?;
            let is = file.metadata()?;
            if (is.uid(), is.gid()) != (was.uid(), was.gid()) {
                fchown(&file, Some(was.uid()), Some(was.gid()))?;
            }
            file.set_permissions(fs::Permissions::from_mode(was.mode() & 0o7777))?;
            file.sync_all()
        })();
        written.map_err(failed("can't write", next))?;
        if self.read()? != before {
            let error = io::Error::other("somebody else has changed it in this moment; try again");
            return Err(failed("did not replace", &self.path)(error));
        }
        fs::rename(next, &self.path).map_err(failed("can't replace", &self.path))?;
        sync(folder_of(&self.path));
        Ok(())
    }

    /// All revisions, the latest first.
    pub(in crate::admin) fn revisions(&self) -> Result<Vec<Revision>, Unwritable> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("can't read", &self.folder)(error)),
        };
        let mut revisions = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
                && let Ok(bytes) = fs::read(&path)
                && let Ok(revision) = serde_json::from_slice::<Revision>(&bytes)
            {
                revisions.push(revision);
            }
        }
        revisions.sort_by_key(|revision| std::cmp::Reverse(revision.number));
        Ok(revisions)
    }

    /// The text of a revision; `None`: there is none of this number.
    pub(in crate::admin) fn revision(&self, number: u64) -> Result<Option<String>, Unwritable> {
        let path = self.file(number, "yaml");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("can't read", &path)(error)),
        }
    }

    /// The text that had this tag, where it is a revision.
    pub(in crate::admin) fn revision_of(&self, tag: &Tag) -> Result<Option<String>, Unwritable> {
        let revisions = self.revisions()?;
        let revision = revisions.iter().find(|revision| revision.tag == tag.0);
        revision.map_or(Ok(None), |revision| self.revision(revision.number))
    }

    /// Keeps a text that was found, unless it is the latest revision already.
    pub(super) fn keep_if_new(&self, text: &str) -> Result<(), Unwritable> {
        let latest = self.revisions()?.into_iter().next();
        if latest.is_none_or(|latest| latest.tag != Tag::of(text).0) {
            self.keep(text, BY_HAND, "found in the file")?;
        }
        Ok(())
    }

    /// Keeps a text as the latest revision; its number.
    pub(super) fn keep(&self, text: &str, by: &str, what: &str) -> Result<u64, Unwritable> {
        fs::create_dir_all(&self.folder).map_err(failed("can't make", &self.folder))?;
        let revisions = self.revisions()?;
        let number = revisions.first().map_or(0, |latest| latest.number) + 1;
        let revision = Revision {
            number,
            at: rfc3339(SystemTime::now()),
            by: by.to_owned(),
            what: what.to_owned(),
            tag: Tag::of(text).0,
        };
        let meta = serde_json::to_vec(&revision).unwrap_or_default();
        for (extension, bytes) in [("yaml", text.as_bytes()), ("json", &meta)] {
            let path = self.file(number, extension);
            let _ = fs::remove_file(&path);
            let written = create(&path)?.write_all(bytes);
            written.map_err(failed("can't write", &path))?;
        }
        for old in revisions.iter().skip(KEPT - 1) {
            self.forget(old.number);
        }
        Ok(number)
    }

    /// Takes a revision away.
    pub(super) fn forget(&self, number: u64) {
        for extension in ["json", "yaml"] {
            let _ = fs::remove_file(self.file(number, extension));
        }
    }

    fn file(&self, number: u64, extension: &str) -> PathBuf {
        self.folder.join(format!("{number:06}.{extension}"))
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// A new file that nobody else can read yet.
fn create(path: &Path) -> Result<File, Unwritable> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.map_err(failed("can't write", path))
}

/// A rename is on the disk once its folder is.
fn sync(folder: &Path) {
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        log::warn!("{}: {error}", folder.display());
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Unwritable + use<> {
    let path = path.to_owned();
    move |error| Unwritable { what, path, error }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", self.0)
    }
}
