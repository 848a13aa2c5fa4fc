//! What a configuration refers to outside of itself: variables and files.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The world around a configuration.
pub(super) struct Sources<'s> {
    /// The look-up of environment variables.
    pub(super) environment: &'s dyn Fn(&str) -> Option<String>,
    /// Where relative paths start: the folder of the configuration file.
    pub(super) folder: PathBuf,
    /// The files that were asked for so far.
    pub(super) read: RefCell<Vec<PathBuf>>,
}

impl Sources<'_> {
    /// The value of an environment variable.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    /// A path of the configuration, seen from the process's own folder.
    pub(super) fn path(&self, written: &str) -> PathBuf {
        self.folder.join(written)
    }

    /// The bytes of a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// Why there are none, to be put behind the file's name.
    pub(super) fn bytes(&self, written: &str, limit: usize) -> Result<Vec<u8>, String> {
        let path = self.path(written);
        let bytes = read(&path, limit);
        self.read.borrow_mut().push(path);
        bytes
    }

    /// The same as text.
    ///
    /// # Errors
    /// Why there is none, to be put behind the file's name.
    pub(super) fn text(&self, written: &str, limit: usize) -> Result<String, String> {
        String::from_utf8(self.bytes(written, limit)?).map_err(|_| "is no UTF-8 text".into())
    }
}

/// Pipes and devices are refused: they block, or never end, and a reload could not read them again.
fn read(path: &Path, limit: usize) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("can't be read: {error}");
    if !path.metadata().map_err(failed)?.is_file() {
        return Err("is no regular file".into());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let past = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(past).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        return Err(format!("is larger than {limit} bytes"));
    }
    Ok(bytes)
}
