//! A folder in the system's place for temporary files, which is gone with its value.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// How many names are tried: another process may have left a folder of the same number.
const TRIES: u32 = 100;

/// The folder. Only its owner can look into it.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn create() -> io::Result<Self> {
        let mut refused = io::Error::from(io::ErrorKind::AlreadyExists);
        for number in 0..TRIES {
            let name = format!("standin-demo-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a new file that only its owner can read.
    pub(super) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let path = self.0.join(name);
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
